"""What several subresources of pods share."""

from __future__ import annotations

from sampan.apiserver.call import Call
from sampan.kinds import registry
from sampan.machinery.objects import Object

CREATED: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def pods_call(call: Call, name: str, subresource: str) -> Call:
    """The same caller's call on a pod."""
    return Call(
        verb="update",
        kind=registry.find("pods"),
        namespace=call.namespace,
        name=name,
        subresource=subresource,
        query=call.query,
        user=call.user,
    )
