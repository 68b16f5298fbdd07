"""The store in memory: for tests, and for clusters that need not outlive their process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from sampan.store.api import Compacted, Conflict, Entry, Event, Exists, Future, Page, Record, StoreError
from sampan.store.state import Floors, State, Watch


class Memory:
    """A `Store` without durability. Nothing is forgotten until `compact`."""

    def __init__(self) -> None:
        self._state = State()
        self._floors = Floors()
        self._log: list[Entry] = []
        self._closed = False

    @property
    def revision(self) -> int:
        return self._state.revision

    @property
    def shared(self) -> bool:
        return False

    @property
    def oldest(self) -> int:
        return self._floors.of_all

    async def sync(self, revision: int = 0) -> None:
        if revision > self.revision:
            raise Future(f"revision {revision} is not written yet; the latest is {self.revision}")

    async def get(self, key: str, revision: int = 0) -> Record | None:
        if not revision:
            return self._state.get(key)
        self._floors.check(key, revision, self.revision)
        return self._state.get_as_of(key, revision)

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        if not revision:
            return self._state.page(prefix, after, limit)
        self._floors.check(prefix, revision, self.revision)
        return self._state.page_as_of(prefix, after, limit, revision)

    async def count(self, prefix: str) -> int:
        return self._state.count(prefix)

    async def create(self, key: str, value: bytes, cause: str = "") -> int:
        if self._state.get(key):
            raise Exists(f"{key} exists")
        return self._write(key, value, None, cause)

    async def update(self, key: str, value: bytes, expected: int, cause: str = "") -> int:
        return self._write(key, value, self._expect(key, expected), cause)

    async def delete(self, key: str, expected: int, cause: str = "") -> int:
        return self._write(key, None, self._expect(key, expected), cause)

    def _expect(self, key: str, expected: int) -> Record:
        found = self._state.get(key)
        if found is None or found.revision != expected:
            raise Conflict(key, found)
        return found

    def _write(self, key: str, value: bytes | None, previous: Record | None, cause: str) -> int:
        if self._closed:
            raise StoreError("the store is closed")
        event = Event(key, self.revision + 1, value, previous, cause, time.time())
        self._log.append(Entry(key, event.revision, value, cause, event.time))
        self._state.apply([event])
        return event.revision

    def watch(self, prefix: str, after: int) -> Watch:
        self._floors.check(prefix, after, self.revision)
        return self._state.watch(prefix, after, self._older)

    async def _older(self, prefix: str, after: int) -> tuple[Sequence[Event], int]:
        raise Compacted(max(self._floors.of(prefix), self._state.floor))

    async def cause(self, revision: int) -> str:
        return next((e.cause for e in self._log if e.revision == revision), "")

    async def history(self, key: str) -> Sequence[Entry]:
        return [e for e in self._log if e.key == key]

    @property
    def floors(self) -> Mapping[str, int]:
        return self._floors.named()

    async def writes(self, after: int) -> Sequence[Entry]:
        return [e for e in self._log if e.revision > after]

    async def revision_at(self, time: float) -> int:
        return max((e.revision for e in self._log if e.time <= time), default=0)

    async def size(self) -> int:
        return sum(len(e.key) + len(e.value or b"") + len(e.cause) for e in self._log)

    async def compact(self, revision: int, prefix: str = "") -> None:
        revision = min(revision, self.revision)
        self._floors.raise_to(prefix, revision)
        if not prefix:
            self._state.forget(revision)
        latest = {e.key: e.revision for e in self._log if e.revision <= revision}
        self._log = [e for e in self._log if not _forgotten(e, latest, revision, prefix)]

    async def close(self) -> None:
        self._closed = True
        self._state.close()


def _forgotten(entry: Entry, latest: dict[str, int], revision: int, prefix: str) -> bool:
    """Whether only revisions before `revision` could see this entry; `latest` are the last ones up to there."""
    if entry.revision > revision or not entry.key.startswith(prefix):
        return False
    return entry.value is None or entry.revision < latest[entry.key]
