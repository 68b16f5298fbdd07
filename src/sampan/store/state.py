"""What every store holds in memory: the records in key order, a window of recent events, and who watches.

`State` does no I/O and knows nothing of durability: a store applies a write here once it is durable. Because
an event carries the record before it, the window alone also answers reads as of any revision that it reaches
back to.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import takewhile

from sampan.store.api import Compacted, Event, Future, Page, Record

# A page of older events for a watch that lies behind the window: those after a revision on keys that start
# with a prefix, and the last revision that was looked at. Raises Compacted.
Older = Callable[[str, int], Awaitable[tuple[Sequence[Event], int]]]

# A watch that has this many events waiting reads them from the log again instead of holding them.
BACKLOG = 4096


def prefix_end(prefix: str) -> str:
    """The least string above all that start with `prefix`; the empty string where there is none."""
    while prefix:
        last = ord(prefix[-1]) + 1
        if last <= 0x10FFFF:
            return prefix[:-1] + chr(0xE000 if last == 0xD800 else last)
        prefix = prefix[:-1]
    return ""


class Floors:
    """The oldest revision that may be named, for the whole store and for each prefix compacted further."""

    def __init__(self, floors: Iterable[tuple[str, int]] = ()) -> None:
        self._floors = {"": 0, **dict(floors)}

    def raise_to(self, prefix: str, revision: int) -> None:
        self._floors[prefix] = max(revision, self._floors.get(prefix, 0))

    def named(self) -> dict[str, int]:
        """The floor of each prefix that has one."""
        return dict(self._floors)

    @property
    def of_all(self) -> int:
        """The oldest revision that may be named of keys that no prefix's compaction touches."""
        return self._floors[""]

    def of(self, prefix: str) -> int:
        """The oldest revision that may be named of the keys that start with `prefix`."""
        touching = (f for p, f in self._floors.items() if p.startswith(prefix) or prefix.startswith(p))
        return max(touching)

    def check(self, prefix: str, revision: int, latest: int) -> None:
        """Raise Compacted or Future where `revision` cannot be named."""
        if revision > latest:
            raise Future(f"revision {revision} is not written yet; the latest is {latest}")
        if revision < (oldest := self.of(prefix)):
            raise Compacted(oldest)


class State:
    """Records, recent events and watches of one store, used from one event loop.

    The window holds every event after revision `floor`. It is cut to `keep_events` events and `keep_bytes`
    bytes of values.
    """

    def __init__(self, *, keep_events: int = 1 << 62, keep_bytes: int = 1 << 62) -> None:
        self.revision = 0
        self.floor = 0
        self._records: dict[str, Record] = {}
        self._keys: list[str] = []
        self._window: deque[Event] = deque()
        self._window_bytes = 0
        self._keep_events, self._keep_bytes = keep_events, keep_bytes
        # Watches by prefix, and the lengths of those prefixes: an event finds its watches by as many
        # dictionary look-ups as there are different lengths, however many watches there are.
        self._watches: dict[str, set[Watch]] = {}
        self._lengths: list[int] = []

    def load(self, records: Sequence[Record], revision: int) -> None:
        """Begin with `records`, which are in key order; the window begins at `revision`.

        Watches that are there go on from the log.
        """
        self._records = {r.key: r for r in records}
        self._keys = [r.key for r in records]
        self._window.clear()
        self._window_bytes = 0
        self.revision = self.floor = revision
        for watching in self._watches.values():
            for watch in watching:
                watch.fall_behind()

    def advance(self, revision: int) -> None:
        """Nothing was written up to `revision`, though the log counts it."""
        self.revision = max(self.revision, revision)

    # Reads

    def get(self, key: str) -> Record | None:
        return self._records.get(key)

    def count(self, prefix: str) -> int:
        low, high = self._bounds(prefix)
        return high - low

    def page(self, prefix: str, after: str, limit: int) -> Page:
        low, high = self._bounds(prefix)
        low = max(low, bisect_right(self._keys, after, 0, high)) if after else low
        end = min(high, low + limit) if limit else high
        return Page([self._records[k] for k in self._keys[low:end]], self.revision, high - end)

    def get_as_of(self, key: str, revision: int) -> Record | None:
        """The record as of a revision that is not before the window."""
        for event in self._since(revision):
            if event.key == key:
                return event.previous
        return self._records.get(key)

    def page_as_of(self, prefix: str, after: str, limit: int, revision: int) -> Page:
        """The page as of a revision that is not before the window: the present with later events undone."""
        undone: dict[str, Record | None] = {}
        for event in self._since(revision):
            if event.key.startswith(prefix):
                undone.setdefault(event.key, event.previous)
        if not undone:
            now = self.page(prefix, after, limit)
            return Page(now.records, revision, now.remaining)
        low, high = self._bounds(prefix)
        keys = self._keys[low:high]
        if deleted_since := [k for k, r in undone.items() if r and k not in self._records]:
            keys = sorted(keys + deleted_since)
        if created_since := {k for k, r in undone.items() if not r}:
            keys = [k for k in keys if k not in created_since]
        keys = keys[bisect_right(keys, after) :] if after else keys
        chosen = keys[:limit] if limit else keys
        records = [undone.get(k) or self._records[k] for k in chosen]
        return Page(records, revision, len(keys) - len(chosen))

    def events(self, prefix: str, after: int) -> list[Event]:
        """The events after a revision that is not before the window."""
        return [e for e in self._since(after) if e.key.startswith(prefix)]

    def cause(self, revision: int) -> str | None:
        """The cause of a revision in the window, else None."""
        if not self.floor < revision <= self.revision:
            return None
        # Where revisions have gaps, its event stands before the place it would have without.
        index = min(revision - self.floor, len(self._window)) - 1
        while index >= 0 and self._window[index].revision > revision:
            index -= 1
        return self._window[index].cause if index >= 0 and self._window[index].revision == revision else ""

    def _bounds(self, prefix: str) -> tuple[int, int]:
        end = prefix_end(prefix)
        low = bisect_left(self._keys, prefix)
        return low, bisect_left(self._keys, end, low) if end else len(self._keys)

    def _since(self, revision: int) -> list[Event]:
        """The events after `revision`, oldest first."""
        recent = list(takewhile(lambda e: e.revision > revision, reversed(self._window)))
        recent.reverse()
        return recent

    # Changes

    def apply(self, events: Sequence[Event]) -> None:
        """Take in durable writes, in revision order, and hand them to the watches."""
        for event in events:
            if event.value is None:
                del self._records[event.key]
                del self._keys[bisect_left(self._keys, event.key)]
            else:
                if event.previous is None:
                    insort(self._keys, event.key)
                self._records[event.key] = Record(event.key, event.value, event.revision)
            self.revision = event.revision
            self._window.append(event)
            self._window_bytes += len(event.value or b"")
            for length in self._lengths:
                if length > len(event.key):
                    break  # a longer slice would be the whole key again
                for watch in self._watches.get(event.key[:length], ()):
                    watch.push(event)
        while len(self._window) > self._keep_events or self._window_bytes > self._keep_bytes:
            self._drop_oldest()

    def forget(self, revision: int) -> None:
        """Let the window begin no earlier than `revision`."""
        while self._window and self.floor < revision:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        event = self._window.popleft()
        self._window_bytes -= len(event.value or b"")
        self.floor = event.revision

    # Watches

    def watch(self, prefix: str, after: int, older: Older) -> Watch:
        watch = Watch(self, prefix, after, older)
        self._watches.setdefault(prefix, set()).add(watch)
        self._lengths = sorted({len(p) for p in self._watches})
        return watch

    def leave(self, watch: Watch) -> None:
        """Stop handing events to `watch`."""
        if watching := self._watches.get(watch.prefix):
            watching.discard(watch)
            if not watching:
                del self._watches[watch.prefix]
                self._lengths = sorted({len(p) for p in self._watches})

    def close(self) -> None:
        """End every watch."""
        for watching in list(self._watches.values()):
            for watch in list(watching):
                watch.close()


class Watch:
    """Events in revision order, in batches (the contract is `api.Watch`).

    A watch that is *behind* takes its events from the log (the window, or `older` before it); once it has
    reached the present it is handed each event as it is applied.
    """

    def __init__(self, state: State, prefix: str, after: int, older: Older) -> None:
        self.prefix = prefix
        self._state = state
        self._older = older
        self._position = after
        self._behind = after < state.revision
        self._events: list[Event] = []
        self._wake: asyncio.Future[None] | None = None
        self._closed = False

    def push(self, event: Event) -> None:
        if self._behind:
            return
        self._events.append(event)
        if len(self._events) > BACKLOG:
            self.fall_behind()
        self._notify()

    def fall_behind(self) -> None:
        """Take what comes next from the log."""
        self._events.clear()
        self._behind = True
        self._notify()

    def close(self) -> None:
        self._closed = True
        self._events.clear()
        self._state.leave(self)
        self._notify()

    def _notify(self) -> None:
        if self._wake and not self._wake.done():
            self._wake.set_result(None)

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> list[Event]:
        while not self._closed:
            batch = await self._catch_up() if self._behind else self._take()
            if batch:
                return batch
            if not self._behind and not self._closed:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
        raise StopAsyncIteration

    def _take(self) -> list[Event]:
        batch, self._events = self._events, []
        if batch:
            self._position = batch[-1].revision
        return batch

    async def _catch_up(self) -> list[Event]:
        if self._position < self._state.floor:
            batch, self._position = await self._older(self.prefix, self._position)
            return list(batch)
        # Nothing is awaited from here to the present, so no event falls between.
        batch = self._state.events(self.prefix, self._position)
        self._position = self._state.revision
        self._behind = False
        return batch
