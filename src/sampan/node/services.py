"""The Services of the cluster, for the variables that containers get; followed by one watch."""

from __future__ import annotations

import asyncio

from sampan.client.api import Client
from sampan.client.watching import follow
from sampan.machinery.objects import Key, Object, key


class Services:
    def __init__(self, client: Client):
        self._client = client
        self._known: dict[Key, Object] = {}
        self._synced = asyncio.Event()

    async def run(self) -> None:
        async for change in follow(self._client, "services"):
            if change.type == "BOOKMARK":
                if change.synced:
                    self._synced.set()
            elif change.type == "DELETED":
                self._known.pop(key(change.object), None)
            else:
                self._known[key(change.object)] = change.object

    async def all(self, timeout: float = 10.0) -> tuple[Object, ...]:
        """Every Service, once they are known. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            await self._synced.wait()
        return tuple(self._known.values())
