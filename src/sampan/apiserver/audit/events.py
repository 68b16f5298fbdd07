"""What is written of a call: one event of audit.k8s.io/v1 for each stage that it reaches."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import orjson

from sampan.apiserver import bodies, codec
from sampan.apiserver.audit.policy import Rule
from sampan.apiserver.authorization import DECISION
from sampan.apiserver.call import Answer, Call, Made, Many, One, User
from sampan.client.api import ApiError
from sampan.machinery.objects import Object

_PATCHES = "-patch+"


class Trail:
    """The events of one call."""

    def __init__(self, call: Call, rule: Rule, user: User) -> None:
        self._call, self._rule, self._user = call, rule, user
        self._received = _now()
        sent = call.headers.get("audit-id", "")
        self.id = sent[:64] if sent and sent.isascii() and sent.isprintable() else str(uuid.uuid4())

    def received(self) -> Object:
        return self._event("RequestReceived", self._received)

    def started(self, code: int) -> Object:
        """The head of an answer that goes on has been sent."""
        return self._event("ResponseStarted", _now()) | {"responseStatus": {"metadata": {}, "code": code}}

    def complete(self, answer: Answer | None, error: ApiError | None, code: int) -> Object:
        event = self._event("ResponseComplete", _now())
        event["responseStatus"] = _status(answer, error, code)
        if self._rule.level in ("Request", "RequestResponse") and (given := self._given()) is not None:
            event["requestObject"] = given
        if self._rule.level == "RequestResponse":
            found = error.status if error else self._answered(answer)
            if found is not None:
                event["responseObject"] = found
        event["annotations"] = {
            DECISION: "allow",
            "authorization.k8s.io/reason": "",
            **self._call.annotations,
        }
        return event

    def _event(self, stage: str, when: str) -> Object:
        call, user = self._call, self._user
        event: Object = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": self._rule.level,
            "auditID": self.id,
            "stage": stage,
            "requestURI": call.request.target if call.request else call.path or _path(call),
            "verb": call.verb,
            "user": _user(user),
        }
        if call.user is not user:
            event["impersonatedUser"] = _user(call.user)
        event["sourceIPs"] = (
            [call.request.peer.address.rpartition(":")[0] or "127.0.0.1"] if call.request else ["::1"]
        )
        if agent := call.headers.get("user-agent"):
            event["userAgent"] = agent[:1024]
        if call.kind:
            event["objectRef"] = _reference(call)
        return event | {"requestReceivedTimestamp": self._received, "stageTimestamp": when}

    def _given(self) -> Any:
        """The body of the request, as an object where it is one."""
        call = self._call
        if call.request is None:
            return self._bare(call.content) if call.content is not None else None
        if not call.data:
            return None
        kind = bodies.media_type(call)
        try:
            if _PATCHES in kind:
                return bodies.yaml(call.data) if kind.endswith("yaml") else bodies.json(call.data)
            return self._bare(bodies.decoded(call.data, kind))
        except ApiError:
            return None  # it was refused as malformed

    def _answered(self, answer: Answer | None) -> Any:
        match answer:
            case One():
                return self._bare(codec.view(self._call.resource, answer.record))
            case Made():
                return self._bare(answer.object)
            case Many():
                kind = answer.kind
                return {
                    "kind": kind.list_kind or f"{kind.kind}List",
                    "apiVersion": kind.api_version,
                    "metadata": {"resourceVersion": str(answer.revision)},
                    "items": [self._bare(codec.view(kind, r)) for r in answer.records],
                }
        return None

    def _bare(self, obj: Any) -> Any:
        """Without managedFields, where the policy does not want them. The object may be shared."""
        if (
            not self._rule.bare
            or not isinstance(obj, dict)
            or "managedFields" not in (obj.get("metadata") or {})
        ):
            return obj
        return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}


def encode(event: Object) -> bytes:
    return orjson.dumps(event) + b"\n"


def _status(answer: Answer | None, error: ApiError | None, code: int) -> Object:
    if error:
        kept = ("status", "message", "reason", "details")
        return {"metadata": {}, **{k: error.status[k] for k in kept if k in error.status}, "code": error.code}
    if isinstance(answer, Made) and answer.object.get("kind") == "Status":
        return {"metadata": {}, "status": "Success", "code": code}
    return {"metadata": {}, "code": code}


def _user(user: User) -> Object:
    found: Object = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {name: list(values) for name, values in user.extra.items()}
    return found


def _reference(call: Call) -> Object:
    kind = call.resource
    found = {
        "resource": kind.plural,
        "namespace": call.namespace,
        "name": call.name,
        "apiGroup": kind.group,
        "apiVersion": kind.version,
        "subresource": call.subresource,
    }
    return {name: value for name, value in found.items() if value}


def _path(call: Call) -> str:
    """The path that a client in this process would have asked for."""
    kind = call.resource
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    where = f"/namespaces/{call.namespace}" if call.namespace else ""
    rest = "".join(f"/{word}" for word in (call.name, call.subresource) if word)
    return f"{root}{where}/{kind.plural}{rest}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
