"""The order in which every request passes through the API server.

    catch           what fails becomes a Status; nothing else ever leaves
    limit           the deadline of a request
    authenticate    who asks: client certificate, bearer token, or anonymous
    fair            its turn, by priority level and flow, or 429
    render          the answer as a response: JSON, protobuf, a table, a stream   (local clients enter after this)
    span            the work as a span, the cause of whatever the call writes
    measure         counts and times, for /metrics
    audit           where there is a policy: write down who asks for what, and what is answered
    impersonate     who it is to be taken for, where the asker may
    authorize       may that user do this: the node's rules, then RBAC
    frozen          where the cluster is a recording: refuse what is no read
    current         where several servers share the store: wait until this one has seen what the others wrote
    dispatch        the verb: a read, a watch, a write, a subresource, or a path that is no resource

Every write then passes, in `writing.Writer.admitted`:

    default             the kind's own: fields that the writer left out are filled in
    mutate              each of `admission.MUTATING` may change the object
    prepare             the kind's own: fields that this writer may not set are put back
    validate            the kind's rules: every fault is told; then each of `admission.VALIDATING` may refuse

and is stored: encoded once, with the span's traceparent as its cause.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sampan.apiserver.authentication import authenticate
from sampan.apiserver.authorization import authorize
from sampan.apiserver.call import Answer, Call
from sampan.apiserver.dispatch import dispatch
from sampan.apiserver.fairness.gate import fair
from sampan.apiserver.impersonation import impersonate
from sampan.apiserver.rendering import render
from sampan.apiserver.surroundings import catch, current, frozen, limit, measure, span

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

Next = Callable[[Call], Awaitable[Answer]]


def remote(server: ApiServer) -> Next:
    """What requests over HTTP pass."""
    return catch(limit(_unauthenticated(server, authenticate(server, fair(server, render(local(server)))))))


def local(server: ApiServer) -> Next:
    """What calls of local clients pass: the same, less authentication."""
    inner = authorize(server, frozen(server, current(server, dispatch(server))))
    return catch(span(measure(server, _audit(server, impersonate(server, inner)))))


def _audit(server: ApiServer, inner: Next) -> Next:
    """The step of the audit log, which is not even loaded where there is no policy."""
    if server.settings.audit is None:
        return inner
    from sampan.apiserver.audit.step import audit

    return audit(server.settings.audit, inner)


def _unauthenticated(server: ApiServer, inner: Next) -> Next:
    if server.settings.audit is None:
        return inner
    from sampan.apiserver.audit.step import unauthenticated

    return unauthenticated(server.settings.audit, inner)
