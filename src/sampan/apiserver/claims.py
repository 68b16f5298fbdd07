"""What one API server's requests take for themselves, said to the other servers over the store they share.

A claim is a key that only one can create. It stands as long as what it was made for: whoever sees that go drops it, and
one that a killed server left without an object is free again after a minute. Upstream keeps bitmaps for the same
purpose (pkg/registry/core/service/allocator), or one IPAddress object for each address.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from sampan.store.api import Conflict, Exists, Record, Store, StoreError

PREFIX = "/sampan.io/claims/"
# How long a claim may be there before its object is.
GRACE_SECONDS = 60.0
log = logging.getLogger(__name__)


class Claims:
    """`living` tells whether the object that a claim was made for is there."""

    def __init__(self, store: Store, living: Callable[[str], bool]):
        self._store = store
        self._living = living
        self._loose: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def take(self, item: str, holder: str) -> bool:
        """Whether `item` is `holder`'s now, as far as all servers are concerned."""
        if not self._store.shared:
            return True
        key = PREFIX + item
        try:
            await self._store.create(key, holder.encode())
            return True
        except Exists:
            found = await self._store.get(key)
        if found is None:
            return await self.take(item, holder)
        return found.value == holder.encode() or await self._inherit(found, holder)

    async def _inherit(self, found: Record, holder: str) -> bool:
        """Take over the claim of an object that is not there, and will not come any more."""
        if self._living(found.value.decode()):
            return False
        if await self._store.revision_at(time.time() - GRACE_SECONDS) < found.revision:
            return False
        try:
            await self._store.update(found.key, holder.encode(), found.revision)
        except Conflict:
            return False
        return True

    def drop(self, item: str, holder: str) -> None:
        """Give `item` back, soon."""
        if self._store.shared:
            self._loose.put_nowait((item, holder))

    async def run(self) -> None:
        """Give back what is dropped, for ever."""
        while True:
            item, holder = await self._loose.get()
            found = await self._store.get(PREFIX + item)
            if found is None or found.value != holder.encode():
                continue
            try:
                await self._store.delete(found.key, found.revision)
            except Conflict:
                continue  # another server did
            except StoreError as e:
                log.warning("the claim on %s is left for others to inherit: %s", item, e)
