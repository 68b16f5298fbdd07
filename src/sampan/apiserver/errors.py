"""Refusals, as Kubernetes Status objects worded as upstream's (k8s.io/apimachinery pkg/api/errors)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sampan.client.api import ApiError
from sampan.kinds.kind import Invalid, Kind
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.rbac import Attributes


def status(code: int, reason: str, message: str, details: Object | None = None) -> Object:
    found: Object = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
    }
    if reason:
        found["reason"] = reason
    if details:
        found["details"] = details
    found["code"] = code
    return found


def error(code: int, reason: str, message: str, details: Object | None = None) -> ApiError:
    return ApiError(status(code, reason, message, details))


def success(kind: Kind, name: str, uid: str) -> Object:
    """What a delete answers when the object is gone."""
    details = about(kind, name) | ({"uid": uid} if uid else {})
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def about(kind: Kind, name: str) -> Object:
    details: Object = {"name": name} if name else {}
    if kind.group:
        details["group"] = kind.group
    return details | {"kind": kind.plural}


def bad_request(message: str) -> ApiError:
    return error(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return error(401, "Unauthorized", "Unauthorized")


def forbidden(kind: Kind, name: str, why: str) -> ApiError:
    named = f' "{name}"' if name else ""
    return error(403, "Forbidden", f"{kind.resource}{named} is forbidden: {why}", about(kind, name))


def not_found(kind: Kind, name: str) -> ApiError:
    return error(404, "NotFound", f'{kind.resource} "{name}" not found', about(kind, name))


def no_such_path() -> ApiError:
    """For a path that no resource serves."""
    return error(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed(kind: Kind | None = None, verb: str = "", *, because: str = "") -> ApiError:
    details = about(kind, "") if kind else None
    message = "the server does not allow this method on the requested resource"
    message += f": {because}" if because else ""
    return error(405, "MethodNotAllowed", message, details)


def exists(kind: Kind, name: str) -> ApiError:
    return error(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', about(kind, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(kind: Kind, name: str, why: str = MODIFIED) -> ApiError:
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return error(409, "Conflict", message, about(kind, name))


def expired(message: str) -> ApiError:
    return error(410, "Expired", message)


def unsupported_media(content_type: str, accepted: Sequence[str]) -> ApiError:
    said = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return error(415, "UnsupportedMediaType", said)


def not_acceptable() -> ApiError:
    said = "only the following media types are accepted: application/json, application/yaml"
    return error(406, "NotAcceptable", said)


def too_large(limit: str) -> ApiError:
    return error(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def invalid(kind: Kind, name: str, faults: Sequence[Invalid]) -> ApiError:
    """422 with every fault as a cause; the summary lists them as upstream's aggregate does."""
    causes = [{"reason": f.reason, "message": f.detail, "field": f.field} for f in faults]
    lines = list(dict.fromkeys(f"{f.field}: {f.detail}" for f in faults))
    summary = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    details = {"name": name, "group": kind.group, "kind": kind.kind, "causes": causes}
    qualified = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    message = f'{qualified} "{name}" is invalid: {summary}'
    return error(422, "Invalid", message, {k: v for k, v in details.items() if v})


def too_many_requests(message: str, seconds: int, causes: Sequence[Object] = ()) -> ApiError:
    details: Object = {"retryAfterSeconds": seconds} if seconds else {}
    if causes:
        details["causes"] = list(causes)
    return error(429, "TooManyRequests", message, details)


def internal(message: str) -> ApiError:
    said = f"Internal error occurred: {message}"
    return error(500, "InternalError", said, {"causes": [{"message": message}]})


def unavailable(message: str) -> ApiError:
    return error(503, "ServiceUnavailable", message)


def gateway_timeout(message: str) -> ApiError:
    return error(504, "Timeout", f"Timeout: {message}")


def future(asked: int, current: int) -> ApiError:
    """For a resourceVersion that is not written yet: come again in a second."""
    message = f"Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return error(504, "Timeout", f"Timeout: {message}", {"causes": [cause], "retryAfterSeconds": 1})


def denied(user: str, asked: Attributes, reason: str = "") -> ApiError:
    """403 as an authorizer says it, for a resource or a path; `reason` where there is more to say."""
    if asked.path:
        return error(
            403, "Forbidden", f'forbidden: User "{user}" cannot {asked.verb} path "{asked.path}"', {}
        )
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    named = f' "{asked.name}"' if asked.name else ""
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    message = (
        f'{qualified}{named} is forbidden: User "{user}" cannot {asked.verb} resource "{resource}" '
        f'in API group "{asked.group}" {where}'
    ) + (f": {reason}" if reason else "")
    details = {"name": asked.name, "group": asked.group, "kind": asked.resource}
    return error(403, "Forbidden", message, {k: v for k, v in details.items() if v})
