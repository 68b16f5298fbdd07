"""get and list: records from the store, untouched bytes.

Only a selector makes a list decode, a slice at a time, so that a large list does not hold the loop.
Source: the API concepts' pages on resource versions and on retrieving large results in chunks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from sampan.apiserver import errors, list_options, paging
from sampan.apiserver.call import Call, Many, One, key, prefix
from sampan.apiserver.codec import Decoded
from sampan.apiserver.paging import Position
from sampan.apiserver.selecting import Selector, selector
from sampan.kinds.kind import Kind
from sampan.store.api import Compacted, Page, Record, Store

# How many objects are decoded before others get the loop; with what watchers then do, some 5 ms.
SLICE = 20
NAMESPACES = "/core/namespaces/"


# Has records at hand in the form of a kind between whose versions a webhook converts.
Convert = Callable[[Kind, Iterable[Record]], Awaitable[None]]


class Reader:
    def __init__(self, store: Store, decoded: Decoded, convert: Convert):
        self._store = store
        self._decoded = decoded
        self._convert = convert

    async def get(self, call: Call) -> One:
        self._not_in_the_future(call.parameter("resourceVersion"))
        return One(await self.record(call.resource, call.namespace, call.name))

    async def record(self, kind: Kind, namespace: str, name: str) -> Record:
        """The object's record now. Raises 404."""
        found = await self._store.get(key(kind, namespace, name))
        if not found:
            raise errors.not_found(kind, name)
        if kind.converted:
            await self._convert(kind, [found])
        return found

    async def list(self, call: Call) -> Many:
        start = self._start(call)
        chosen, limit = selector(call), _number(call, "limit")
        try:
            if call.name:
                page = await self._one(call)
            elif chosen:
                return await self._selected(call, chosen, start, limit)
            else:
                page = await self._page(call, start, limit)
        except Compacted as e:
            if start.after:
                raise paging.expired(start.after) from e
            raise errors.expired(f"too old resource version: {start.revision} ({e.oldest})") from e
        if call.resource.converted:
            await self._convert(call.resource, page.records)
        more = start.token(page.records[-1].key, page.revision, time.time()) if page.remaining else ""
        if call.name and chosen:
            page.records[:] = [r for r in page.records if chosen(self._decoded(r))]
        return Many(call.resource, page.records, page.revision, more, page.remaining if more else None)

    async def _page(self, call: Call, start: Position, limit: int) -> Page:
        return await self._store.list(
            prefix(call.resource, call.namespace), after=start.after, limit=limit, revision=start.revision
        )

    async def _one(self, call: Call) -> Page:
        """The list of a single name, in one namespace or in each."""
        if call.resource.namespaced and not call.namespace:
            namespaces = await self._store.list(NAMESPACES)
            names = [r.key.removeprefix(NAMESPACES) for r in namespaces.records]
        else:
            names = [call.namespace]
        found = [await self._store.get(key(call.resource, n, call.name)) for n in names]
        return Page([r for r in found if r], self._store.revision, 0)

    async def _selected(self, call: Call, chosen: Selector, start: Position, limit: int) -> Many:
        found: list[Record] = []
        page = await self._page(call, start, 0)
        if call.resource.converted:
            await self._convert(call.resource, page.records)
        for n, record in enumerate(page.records):
            if n % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            if chosen(self._decoded(record)):
                if limit and len(found) == limit:
                    more = start.token(found[-1].key, page.revision, time.time())
                    return Many(call.resource, found, page.revision, more)
                found.append(record)
        return Many(call.resource, found, page.revision)

    def _start(self, call: Call) -> Position:
        """Where a list starts, and the revision that it is to show. Raises 400, 410."""
        list_options.check_list(call)
        match, version = call.parameter("resourceVersionMatch"), call.parameter("resourceVersion")
        token = call.parameter("continue")
        if token:
            if version not in ("", "0"):
                raise errors.bad_request("specifying resource version is not allowed when using continue")
            return paging.parse(token, prefix(call.resource, call.namespace), time.time())
        revision = self._not_in_the_future(version)
        # A limited list at a revision is an exact one, as upstream has it for compatibility.
        exact = match == "Exact" or (not match and call.parameter("limit") not in ("", "0"))
        return Position(revision=revision if exact else 0)

    def _not_in_the_future(self, version: str) -> int:
        revision = parse_version(version)
        if revision > self._store.revision:
            raise errors.future(revision, self._store.revision)
        return revision


def parse_version(version: str) -> int:
    """A resourceVersion as a revision; 0 where it is empty."""
    if not version:
        return 0
    if not (version.isascii() and version.isdigit()):
        raise errors.bad_request(f'invalid resource version "{version}": must be an unsigned integer')
    return int(version)


def _number(call: Call, name: str) -> int:
    text = call.parameter(name)
    if text and not text.lstrip("-").isdigit():
        raise errors.bad_request(
            f'unable to decode query parameter {name}: strconv.ParseInt: parsing "{text}": invalid syntax'
        )
    return max(0, int(text or 0))
