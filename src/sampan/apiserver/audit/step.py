"""The step of the chain that writes the audit log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sampan.apiserver.audit.events import Trail, encode
from sampan.apiserver.audit.file import LogFile
from sampan.apiserver.audit.policy import Policy
from sampan.apiserver.call import Answer, Call, Stream
from sampan.apiserver.surroundings import code
from sampan.client.api import ApiError
from sampan.http.messages import Response, Upgrade

Next = Callable[[Call], Awaitable[Answer]]


class Audit:
    """A policy, and where its events go."""

    def __init__(self, policy: Policy, file: LogFile) -> None:
        self.policy, self.file = policy, file


def audit(configured: Audit, inner: Next) -> Next:
    """Write down each stage of a call, as much of it as the policy says."""
    policy, file = configured.policy, configured.file

    async def step(call: Call) -> Answer:
        rule = policy.rule(call, call.user)
        if rule.level == "None":
            return await inner(call)
        await file.ready()
        trail = Trail(call, rule, call.user)
        if "RequestReceived" not in rule.omit:
            file.write(encode(trail.received()))
        answer: Answer | None = None
        error: ApiError | None = None
        status = 500
        try:
            answer = await inner(call)
            status = code(answer)
        except ApiError as e:
            error, status = e, e.code
            raise
        finally:
            _end(file, trail, rule.omit, call, answer, error, status)
        return answer

    return step


def _end(
    file: LogFile,
    trail: Trail,
    omit: frozenset[str],
    call: Call,
    answer: Answer | None,
    error: ApiError | None,
    status: int,
) -> None:
    """What comes at once is complete; a watch has only begun, and is complete when it ends."""

    def complete() -> None:
        if "ResponseComplete" not in omit:
            file.write(encode(trail.complete(answer, error, status)))

    goes_on = isinstance(answer, Stream) or (
        isinstance(answer, Response) and isinstance(answer.body, Upgrade)
    )
    if goes_on and "ResponseStarted" not in omit:
        file.write(encode(trail.started(status)))
    if isinstance(answer, Stream) and call.request:
        call.ended = complete
    else:
        complete()


def unauthenticated(configured: Audit, inner: Next) -> Next:
    """Write down who could not say who he is, which the step above never sees."""
    policy, file = configured.policy, configured.file

    async def step(call: Call) -> Answer:
        try:
            return await inner(call)
        except ApiError as e:
            rule = policy.rule(call, call.user)
            if e.code == 401 and rule.level != "None" and "ResponseStarted" not in rule.omit:
                trail = Trail(call, rule, call.user)
                event = trail.complete(None, e, 401) | {"stage": "ResponseStarted"}
                event["responseStatus"]["message"] = "Authentication failed, attempted: bearer"
                del event["annotations"]
                file.write(encode(event))
            raise

    return step
