"""Reviews: questions that are created and answered, never stored.

TokenReview, SelfSubjectReview, the SubjectAccessReview family and SelfSubjectRulesReview; and Binding, an order.
Source: the API reference, "Authentication Resources" and "Authorization Resources".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sampan.apiserver import errors, tokens
from sampan.apiserver.bodies import body
from sampan.apiserver.call import Answer, Call, Made, User
from sampan.apiserver.rbac import MASTERS, Attributes, Rule, rule
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

_Answerer = Callable[[Call, Object], Awaitable[Object]]


class Reviews:
    def __init__(self, server: ApiServer):
        self._server = server
        self._answers: dict[str, _Answerer] = {
            "TokenReview": self._token,
            "SelfSubjectReview": self._self,
            "SubjectAccessReview": self._access,
            "LocalSubjectAccessReview": self._access,
            "SelfSubjectAccessReview": self._own_access,
            "SelfSubjectRulesReview": self._own_rules,
        }

    async def __call__(self, call: Call) -> Answer:
        if call.resource.kind == "Binding":
            return await self._server.subresources.bind(call)
        answer = self._answers.get(call.resource.kind)
        if answer is None:
            raise errors.method_not_allowed(call.resource)
        obj = await body(call, call.resource)
        spec = obj.setdefault("spec", {})
        if not isinstance(spec, dict):
            raise errors.bad_request("spec: an object was expected")
        obj["metadata"].setdefault("creationTimestamp", None)
        obj["status"] = await answer(call, spec)
        return Made(obj, 201)

    async def _token(self, call: Call, spec: Object) -> Object:
        issuer = self._server.tokens.issuer
        try:
            user, good = await self._server.tokens.user(
                str(spec.get("token") or ""), spec.get("audiences") or [issuer]
            )
        except tokens.Invalid as e:
            return {"authenticated": False, "user": {}, "error": f"invalid bearer token, {e}"}
        return {"authenticated": True, "user": _user_info(user), "audiences": good}

    async def _self(self, call: Call, spec: Object) -> Object:
        return {"userInfo": _user_info(call.user)}

    async def _own_access(self, call: Call, spec: Object) -> Object:
        return await self._decided(call, call.user, spec)

    async def _access(self, call: Call, spec: Object) -> Object:
        extra = {k: tuple(v) for k, v in (spec.get("extra") or {}).items()}
        user = User(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "", extra)
        if not user.name and not user.groups:
            raise errors.bad_request("at least one of user or group must be specified")
        return await self._decided(call, user, spec)

    async def _decided(self, call: Call, user: User, spec: Object) -> Object:
        asked = _attributes(spec)
        if call.resource.kind == "LocalSubjectAccessReview" and asked.namespace != call.namespace:
            raise errors.bad_request("spec.resourceAttributes.namespace must match metadata.namespace")
        allowed = await self._server.allowed(user, asked)
        return (
            {"allowed": True, "reason": "the node's rules or RBAC allow it"}
            if allowed
            else {"allowed": False}
        )

    async def _own_rules(self, call: Call, spec: Object) -> Object:
        namespace = spec.get("namespace") or ""
        if not namespace:
            raise errors.bad_request("no namespace on request")
        rules = list(self._server.rbac.rules(call.user, namespace))
        if MASTERS in call.user.groups:
            rules += [_EVERYTHING, _EVERY_PATH]
        return {
            "resourceRules": [_resource_rule(r) for r in rules if not r.urls],
            "nonResourceRules": [
                {"verbs": sorted(r.verbs), "nonResourceURLs": list(r.urls)} for r in rules if r.urls
            ],
            "incomplete": False,
        }


_EVERYTHING = rule({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
_EVERY_PATH = rule({"verbs": ["*"], "nonResourceURLs": ["*"]})


def _resource_rule(found: Rule) -> Object:
    said: Object = {
        "verbs": sorted(found.verbs),
        "apiGroups": sorted(found.groups),
        "resources": sorted(found.resources),
    }
    return said | ({"resourceNames": sorted(found.names)} if found.names else {})


def _attributes(spec: Object) -> Attributes:
    on, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (on is None) == (path is None):
        raise errors.bad_request(
            "exactly one of resourceAttributes or nonResourceAttributes must be specified"
        )
    if path is not None:
        return Attributes(path.get("verb") or "", path=path.get("path") or "/")
    found = [
        str((on or {}).get(f) or "")
        for f in ("verb", "group", "resource", "subresource", "namespace", "name")
    ]
    return Attributes(*found)


def _user_info(user: User) -> Object:
    found: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        found["uid"] = user.uid
    if user.extra:
        found["extra"] = {k: list(v) for k, v in user.extra.items()}
    return found
