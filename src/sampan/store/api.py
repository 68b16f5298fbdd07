"""The store's contract: a revisioned log of key and value, with watch. One suite tests every implementation.

Keys are paths such as `/core/pods/default/web`, values opaque bytes. Every write gets the next revision, a
positive integer that grows. A write returns only once it is durable, and reads then show it. Beside each
revision stands its *cause*: a traceparent, or the empty string.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """A key's value as of `revision`, the revision that wrote it."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Page:
    """A range of records in key order, all as of `revision`; `remaining` counts those after the page."""

    records: list[Record]
    revision: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Event:
    """One write: `value` is None for a delete, `previous` is None for a create.

    The record as it was before the write is `previous`, with its own revision; `cause` is the write's
    traceparent; `time` is when it was written, in seconds since the epoch.
    """

    key: str
    revision: int
    value: bytes | None
    previous: Record | None
    cause: str
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A kept write, for history: what `Event` says, and when it was written (seconds since the epoch)."""

    key: str
    revision: int
    value: bytes | None
    cause: str
    time: float


class StoreError(Exception):
    """Any failure of the store; bare, it means that the store cannot be reached or cannot write now."""


class Exists(StoreError):
    """The key to be created is there already."""


class Conflict(StoreError):
    """The key is not at the expected revision; `found` is its record now, or None."""

    def __init__(self, key: str, found: Record | None):
        super().__init__(f"{key} is at revision {found.revision if found else 0}")
        self.found = found


class Compacted(StoreError):
    """The revision asked for is no longer kept; `oldest` is the oldest one that is."""

    def __init__(self, oldest: int):
        super().__init__(f"revisions before {oldest} are compacted")
        self.oldest = oldest


class Future(StoreError):
    """The revision asked for is not written yet."""


class Watch(Protocol):
    """Events in revision order, in batches.

    Iteration raises Compacted when the reader fell too far behind.
    """

    def __aiter__(self) -> AsyncIterator[list[Event]]: ...

    def close(self) -> None: ...


class Store(Protocol):
    """Reads are served from memory and never block the loop; writes are durable when they return."""

    @property
    def revision(self) -> int:
        """The latest revision; 0 in an empty store."""

    @property
    def oldest(self) -> int:
        """The oldest revision that reads and watches may still name, where no prefix is compacted further."""

    @property
    def shared(self) -> bool:
        """Whether other processes write to the same store; then reads are current only after `sync`."""

    async def sync(self, revision: int = 0) -> None:
        """Wait until reads show what anyone had written when this was called, in this process or another.

        With `revision` it is enough that they show that one. Raises Future where it is not written.
        """

    async def get(self, key: str, revision: int = 0) -> Record | None:
        """The record of `key` now, or as of `revision`. Raises Compacted, Future."""

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """The records whose keys start with `prefix` and lie after `after`; `limit` 0 means all.

        Raises Compacted, Future.
        """

    async def count(self, prefix: str) -> int:
        """How many keys start with `prefix`."""

    async def create(self, key: str, value: bytes, cause: str = "") -> int:
        """Write a new key; return its revision. Raises Exists."""

    async def update(self, key: str, value: bytes, expected: int, cause: str = "") -> int:
        """Replace the value of a key that is at revision `expected`; return the new one. Raises Conflict."""

    async def delete(self, key: str, expected: int, cause: str = "") -> int:
        """Delete a key that is at revision `expected`; return the delete's revision. Raises Conflict."""

    def watch(self, prefix: str, after: int) -> Watch:
        """Every later event on keys that start with `prefix`.

        Raises at once Compacted where `after` is not kept, and Future where it is not written yet.
        """

    async def cause(self, revision: int) -> str:
        """The traceparent of the write that made `revision`, or the empty string where none is kept."""

    async def history(self, key: str) -> Sequence[Entry]:
        """The kept writes of one key, oldest first."""

    @property
    def floors(self) -> Mapping[str, int]:
        """The oldest revision that may be named, by the prefix that was compacted to it; that of all is under ""."""

    async def writes(self, after: int) -> Sequence[Entry]:
        """Kept writes of all keys after a revision, oldest first, some of them; none where there are no more."""

    async def revision_at(self, time: float) -> int:
        """The latest kept revision written at or before `time` (seconds since the epoch); 0 where there is none."""

    async def size(self) -> int:
        """How many bytes the store occupies, history included."""

    async def compact(self, revision: int, prefix: str = "") -> None:
        """Forget what only revisions before `revision` could see, of keys that start with `prefix`.

        Reads and watches that touch such keys and name an older revision then raise Compacted. Writes go on
        meanwhile.
        """

    async def close(self) -> None:
        """Finish what was begun, and let go of everything."""
