"""componentstatuses: how the control plane is, as old tools ask. Its parts live in one process with this server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Answer, Call, Made
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

RESOURCE = "componentstatuses"
NAMES = ("scheduler", "controller-manager", "etcd-0")
WARNING = "v1 ComponentStatus is deprecated in v1.19+"


async def answer(server: ApiServer, call: Call) -> Answer:
    """What `get` and `list` answer."""
    call.warnings.append(WARNING)
    if call.verb == "list":
        items = [_status(server, name) for name in NAMES]
        return Made({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": items})
    if call.verb != "get":
        raise errors.method_not_allowed(call.kind)
    if call.name not in NAMES:
        raise errors.not_found(call.resource, call.name)
    return Made(_status(server, call.name))


def _status(server: ApiServer, name: str) -> Object:
    fault = "; ".join(server.faults)
    condition = {"type": "Healthy", "status": "False" if fault else "True", "message": fault or "ok"}
    meta = {"name": name}
    return {"kind": "ComponentStatus", "apiVersion": "v1", "metadata": meta, "conditions": [condition]}
