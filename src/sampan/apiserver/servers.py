"""The API servers that share a store: each says that it lives, and all are endpoints of Service `kubernetes`.

A server that stops takes itself out; one that is killed is taken out by the others, once its entry has not changed for
a while on their own clocks. Upstream's lease reconciler does the same (pkg/controlplane/reconcilers/lease.go).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from sampan.store.api import Conflict, Exists, StoreError

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

PREFIX = "/sampan.io/servers/"
RENEW_SECONDS, GONE_SECONDS = 10.0, 30.0
log = logging.getLogger(__name__)


class Servers:
    """`addresses` are those where an API server lives, this one included, in order."""

    def __init__(self, server: ApiServer) -> None:
        self._server, self._store = server, server.store
        own = server.settings.address
        self._key = PREFIX + own if own and server.store.shared else ""
        self.addresses: tuple[str, ...] = (own,) if own else ()
        # The revision of each entry, and when this server first saw it.
        self._seen: dict[str, tuple[int, float]] = {}

    async def enter(self) -> None:
        """Say that this server lives, and learn which others do."""
        if self._key:
            await self._store.sync()
            await self._renew()
            await self._look()

    async def leave(self) -> None:
        """Say that it does not any more."""
        if self._key and (found := await self._store.get(self._key)):
            try:
                await self._store.delete(self._key, found.revision)
            except StoreError as e:
                log.info("the others will find out that this server is gone: %s", e)

    async def run(self) -> None:
        """Keep both up to date, for ever."""
        while self._key:
            watch = self._store.watch(PREFIX, self._store.revision)
            try:
                await self._look()
                async with asyncio.timeout(RENEW_SECONDS):
                    async for _ in watch:
                        await self._look()
            except TimeoutError:
                pass
            except StoreError as e:
                log.warning("which other API servers live is not known: %s", e)
                await asyncio.sleep(1.0)
            finally:
                watch.close()
            try:
                await self._renew()
            except StoreError as e:
                log.warning("the other API servers cannot be told that this one lives: %s", e)

    async def _renew(self) -> None:
        found = await self._store.get(self._key)
        value = f"{time.time():.3f}".encode()
        try:
            if found:
                await self._store.update(self._key, value, found.revision)
            else:
                await self._store.create(self._key, value)
        except (Conflict, Exists):
            return  # another server took this one for dead just now: next time

    async def _look(self) -> None:
        now = time.monotonic()
        entries = (await self._store.list(PREFIX)).records
        seen = {r.key: self._seen.get(r.key, (0, now)) for r in entries}
        self._seen = {
            r.key: seen[r.key] if seen[r.key][0] == r.revision else (r.revision, now) for r in entries
        }
        gone = [r for r in entries if r.key != self._key and now - self._seen[r.key][1] > GONE_SECONDS]
        for record in gone:
            try:
                await self._store.delete(record.key, record.revision)
            except Conflict:
                continue
        alive = {r.key for r in entries} - {r.key for r in gone} | {self._key}
        addresses = tuple(sorted(key.removeprefix(PREFIX) for key in alive))
        if addresses != self.addresses:
            self.addresses = addresses
            self._server.restore()
