"""The priority of a pod or a PodGroup is the value of its PriorityClass, or of the cluster's default one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

PREFIX = "/scheduling.k8s.io/priorityclasses/"


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    if call.subresource:
        return
    spec = obj["spec"]
    value, policy = await _resolve(server, call, spec)
    if spec.get("priority") not in (None, value):
        why = f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
        raise errors.forbidden(
            call.resource,
            call.name,
            f"{why}priority admission controller computed {value} from the given PriorityClass name",
        )
    spec["priority"] = value
    spec.setdefault("preemptionPolicy", policy)


async def mutate_group(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    if call.subresource:
        return
    spec = obj["spec"]
    value, _ = await _resolve(server, call, spec)
    if spec.get("priority") not in (None, value):
        why = f"priority set in the pod group ({spec['priority']}) must match the priority computed ({value})"
        text = f"{why} based on the priority class set in the spec"
        raise errors.forbidden(call.resource, call.name, text)
    spec["priority"] = value


async def _resolve(server: ApiServer, call: Call, spec: Object) -> tuple[int, str]:
    """The value and preemption policy of the class that a spec names, or of the default one, whose name it gets."""
    name = spec.get("priorityClassName") or ""
    if name:
        record = await server.store.get(PREFIX + name)
        if not record:
            raise errors.forbidden(call.resource, call.name, f"no PriorityClass with name {name} was found")
        found: Object | None = server.decoded(record)
    else:
        found = await _default(server)
    if not found:
        return 0, "PreemptLowerPriority"
    spec["priorityClassName"] = found["metadata"]["name"]
    return found.get("value", 0), found.get("preemptionPolicy") or "PreemptLowerPriority"


async def _default(server: ApiServer) -> Object | None:
    page = await server.store.list(PREFIX)
    defaults = [o for r in page.records if (o := server.decoded(r)).get("globalDefault")]
    return min(defaults, key=lambda o: int(o.get("value", 0)), default=None)
