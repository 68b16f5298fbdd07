"""watch: what happens after a revision, as one watcher with its selectors sees it.

Sources: the API concepts' "Efficient detection of changes"; KEP-3157 (watch-list); KEP-956 (bookmarks).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterable

from sampan.apiserver import errors
from sampan.apiserver.call import Call, Seen, Stream, prefix
from sampan.apiserver.moments import Moment, Moments
from sampan.apiserver.reading import SLICE, parse_version
from sampan.apiserver.selecting import Selector, selector
from sampan.store.api import Compacted, Event, Record, Store, Watch

# How often a quiet watch says how far it has come, to a watcher that allows it.
BOOKMARK_SECONDS = 60.0
# A watch without timeoutSeconds ends after a random time from here to twice as long, so that they do not end together.
SHORTEST_SECONDS = 1800.0
# How many revisions back the causes of initial events are looked up in the log.
LATELY = 200


class Watcher:
    """Opens watches over the store."""

    def __init__(self, store: Store, moments: Moments):
        self._store = store
        self._moments = moments

    async def watch(self, call: Call) -> Stream:
        """Raises 400 for parameters that do not go together; a revision that is too old is told in the stream."""
        since, initial = _since(call)
        one = _One(call)
        records: list[Record] = []
        if not since:
            page = await self._store.list(one.prefix)
            since, records = page.revision, page.records
        if since > self._store.revision:
            raise errors.future(since, self._store.revision)
        return Stream(call.resource, self._batches(one, records, since, initial))

    async def _batches(
        self, one: _One, records: list[Record], since: int, initial: bool
    ) -> AsyncGenerator[list[Seen], None]:
        try:
            source = self._store.watch(one.prefix, since)
        except Compacted as e:
            raise errors.expired(f"too old resource version: {since} ({e.oldest})") from e
        try:
            for start in range(0, len(records), SLICE):
                moments = [await self._initial(r) for r in records[start : start + SLICE]]
                if batch := one.see(moments):
                    yield batch
                await asyncio.sleep(0)
            records.clear()
            if initial:
                yield [Seen("BOOKMARK", since, synced=True)]
            async for batch in self._live(one, source):
                yield batch
        finally:
            source.close()

    async def _initial(self, record: Record) -> Moment:
        """What is there, as if it came to be now; what was written lately still has its cause, so that work which a
        crash interrupted goes on in the trace it belongs to.
        """
        lately = record.revision > self._store.revision - LATELY
        cause = await self._store.cause(record.revision) if lately else ""
        return Moment(Event(record.key, record.revision, record.value, None, cause))

    async def _live(self, one: _One, source: Watch) -> AsyncGenerator[list[Seen], None]:
        """Events as they come, until the watch's time is up."""
        ends = time.monotonic() + one.seconds
        events = aiter(source)
        while (left := ends - time.monotonic()) > 0:
            reached = self._store.revision
            try:
                async with asyncio.timeout(min(left, BOOKMARK_SECONDS)):
                    batch = await anext(events)
            except TimeoutError:
                # Nothing came since `reached` was read, or it would have ended the wait.
                if one.bookmarks and left > BOOKMARK_SECONDS:
                    yield [Seen("BOOKMARK", reached)]
                continue
            except StopAsyncIteration:
                return
            except Compacted as e:
                raise errors.expired(f"too old resource version: {reached} ({e.oldest})") from e
            for start in range(0, len(batch), SLICE):
                if seen := one.see(self._moments.of(e) for e in batch[start : start + SLICE]):
                    yield seen


class _One:
    """What one watcher asked for."""

    def __init__(self, call: Call):
        self.prefix = prefix(call.resource, call.namespace)
        self.exact = ""
        if call.name and (call.namespace or not call.resource.namespaced):
            # Watching one name is watching its key; a longer name that starts alike is passed over in `see`.
            self.prefix = self.exact = call.key
        self.selector: Selector | None = selector(call)
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


def _since(call: Call) -> tuple[int, bool]:
    """The revision to watch from, 0 for the state now first; and whether a bookmark ends that."""
    revision = parse_version(call.parameter("resourceVersion"))
    match = call.parameter("resourceVersionMatch")
    if "sendInitialEvents" not in call.query:
        if match:
            raise errors.bad_request(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            )
        return revision, False
    if match != "NotOlderThan":
        raise errors.bad_request(
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            if not match
            else f'resourceVersionMatch: Unsupported value: "{match}": supported values: "NotOlderThan"'
        )
    if not call.flag("sendInitialEvents"):
        return revision, False
    return 0, call.flag("allowWatchBookmarks")
