"""MutatingAdmissionPolicy (admissionregistration.k8s.io/v1): expressions that change writes, where it is bound."""

from __future__ import annotations

from collections.abc import Iterator

from sampan.kinds import admission_rules, faults, strategy
from sampan.kinds.columns import AGE, NAME, count
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.kinds.metadata import checked
from sampan.kinds.validating_admission_policy import common, composed, param_kind
from sampan.machinery.objects import Object

_TYPES = ("ApplyConfiguration", "JSONPatch")
_FIELDS = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    if spec.get("matchConstraints") is not None:
        admission_rules.default_matching(spec["matchConstraints"])


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found = list(common(spec, made=True))
    for index, rule in enumerate((spec.get("matchConstraints") or {}).get("resourceRules") or ()):
        if {"DELETE", "CONNECT", "*"} & set(rule.get("operations") or ()):
            path = f"spec.matchConstraints.resourceRules[{index}].operations"
            said = "DELETE and CONNECT cannot be mutated"
            found.append(faults.invalid(path, rule["operations"], said))
    if not spec.get("mutations"):
        found.append(faults.required("spec.mutations", "mutations must contain at least one item"))
    for index, mutation in enumerate(spec.get("mutations") or ()):
        found += _mutation(spec, mutation, f"spec.mutations[{index}]")
    policy = spec.get("reinvocationPolicy")
    found += faults.one_of("spec.reinvocationPolicy", policy, ("IfNeeded", "Never"), needed=True)
    return found


def _mutation(spec: Object, mutation: Object, path: str) -> Iterator[Invalid]:
    from sampan.kinds import policy_expressions
    from sampan.machinery.cel import types

    kind = mutation.get("patchType")
    if kind not in _TYPES:
        yield from faults.one_of(f"{path}.patchType", kind, _TYPES, needed=True)
        return
    for name, field in _FIELDS.items():
        if name != kind and mutation.get(field) is not None:
            yield faults.forbidden(f"{path}.{field}", f"must not be specified when patchType is {kind}")
    field = _FIELDS[kind]
    text = str((mutation.get(field) or {}).get("expression") or "")
    if not text.strip():
        yield faults.required(f"{path}.{field}.expression", "expression is not specified")
        return
    wanted = policy_expressions.structs("Object") if kind == "ApplyConfiguration" else None
    why = policy_expressions.fault(
        text,
        params=spec.get("paramKind") is not None,
        wanted=(wanted,) if wanted else (types.list_of(policy_expressions.PATCH),),
        composed=composed(spec),
        made=True,
    )
    if why:
        yield faults.invalid(f"{path}.{field}.expression", text, why)


KIND = Kind(
    group="admissionregistration.k8s.io",
    version="v1",
    kind="MutatingAdmissionPolicy",
    plural="mutatingadmissionpolicies",
    namespaced=False,
    categories=("api-extensions",),
    columns=(
        NAME,
        Column("Mutations", count("spec.mutations"), type="integer", description="How many there are."),
        Column("ParamKind", param_kind, description="What the parameters are."),
        AGE,
    ),
    default=_default,
    prepare=strategy.counted_whole,
    validate=checked(_validate, namespaced=False),
)
