"""A pod on a node is not resized beyond what the node has.

Source: k8s.io/kubernetes plugin/pkg/admission/podresize.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.client.api import ApiError
from sampan.machinery import amounts
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

_MILLI, _UNIT = 10**6, 10**9


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    if call.subresource != "resize" or obj is None or old is None or not get(obj, "spec.nodeName"):
        return
    if obj["metadata"].get("generation") == old["metadata"].get("generation"):
        return
    name = obj["spec"]["nodeName"]
    record = await server.store.get(f"/core/nodes/{name}")
    if not record:
        raise errors.forbidden(call.resource, call.name, f'node "{name}" not found')
    node = server.decoded(record)
    system = get(node, "metadata.labels", {}).get("kubernetes.io/os", "linux")
    if system != "linux":
        why = f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
        raise _refusal(call, why, "UnsupportedPlatform")
    wanted, room = amounts.requests(obj), amounts.parse(get(node, "status.allocatable"))
    short = []
    for resource, unit in (("cpu", _MILLI), ("memory", _UNIT)):
        asked = wanted[resource].nano if resource in wanted else 0
        there = room[resource].nano if resource in room else 0
        if asked > there:
            short.append(f"{resource}, requested: {-(-asked // unit)}, allocatable: {-(-there // unit)}")
    if short:
        why = f"node didn't have enough allocatable resources: {'; '.join(short)}"
        raise _refusal(call, why, "NodeCapacity")


def _refusal(call: Call, why: str, reason: str) -> ApiError:
    error = errors.forbidden(call.resource, call.name, why)
    error.status.setdefault("details", {})["causes"] = [{"reason": reason}]
    return error
