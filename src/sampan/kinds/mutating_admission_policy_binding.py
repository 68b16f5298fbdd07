"""MutatingAdmissionPolicyBinding (admissionregistration.k8s.io/v1): where a policy holds, with which parameters."""

from __future__ import annotations

from sampan.kinds import admission_rules, strategy
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.kinds.metadata import checked
from sampan.kinds.validating_admission_policy_binding import default, param_ref
from sampan.machinery.objects import Object


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    return list(admission_rules.binding(obj))


KIND = Kind(
    group="admissionregistration.k8s.io",
    version="v1",
    kind="MutatingAdmissionPolicyBinding",
    plural="mutatingadmissionpolicybindings",
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
