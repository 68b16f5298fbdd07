"""watch: what happens after a revision, as one watcher with its selectors sees it.

Sources: the API concepts' "Efficient detection of changes"; KEP-3157 (watch-list); KEP-956 (bookmarks).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from sampan.apiserver import errors, list_options
from sampan.apiserver.call import Call, Seen, Stream, prefix
from sampan.apiserver.hub import Batch, Hubs
from sampan.apiserver.moments import Moment
from sampan.apiserver.reading import SLICE, Convert, parse_version
from sampan.apiserver.routing import field_value
from sampan.apiserver.selecting import Selector, selector
from sampan.http.messages import Sink
from sampan.store.api import Compacted, Event, Record, Store, StoreError

# How often a quiet watch says how far it has come, to a watcher that allows it.
BOOKMARK_SECONDS = 60.0
# A watch without timeoutSeconds ends after a random time from here to twice as long, so that they do not end together.
SHORTEST_SECONDS = 1800.0
# How many revisions back the causes of initial events are looked up in the log.
LATELY = 200
# A watcher that leaves so many events lying reads them from the store again; one that catches up is slowed before.
BACKLOG, ENOUGH = 4096, 200


class Out(Protocol):
    """Where a watcher's events go, and how bytes are made of them; the same bytes for those with the same `key`."""

    sink: Sink

    @property
    def key(self) -> object: ...
    def encode(self, seen: Sequence[Seen]) -> bytes: ...


class Watcher:
    """Opens watches over the store."""

    def __init__(self, store: Store, hubs: Hubs, convert: Convert):
        self._store = store
        self._hubs = hubs
        self._convert = convert

    async def watch(self, call: Call) -> Stream:
        """Raises 400 for parameters that do not go together; a revision that is too old is told in the stream."""
        since, state, initial = _since(call)
        if since > self._store.revision:
            raise errors.future(since, self._store.revision)
        one = _One(call)
        records: list[Record] = []
        if state:
            page = await self._store.list(one.prefix)
            since, records = page.revision, page.records
            if call.resource.converted:
                await self._convert(call.resource, records)
        return Stream(call.resource, Watching(self._store, self._hubs, one, records, since, initial))


class Watching:
    """One watch: what is there first, then what happens, taken from a hub.

    Read `batches`, or have `push` write them. While that waits, what the hub brings is written at once.
    """

    def __init__(self, store: Store, hubs: Hubs, one: _One, records: list[Record], since: int, initial: bool):
        self.trigger = one.trigger
        self._store, self._hubs, self._one = store, hubs, one
        self._records, self._initial = records, initial
        # The revision up to which events were taken, and up to which they were passed on.
        self._taken = self._passed = since
        self._pending: list[Moment] = []
        self._out: Out | None = None
        self._wake: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._joined = self._over = False
        self._error: Exception | None = None

    async def push(self, out: Out) -> None:
        """Write all events until the watch ends. Raises what `batches` raises, and ConnectionError."""
        self._out = out
        batches = self.batches()
        try:
            async for seen in batches:
                await out.sink.drain()
                out.sink.write(out.encode(seen))
        finally:
            await batches.aclose()

    async def batches(self) -> AsyncGenerator[list[Seen], None]:
        """Raises 410 where the revision is too old."""
        for start in range(0, len(self._records), SLICE):
            moments = [await self._found(r) for r in self._records[start : start + SLICE]]
            if seen := self._one.see(moments):
                yield seen
            await asyncio.sleep(0)
        self._records.clear()
        if self._initial:
            yield [Seen("BOOKMARK", self._taken, synced=True)]
        try:
            async for seen in self._live():
                yield seen
        finally:
            self._leave()

    async def _found(self, record: Record) -> Moment:
        """What is there, as if it came to be now; what was written lately still has its cause, so that work which a
        crash interrupted goes on in the trace it belongs to.
        """
        lately, cause = record.revision > self._store.revision - LATELY, ""
        if lately:
            with suppress(StoreError):  # that it is there matters more
                cause = await self._store.cause(record.revision)
        return Moment(Event(record.key, record.revision, record.value, None, cause))

    async def _live(self) -> AsyncGenerator[list[Seen], None]:
        """Events that could not be written at once, and bookmarks, until the watch's time is up."""
        one, ends = self._one, time.monotonic() + self._one.seconds
        while (left := ends - time.monotonic()) > 0:
            if not self._joined:
                self._joined, self._taken = True, self._passed
                self._hubs.join(one.prefix, self, self._taken)
            reached = self._store.revision
            if await self._something(min(left, BOOKMARK_SECONDS)):
                pending, self._pending = self._pending, []
                for start in range(0, len(pending), SLICE):
                    if seen := one.see(pending[start : start + SLICE]):
                        yield seen
                if pending:
                    self._passed = max(self._passed, pending[-1].event.revision)
                self._make_room()
            elif one.bookmarks and left > BOOKMARK_SECONDS:
                # All that `reached` counts has been passed on since.
                yield [Seen("BOOKMARK", max(reached, self._passed))]
            if self._error:
                raise self._error
            if self._over and not self._pending:
                return

    async def _something(self, seconds: float) -> bool:
        """Whether there is something to pass on, or to end for, within so many seconds."""
        if self._pending or self._error or self._over:
            return True
        self._wake = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._wake
        except TimeoutError:
            return False
        finally:
            self._wake = None
        return True

    # What the hub calls

    def take(self, batch: Batch) -> None:
        if not self._joined or batch.last <= self._taken:
            return
        known, self._taken = self._taken, batch.last
        try:
            self._pass_on(batch, known)
        except Exception as e:
            self._error = e
            self._leave()
            self._notify()

    def _pass_on(self, batch: Batch, known: int) -> None:
        moments, out = batch.moments, self._out
        if batch.first <= known:
            moments = [m for m in moments if m.event.revision > known]
        if out is None or self._wake is None or self._wake.done() or out.sink.full:
            self._keep(moments)
            return
        one = self._one
        if one.everything and moments is batch.moments and out.key is not None:
            out.sink.write(batch.once(out.key, lambda: out.encode(one.see(moments))))
        elif seen := one.see(moments):
            out.sink.write(out.encode(seen))
        self._passed = batch.last

    def _keep(self, moments: Sequence[Moment]) -> None:
        self._pending.extend(moments)
        if len(self._pending) > BACKLOG:
            self._pending.clear()
            self._leave()
        self._notify()

    @property
    def crowded(self) -> bool:
        return len(self._pending) > ENOUGH and self._joined

    async def ready(self) -> None:
        if self.crowded:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def lost(self, error: StoreError | None, ended: bool) -> None:
        self._joined = False
        if isinstance(error, Compacted):
            self._error = errors.expired(f"too old resource version: {self._taken} ({error.oldest})")
        elif error:
            self._error = errors.unavailable(f"the store cannot serve this now: {error}")
        self._over = ended
        self._make_room()
        self._notify()

    def _leave(self) -> None:
        if self._joined:
            self._joined = False
            self._hubs.leave(self._one.prefix, self)
        self._make_room()

    def _notify(self) -> None:
        if self._wake and not self._wake.done():
            self._wake.set_result(None)

    def _make_room(self) -> None:
        if self._room and not self._room.done():
            self._room.set_result(None)


class _One:
    """What one watcher asked for."""

    def __init__(self, call: Call):
        self.prefix = prefix(call.resource, call.namespace)
        self.exact = ""
        if call.name and (call.namespace or not call.resource.namespaced):
            # Watching one name is watching its key; a longer name that starts alike is passed over in `see`.
            self.prefix = self.exact = call.key
        self.selector: Selector | None = selector(call)
        self.everything = not self.exact and not self.selector
        self.trigger = field_value(call, "spec.nodeName") if call.resource.resource == "pods" else ""
        self.bookmarks = call.flag("allowWatchBookmarks")
        asked = call.parameter("timeoutSeconds")
        if asked and not asked.isdigit():
            raise errors.bad_request(f'unable to decode timeoutSeconds "{asked}"')
        self.seconds = float(asked or 0) or SHORTEST_SECONDS * (1 + random.random())

    def see(self, moments: Iterable[Moment]) -> list[Seen]:
        return [s for m in moments if (s := self._seen(m))]

    def _seen(self, moment: Moment) -> Seen | None:
        event = moment.event
        if self.exact and event.key != self.exact:
            return None
        if not self.selector:
            kind = "DELETED" if moment.gone else "MODIFIED" if event.previous else "ADDED"
            return Seen(kind, event.revision, moment)
        now = not moment.gone and self.selector(moment.object)
        before = moment.before is not None and self.selector(moment.before)
        if now:
            return Seen("MODIFIED" if before else "ADDED", event.revision, moment)
        if before:
            return Seen("DELETED", event.revision, moment if moment.gone else moment.departed())
        return None


def _since(call: Call) -> tuple[int, bool, bool]:
    """The revision to watch from; whether the state now comes first; whether a bookmark ends that. Raises 400, 422."""
    list_options.check_watch(call)
    revision = parse_version(call.parameter("resourceVersion"))
    if not call.flag("sendInitialEvents"):
        return revision, not revision, False
    return revision, True, call.flag("allowWatchBookmarks")
