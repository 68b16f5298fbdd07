"""ValidatingAdmissionPolicyBinding (admissionregistration.k8s.io/v1): where a policy holds, with which parameters."""

from __future__ import annotations

from sampan.kinds import admission_rules, faults, strategy
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.kinds.metadata import checked
from sampan.machinery.objects import Object, get

_ACTIONS = ("Audit", "Deny", "Warn")
_BOTH = (
    "must not contain both Deny and Warn (repeating the same validation failure information in the API response and "
    "headers serves no purpose)"
)


def default(obj: Object) -> None:
    found = obj.setdefault("spec", {}).get("matchResources")
    if found is not None:
        admission_rules.default_matching(found)


def param_ref(obj: Object, now: float) -> str:
    ref = get(obj, "spec.paramRef")
    if not ref:
        return "<unset>"
    name = ref.get("name") or "*"
    return f"{ref['namespace']}/{name}" if ref.get("namespace") else str(name)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    found = list(admission_rules.binding(obj))
    path, actions = "spec.validationActions", obj["spec"].get("validationActions") or []
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            found.append(faults.unsupported(f"{path}[{index}]", action, _ACTIONS))
        if action in actions[:index]:
            found.append(faults.duplicate(f"{path}[{index}]", action))
    if {"Deny", "Warn"} <= set(actions):
        found.append(faults.invalid(path, actions, _BOTH))
    if not actions:
        found.append(faults.required(path, "at least one validation action is required"))
    return found


KIND = Kind(
    group="admissionregistration.k8s.io",
    version="v1",
    kind="ValidatingAdmissionPolicyBinding",
    plural="validatingadmissionpolicybindings",
    namespaced=False,
    categories=("api-extensions",),
    columns=(
        NAME,
        Column("PolicyName", at("spec.policyName"), description="The policy that it binds."),
        Column("ParamRef", param_ref, description="The parameters."),
        AGE,
    ),
    default=default,
    prepare=strategy.counted_whole,
    validate=checked(_validate, namespaced=False),
)
