"""The last step of the chain: the verb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Answer, Call

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

Next = Callable[[Call], Awaitable[Answer]]


def dispatch(server: ApiServer) -> Next:
    verbs: dict[str, Next] = {
        "get": server.reader.get,
        "list": server.reader.list,
        "watch": server.watcher.watch,
        "create": server.writer.create,
        "update": server.writer.update,
        "patch": server.patcher.patch,
        "delete": server.deleter.delete,
        "deletecollection": server.deleter.collection,
    }

    async def step(call: Call) -> Answer:
        if call.fault:
            raise call.fault
        if call.kind is None:
            return await server.paths(call)
        if call.subresource:
            return await server.subresources(call)
        if call.verb == "create" and not call.kind.stored:
            return await server.reviews(call)
        if call.verb not in call.kind.verbs or (call.verb == "create" and call.request and call.name):
            raise errors.method_not_allowed(call.kind)
        return await verbs[call.verb](call)

    return step
