"""The outer steps of the chain: `catch`, `limit`, `span`, `measure`, `frozen` and `current`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Answer, Call, Made, Many, One, Stream
from sampan.client.api import ApiError
from sampan.host import trace
from sampan.http.messages import Response
from sampan.store.api import Future, StoreError

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

Next = Callable[[Call], Awaitable[Answer]]
log = logging.getLogger(__name__)
SERVICE = "kube-apiserver"
# What the JSON encoder says of more than 254 levels.
_TOO_DEEP = "Recursion limit reached"
# How long a request may take to be answered, as upstream's; a watch or a connection then goes on.
DEADLINE = 60.0


def catch(inner: Next) -> Next:
    """Whatever fails leaves as an ApiError; an unexpected failure is logged, and told without its inside."""

    async def step(call: Call) -> Answer:
        try:
            return await inner(call)
        except ApiError:
            raise
        except StoreError as e:
            raise errors.unavailable(f"the store cannot serve this now: {e}") from e
        except RecursionError as e:
            raise errors.bad_request("the body is nested too deeply") from e
        except Exception as e:
            if str(e) == _TOO_DEEP:
                raise errors.bad_request("the body is nested too deeply") from e
            log.exception("%s %s failed", call.verb, call.path or call.resource.resource)
            raise errors.internal(
                f"{type(e).__name__} while serving {call.verb}; the server's log says more"
            ) from e

    return step


def limit(inner: Next) -> Next:
    """No request waits for ever. (Local clients have their own deadline.)"""

    async def step(call: Call) -> Answer:
        try:
            async with asyncio.timeout(DEADLINE):
                return await inner(call)
        except TimeoutError as e:
            raise errors.gateway_timeout(f"{call.verb} did not complete within {DEADLINE:g} s") from e

    return step


def span(inner: Next) -> Next:
    """The call as a span: a child of a component's own, or a new trace that links to what a user sent.

    The span of a watch ends when the watch begins.
    """

    async def step(call: Call) -> Answer:
        sent = trace.parse(call.headers.get("traceparent", "")) if call.request else None
        parents = (sent,) if sent and call.user.component else ()
        what = f"{call.resource.plural}/{call.subresource}".rstrip("/") if call.kind else call.path
        peer = call.user.service
        with trace.span(
            f"{call.verb} {what}", SERVICE, causes=parents, attributes=_attributes(call), peer=peer
        ) as made:
            if sent and not parents:
                made.links = (*made.links, sent)
            try:
                answer = await inner(call)
            except ApiError as e:
                made.attributes["code"] = str(e.code)
                made.attributes["user"] = call.user.name
                raise
            made.attributes["code"] = str(code(answer))
            made.attributes["user"] = call.user.name
            if isinstance(answer, One):
                made.attributes["name"] = answer.record.key.rpartition("/")[2]
                made.attributes["revision"] = str(answer.record.revision)
            return answer

    return step


def _attributes(call: Call) -> dict[str, str]:
    found = {"verb": call.verb, "user": call.user.name}
    if call.kind:
        found["resource"] = call.kind.resource
        found["namespace"] = call.namespace
        found["name"] = call.name
    if call.request:
        for attribute, header in (
            ("kubectl.session", "kubectl-session"),
            ("kubectl.command", "kubectl-command"),
            ("user_agent", "user-agent"),
        ):
            if value := call.headers.get(header):
                found[attribute] = value[:200]
    return {name: value for name, value in found.items() if value}


def code(answer: Answer) -> int:
    """The HTTP status that an answer has."""
    match answer:
        case One() | Made():
            return answer.code
        case Response():
            return answer.status
        case Many() | Stream():
            return 200


def measure(server: ApiServer, inner: Next) -> Next:
    """Count and time the call."""

    async def step(call: Call) -> Answer:
        begun = time.perf_counter()
        status = 500
        try:
            answer = await inner(call)
            status = code(answer)
            return answer
        except ApiError as e:
            status = e.code
            raise
        finally:
            server.metrics.count(call, status, time.perf_counter() - begun)

    return step


def frozen(server: ApiServer, inner: Next) -> Next:
    """Where the server's store cannot be changed, refuse what would change it, or reach what is not there."""
    why = server.settings.frozen
    if not why:
        return inner

    async def step(call: Call) -> Answer:
        asks = call.kind is not None and not call.kind.stored and not call.subresource
        reads = call.verb in ("get", "list", "watch", "head") and (
            not call.subresource or call.subresource in ("status", "scale")
        )
        if asks or reads or (call.kind is None and call.verb == "post"):
            return await inner(call)
        raise errors.method_not_allowed(call.kind, because=f"this is {why}, which can only be read")

    return step


def current(server: ApiServer, inner: Next) -> Next:
    """What a call reads shows all that anyone had written before it, by whichever server; or, where a resourceVersion
    is given, at least that.
    """
    store = server.store
    if not store.shared:
        return inner

    async def step(call: Call) -> Answer:
        asked = call.parameter("resourceVersion")
        try:
            if not (asked and asked.isdigit() and call.verb in ("get", "list", "watch")):
                await store.sync()
            elif int(asked):
                await store.sync(int(asked))
        except Future as e:
            raise errors.future(int(asked), store.revision) from e
        return await inner(call)

    return step
