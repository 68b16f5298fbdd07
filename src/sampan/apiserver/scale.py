"""The scale subresource: how many are wanted and how many there are, whatever the kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sampan.apiserver import codec, errors
from sampan.apiserver.bodies import content
from sampan.apiserver.call import Answer, Call, Made, One
from sampan.apiserver.patching import change_of
from sampan.kinds import faults, registry
from sampan.machinery import selectors
from sampan.machinery.objects import Object, changed, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


class Scales:
    def __init__(self, server: ApiServer):
        self._server = server

    async def get(self, call: Call) -> Answer:
        record = await self._server.reader.record(call.resource, call.namespace, call.name)
        return Made(of(codec.view(call.resource, record)))

    async def update(self, call: Call) -> Answer:
        given = await content(call) or {}
        return await self._change(call, lambda _: given)

    async def patch(self, call: Call) -> Answer:
        apply = await change_of(call, registry.of("autoscaling/v1", "Scale"))
        return await self._change(call, apply)

    async def _change(self, call: Call, change: Callable[[Object], Object]) -> Answer:
        async def scaled(obj: Object) -> Object:
            wanted = change(of(obj))
            count = get(wanted, "spec.replicas", 0)
            if not isinstance(count, int) or count < 0:
                fault = faults.invalid("spec.replicas", count, "must be greater than or equal to 0")
                raise errors.invalid(call.resource, call.name, [fault])
            obj = changed(obj, ("spec", "replicas"), count)
            return changed(obj, ("metadata", "resourceVersion"), get(wanted, "metadata.resourceVersion"))

        subresource, call.subresource = call.subresource, ""
        answer = await self._server.writer.change(call, scaled)
        call.subresource = subresource
        if isinstance(answer, One):
            return Made(of(answer.object or codec.view(call.resource, answer.record)))
        assert isinstance(answer, Made)
        return Made(of(answer.object))


def of(obj: Object) -> Object:
    """The Scale of a workload."""
    selector = get(obj, "spec.selector")
    if selector is not None and obj["kind"] == "ReplicationController":
        found = selectors.of_labels(selector)
    else:
        found = selectors.of(selector)
    status: Object = {"replicas": get(obj, "status.replicas", 0)}
    if selector is not None:
        status["selector"] = str(found)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {k: v for k, v in obj["metadata"].items() if k in _KEPT},
        "spec": {"replicas": get(obj, "spec.replicas", 0)},
        "status": status,
    }
