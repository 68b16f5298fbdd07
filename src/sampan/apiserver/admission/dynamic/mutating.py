"""MutatingAdmissionPolicies: apply configurations and JSON patches made by expressions.

Source: k8s.io/apiserver pkg/admission/plugin/policy/mutating.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sampan.apiserver import codec, errors, fields
from sampan.apiserver.admission.dynamic.configured import EXEMPT, MUTATING_POLICIES
from sampan.apiserver.admission.dynamic.request import Attributes
from sampan.apiserver.admission.dynamic.webhooks import replaced
from sampan.apiserver.call import Call
from sampan.client.api import ApiError
from sampan.kinds.kind import Kind
from sampan.machinery import patches
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.admission.dynamic.policies import Bound
    from sampan.apiserver.server import ApiServer


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    """Let each policy that concerns the request change the object; some once more where a later one did."""
    if not server.configured.any(MUTATING_POLICIES) or call.resource.resource in EXEMPT:
        return
    from sampan.apiserver.admission.dynamic import policies

    found = Attributes(call, call.resource, obj, old)
    order: list[str] = []
    changed_after: set[str] = set()
    async for bound in policies.concerned(server, MUTATING_POLICIES, found, made=True):
        if _mutated(call, found, bound):
            changed_after = {n for n in order if n != bound.name}
        order.append(bound.name)
    if not changed_after:
        return
    async for bound in policies.concerned(server, MUTATING_POLICIES, found, made=True):
        if bound.name in changed_after and bound.policy["spec"].get("reinvocationPolicy") == "IfNeeded":
            _mutated(call, found, bound)


def _mutated(call: Call, found: Attributes, bound: Bound) -> bool:
    """Whether a policy changed the object. Raises 403 where it fails and may not."""
    from sampan.apiserver.admission.dynamic.expressions import Problem

    if bound.evaluation is None:
        if bound.strict:
            raise _refused(call, bound, bound.problem)
        return False
    changed = False
    try:
        if not bound.met():
            return False
        for mutation in bound.policy["spec"].get("mutations") or ():
            obj, _ = found.as_(bound.kind)
            bound.evaluation.variables["object"] = obj
            assert obj is not None
            made = _made(bound, mutation, obj)
            changed = replaced(found, bound.kind, made) or changed
    except (Problem, patches.PatchError, ValueError) as e:
        if bound.strict:
            raise _refused(call, bound, str(e)) from e
    return changed


def _made(bound: Bound, mutation: Object, obj: Object) -> Object:
    assert bound.evaluation is not None
    if mutation["patchType"] == "JSONPatch":
        value = bound.evaluation.value(mutation["jsonPatch"]["expression"])
        return _object(patches.json_patch(codec.copied(obj), [_plain(v) for v in value]))
    value = _plain(bound.evaluation.value(mutation["applyConfiguration"]["expression"]))
    return applied(bound.kind, obj, value)


def applied(kind: Kind, obj: Object, wanted: Any) -> Object:
    """The object with an apply configuration laid over it: maps and lists that are maps are merged. ValueError."""
    if not isinstance(wanted, dict):
        raise ValueError("the apply configuration is no object")
    from sampan.kinds import shapes

    stated = {**wanted, "apiVersion": kind.api_version, "kind": kind.kind}
    return _object(fields.merge(codec.copied(obj), stated, shapes.of(kind)))


def _object(value: Any) -> Object:
    if not isinstance(value, dict):
        raise ValueError("the mutated value is no object")
    return value


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, str | bool | float):
        return value
    return int(value) if isinstance(value, int) else str(value)


def _refused(call: Call, bound: Bound, why: str) -> ApiError:
    with_ = f" with binding '{bound.binding['metadata']['name']}'" if bound.binding else ""
    message = f"MutatingAdmissionPolicy '{bound.name}'{with_} denied request: {why}"
    return errors.forbidden(call.resource, call.name, message)
