"""The last step of the chain: the verb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sampan.apiserver import components, errors, usage
from sampan.apiserver.aggregator import proxy
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
        if call.view:
            return await server.past(call)
        if call.remote:
            return await proxy.answer(server, call, call.remote)
        if call.kind is None:
            return await server.paths(call)
        if call.kind.group == usage.GROUP:
            return await server.usage(call)
        if call.kind.deprecation:
            call.warnings.append(call.kind.deprecation)
        if call.kind.resource == components.RESOURCE:
            return await components.answer(server, call)
        if call.subresource:
            return await server.subresources(call)
        if call.verb == "create" and not call.kind.stored:
            return await server.reviews(call)
        if call.verb not in call.kind.verbs or _misplaced(call):
            raise errors.method_not_allowed(call.kind)
        return await verbs[call.verb](call)

    return step


def _misplaced(call: Call) -> bool:
    """Whether a path names an object where the verb is one of the collection, or the other way round."""
    if call.verb in ("update", "patch"):
        return not call.name
    return call.verb == "create" and call.request is not None and bool(call.name)
