"""Nothing is stored beyond a namespace's quotas: what a write uses is added to their status before it is stored.

A quota is changed only from the revision that was judged by, so that no two writers take the same last piece, however
many API servers there are. What a write that then fails has taken, the controller finds when it counts afresh.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from sampan.apiserver import codec, errors
from sampan.apiserver.call import Call
from sampan.host import trace
from sampan.machinery import amounts, quota
from sampan.machinery.objects import Object, changed
from sampan.store.api import Conflict, Record

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

ATTEMPTS = 8


class Quotas:
    """Writers of one namespace take turns, so that they do not conflict with one another."""

    def __init__(self, server: ApiServer):
        self._server = server
        # Each is kept while somebody holds it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def charge(self, call: Call, write: quota.Write) -> None:
        """Take from the namespace's quotas what a write uses. Raises 403 where one does not suffice."""
        prefix = f"/core/resourcequotas/{call.namespace}/"
        if not await self._server.store.count(prefix):
            return
        turn = self._turns.setdefault(call.namespace, asyncio.Lock())
        async with turn:
            for _ in range(ATTEMPTS):
                records = (await self._server.store.list(prefix)).records
                try:
                    await self._take(call, write, records)
                    return
                except Conflict:
                    continue
        raise errors.conflict(call.resource, call.name)

    async def _take(self, call: Call, write: quota.Write, records: list[Record]) -> None:
        known = {r.key.rpartition("/")[2]: r for r in records}
        quotas = [self._server.decoded(r) for r in records]
        try:
            charged = quota.charge(quotas, write, time.time())
        except quota.Refused as e:
            raise errors.forbidden(call.resource, call.name, str(e)) from e
        if call.dry_run:
            return
        for name, used in charged.items():
            record = known[name]
            obj = changed(codec.decode(record), ("status", "used"), amounts.written(used))
            value = codec.encode(obj)
            revision = await self._server.store.update(record.key, value, record.revision, trace.cause())
            self._server.written(record.key, value, revision)


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    if obj is None or not call.resource.namespaced:
        return
    write = quota.Write(call.resource.resource, obj, old, call.subresource)
    if quota.concerns(write):
        await server.quotas.charge(call, write)
