"""A pod's priority is the value of its PriorityClass, or of the cluster's default one."""

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
    name = spec.get("priorityClassName") or ""
    if name:
        record = await server.store.get(PREFIX + name)
        if not record:
            raise errors.forbidden(call.resource, call.name, f"no PriorityClass with name {name} was found")
        found: Object | None = server.decoded(record)
    else:
        found = await _default(server)
    value, policy = 0, "PreemptLowerPriority"
    if found:
        spec["priorityClassName"] = found["metadata"]["name"]
        value, policy = found.get("value", 0), found.get("preemptionPolicy") or policy
    if spec.get("priority") not in (None, value):
        why = f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
        raise errors.forbidden(
            call.resource,
            call.name,
            f"{why}priority admission controller computed {value} from the given PriorityClass name",
        )
    spec["priority"] = value
    spec.setdefault("preemptionPolicy", policy)


async def _default(server: ApiServer) -> Object | None:
    page = await server.store.list(PREFIX)
    defaults = [o for r in page.records if (o := server.decoded(r)).get("globalDefault")]
    return min(defaults, key=lambda o: int(o.get("value", 0)), default=None)
