"""Requests for what another server serves: parsed as far as authorization needs, and passed on.

Source: k8s.io/kube-aggregator pkg/apiserver/handler_proxy.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.aggregator import front
from sampan.apiserver.call import Answer, Call
from sampan.apiserver.kubelets import forward
from sampan.kinds.kind import Kind

if TYPE_CHECKING:
    from sampan.apiserver.aggregator.services import Remote
    from sampan.apiserver.server import ApiServer


def kind(group: str, version: str, plural: str, namespaced: bool, subresource: str) -> Kind:
    """What stands for a resource of which nothing but its name is known."""
    subresources = (subresource,) if subresource else ()
    return Kind(
        group=group,
        version=version,
        kind=plural,
        plural=plural,
        namespaced=namespaced,
        subresources=subresources,
    )


async def answer(server: ApiServer, call: Call, remote: Remote) -> Answer:
    """What the other server answers. Raises 503 where it is not there."""
    if call.request is None:
        raise errors.unavailable("what another server serves is asked over HTTP")
    if not remote.available:
        raise errors.unavailable("service unavailable")
    client = await server.api_services.client(remote)
    return await forward(client, call.request, call.request.target, more=front.headers(call.user))
