"""The scale subresource: how many are wanted and how many there are, whatever the kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sampan.apiserver import codec, errors
from sampan.apiserver.bodies import content
from sampan.apiserver.call import Answer, Call, Made, One
from sampan.apiserver.patching import change_of
from sampan.kinds import faults, registry
from sampan.kinds.kind import ScalePaths
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
        obj = codec.view(call.resource, record)
        paths = call.resource.scale
        if paths and get(obj, paths.replicas) is None:
            raise errors.internal(f'the spec replicas field ".{paths.replicas}" does not exist')
        return Made(of(obj, paths))

    async def update(self, call: Call) -> Answer:
        given = await content(call) or {}
        return await self._change(call, lambda _: given)

    async def patch(self, call: Call) -> Answer:
        apply = await change_of(call, registry.of("autoscaling/v1", "Scale"))
        return await self._change(call, apply)

    async def _change(self, call: Call, change: Callable[[Object], Object]) -> Answer:
        paths = call.resource.scale

        async def scaled(obj: Object) -> Object:
            wanted = change(of(obj, paths))
            count = get(wanted, "spec.replicas", 0)
            if not isinstance(count, int) or count < 0:
                fault = faults.invalid("spec.replicas", count, "must be greater than or equal to 0")
                raise errors.invalid(call.resource, call.name, [fault])
            where = paths.replicas.split(".") if paths else ("spec", "replicas")
            obj = changed(obj, tuple(where), count)
            return changed(obj, ("metadata", "resourceVersion"), get(wanted, "metadata.resourceVersion"))

        subresource, call.subresource = call.subresource, ""
        answer = await self._server.writer.change(call, scaled)
        call.subresource = subresource
        if isinstance(answer, One):
            return Made(of(answer.object or codec.view(call.resource, answer.record), paths))
        assert isinstance(answer, Made)
        return Made(of(answer.object, paths))


def of(obj: Object, paths: ScalePaths | None = None) -> Object:
    """The Scale of a workload; of a custom kind by its paths."""
    if paths:
        return _custom(obj, paths)
    selector = get(obj, "spec.selector")
    if selector is not None and obj["kind"] == "ReplicationController":
        found = selectors.of_labels(selector)
    else:
        found = selectors.of(selector)
    status: Object = {"replicas": get(obj, "status.replicas", 0)}
    if selector is not None:
        status["selector"] = str(found)
    return _made(obj, get(obj, "spec.replicas", 0), status)


def _custom(obj: Object, paths: ScalePaths) -> Object:
    status: Object = {"replicas": get(obj, paths.current, 0)}
    if selector := get(obj, paths.selector) if paths.selector else "":
        status["selector"] = selector
    return _made(obj, get(obj, paths.replicas, 0), status)


def _made(obj: Object, replicas: int, status: Object) -> Object:
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {k: v for k, v in obj["metadata"].items() if k in _KEPT},
        "spec": {"replicas": replicas},
        "status": status,
    }
