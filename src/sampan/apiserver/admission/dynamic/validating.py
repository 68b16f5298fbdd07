"""ValidatingAdmissionPolicies. Source: k8s.io/apiserver pkg/admission/plugin/policy/validating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from sampan.apiserver import errors
from sampan.apiserver.admission.dynamic.configured import EXEMPT, VALIDATING_POLICIES
from sampan.apiserver.admission.dynamic.request import Attributes
from sampan.apiserver.call import Call
from sampan.client.api import ApiError
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.admission.dynamic.policies import Bound
    from sampan.apiserver.server import ApiServer

_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}
_FAILURES = "validation.policy.admission.k8s.io/validation_failure"
# The most failures that are noted, the longest value of an annotation, and the longest message.
_MOST, _LONGEST_VALUE, _LONGEST_MESSAGE = 50, 10 * 1024, 5 * 1024


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a policy does not hold; `failed` where it could not be evaluated."""

    index: int
    message: str
    reason: str = "Invalid"
    failed: bool = False


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    """Raises what the first policy says that denies the request."""
    if not server.configured.any(VALIDATING_POLICIES) or call.resource.resource in EXEMPT:
        return
    from sampan.apiserver.admission.dynamic import policies

    found = Attributes(call, call.resource, obj, old)
    denied: list[tuple[Bound, Denial]] = []
    noted: list[Object] = []
    async for bound in policies.concerned(server, VALIDATING_POLICIES, found):
        for denial in _denials(bound, call):
            denied += _act(bound, denial, call, noted)
    if noted:
        call.annotations[_FAILURES] = orjson.dumps(noted[:_MOST]).decode()
    if denied:
        raise _refused(call, *denied[0])


def _act(bound: Bound, denial: Denial, call: Call, noted: list[Object]) -> list[tuple[Bound, Denial]]:
    """Do what the binding says is to be done of a denial; what is to be refused is returned."""
    if bound.evaluation is None or bound.binding is None:
        return [(bound, denial)]
    spec, name = bound.binding["spec"], bound.binding["metadata"]["name"]
    actions, refused = spec.get("validationActions") or (), []
    if "Deny" in actions:
        refused.append((bound, denial))
    if "Audit" in actions:
        noted.append({
            "message": denial.message, "policy": bound.name, "binding": name, "expressionIndex": denial.index,
            "validationActions": list(actions),
        })  # fmt: skip
    if "Warn" in actions:
        said = f"Validation failed for ValidatingAdmissionPolicy '{bound.name}' with binding '{name}'"
        call.warnings.append(f"{said}: {denial.message}")
    return refused


def _denials(bound: Bound, call: Call) -> list[Denial]:
    from sampan.apiserver.admission.dynamic.expressions import Problem

    if bound.evaluation is None:
        return [Denial(0, bound.problem, failed=True)] if bound.strict else []
    try:
        if not bound.met():
            return []
    except Problem as e:
        return [Denial(0, str(e), failed=True)]
    found: list[Denial] = []
    for index, validation in enumerate(bound.policy["spec"].get("validations") or ()):
        try:
            if bound.evaluation.value(validation["expression"]) is not True:
                reason = validation.get("reason") or "Invalid"
                found.append(Denial(index, _message(bound, validation), reason))
        except Problem as e:
            if bound.strict:
                found.append(Denial(index, str(e), failed=True))
    return found + _annotations(bound, call)


def _message(bound: Bound, validation: Object) -> str:
    from sampan.apiserver.admission.dynamic.expressions import Problem

    assert bound.evaluation is not None
    if text := validation.get("messageExpression"):
        try:
            value = bound.evaluation.value(text, authorizer=False)
        except Problem:
            value = ""
        said = value.strip() if isinstance(value, str) else ""
        if said and "\n" not in said and len(said.encode()) <= _LONGEST_MESSAGE:
            return said
    said = str(validation.get("message") or "").strip()
    return said or f"failed expression: {validation['expression'].strip()}"


def _annotations(bound: Bound, call: Call) -> list[Denial]:
    from sampan.apiserver.admission.dynamic.expressions import Problem

    assert bound.evaluation is not None
    found: list[Denial] = []
    for annotation in bound.policy["spec"].get("auditAnnotations") or ():
        try:
            value = bound.evaluation.value(annotation["valueExpression"].strip())
        except Problem as e:
            if bound.strict:
                found.append(Denial(0, str(e), failed=True))
            continue
        text = value.strip() if isinstance(value, str) else ""
        if text:
            key = f"{bound.name}/{annotation['key']}"
            before = call.annotations.get(key)
            values = before.split(", ") if before else []
            text = text.encode()[:_LONGEST_VALUE].decode(errors="ignore")
            call.annotations[key] = ", ".join(values if text in values else [*values, text])
    return found


def _refused(call: Call, bound: Bound, denial: Denial) -> ApiError:
    with_ = f" with binding '{bound.binding['metadata']['name']}'" if bound.binding else ""
    message = f"ValidatingAdmissionPolicy '{bound.name}'{with_} denied request: {denial.message}"
    refusal = errors.forbidden(call.resource, call.name, message)
    refusal.status["reason"] = denial.reason
    refusal.status["code"] = _CODES.get(denial.reason, 422)
    refusal.status["details"]["causes"] = [{"message": message}]
    return ApiError(refusal.status)
