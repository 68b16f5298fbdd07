"""A new node takes no pods before the node controller has seen it ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver.call import Call
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    spec = obj.setdefault("spec", {})
    taints = spec.get("taints") or []
    if all((t.get("key"), t.get("effect")) != (NOT_READY["key"], NOT_READY["effect"]) for t in taints):
        spec["taints"] = [*taints, dict(NOT_READY)]
