"""A pod of a RuntimeClass carries its overhead and is bound to its nodes.

Source: the concepts' pages "Runtime Class" and "Pod Overhead"; k8s.io/kubernetes plugin/pkg/admission/runtimeclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.machinery import amounts
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    if call.subresource or not (found := await _class(server, call, obj)):
        return
    spec = obj["spec"]
    overhead = get(found, "overhead.podFixed")
    if overhead:
        if spec.get("overhead") and amounts.parse(spec["overhead"]) != amounts.parse(overhead):
            why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            raise errors.forbidden(call.resource, call.name, why)
        spec["overhead"] = dict(overhead)
    if scheduling := found.get("scheduling"):
        _schedule(call, spec, scheduling)


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    """Nobody but the class says what the overhead is."""
    if call.subresource or obj is None or not obj["spec"].get("overhead"):
        return
    if not get(await _class(server, call, obj), "overhead.podFixed"):
        why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        raise errors.forbidden(call.resource, call.name, why)


async def _class(server: ApiServer, call: Call, pod: Object) -> Object | None:
    name = pod["spec"].get("runtimeClassName")
    if not name:
        return None
    record = await server.store.get(f"/node.k8s.io/runtimeclasses/{name}")
    if not record:
        raise errors.forbidden(call.resource, call.name, f'pod rejected: RuntimeClass "{name}" not found')
    return server.decoded(record)


def _schedule(call: Call, spec: Object, scheduling: Object) -> None:
    selector, wanted = spec.get("nodeSelector") or {}, scheduling.get("nodeSelector") or {}
    for key, value in wanted.items():
        if selector.get(key, value) != value:
            why = (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}"
            )
            raise errors.forbidden(call.resource, call.name, why)
    if wanted:
        spec["nodeSelector"] = {**selector, **wanted}
    given = spec.get("tolerations") or []
    if added := [t for t in scheduling.get("tolerations") or () if t not in given]:
        spec["tolerations"] = [*given, *added]
