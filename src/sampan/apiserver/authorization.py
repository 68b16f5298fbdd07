"""May this user do this: the node's own rules first, then RBAC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sampan.apiserver import errors, nodes
from sampan.apiserver.call import Answer, Call
from sampan.apiserver.rbac import Attributes
from sampan.apiserver.routing import field_value

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

Next = Callable[[Call], Awaitable[Answer]]
# Subresources that open a connection into a pod; those that may be asked for by GET still need create.
_CONNECTING = ("exec", "attach", "portforward")
# How the audit log calls what was decided here.
DECISION = "authorization.k8s.io/decision"


def attributes(call: Call) -> Attributes:
    """What a call asks for, as an authorizer sees it."""
    kind = call.kind
    if kind is None:
        return Attributes(call.verb, path=call.path or "/")
    namespace = call.name if kind.resource == "namespaces" else call.namespace
    asked = Attributes(call.verb, kind.group, kind.plural, call.subresource, namespace, call.name)
    return (
        asked._replace(node=field_value(call, "spec.nodeName")) if call.verb in ("list", "watch") else asked
    )


def authorize(server: ApiServer, inner: Next) -> Next:
    """Raises 403."""

    async def step(call: Call) -> Answer:
        asked = attributes(call)
        if not await server.allowed(call.user, asked):
            call.annotations[DECISION] = "forbid"
            raise errors.denied(call.user.name, asked, nodes.reason(call.user, asked))
        if asked.subresource in _CONNECTING and asked.verb == "get":
            asked = asked._replace(verb="create")
            if not await server.allowed(call.user, asked):
                raise errors.denied(call.user.name, asked)
        return await inner(call)

    return step
