"""ValidatingAdmissionPolicy (admissionregistration.k8s.io/v1): expressions that writes must meet, where it is bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sampan.kinds import admission_rules, faults, strategy
from sampan.kinds.columns import AGE, NAME, count
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.kinds.metadata import checked
from sampan.machinery import names
from sampan.machinery.objects import Object, get

REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_NONE = "validations or auditAnnotations must contain at least one item"
_MOST_ANNOTATIONS, _LONGEST = 20, 5 * 1024


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    if spec.get("matchConstraints") is not None:
        admission_rules.default_matching(spec["matchConstraints"])


def composed(spec: Object) -> tuple[tuple[str, str], ...]:
    """The variables of a policy, as names and expressions."""
    return tuple((v.get("name") or "", v.get("expression") or "") for v in spec.get("variables") or ())


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found = list(common(spec))
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        return [
            *found,
            faults.required("spec.validations", _NONE),
            faults.required("spec.auditAnnotations", _NONE),
        ]
    params, known = spec.get("paramKind") is not None, composed(spec)
    for index, validation in enumerate(validations):
        found += _validation(validation, f"spec.validations[{index}]", params, known)
    if len(annotations) > _MOST_ANNOTATIONS:
        said = f"must not have more than {_MOST_ANNOTATIONS} auditAnnotations"
        found.append(faults.invalid("spec.auditAnnotations", annotations, said))
    seen: set[str] = set()
    for index, annotation in enumerate(annotations):
        path = f"spec.auditAnnotations[{index}]"
        found += _annotation(obj, annotation, path, params, known)
        if annotation.get("key") in seen:
            found.append(faults.duplicate(f"{path}.key", annotation.get("key")))
        seen.add(annotation.get("key") or "")
    return found


def common(spec: Object, made: bool = False) -> Iterator[Invalid]:
    """What policies that validate and those that mutate have alike."""
    yield from faults.one_of(
        "spec.failurePolicy", spec.get("failurePolicy"), admission_rules.FAILURES, needed=True
    )
    params = spec.get("paramKind")
    if params is not None:
        yield from admission_rules.param_kind(params, "spec.paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        yield faults.required("spec.matchConstraints")
    else:
        yield from admission_rules.matching(constraints, "spec.matchConstraints")
        if not constraints.get("resourceRules"):
            yield faults.required("spec.matchConstraints.resourceRules")
    conditions = spec.get("matchConditions") or []
    yield from admission_rules.conditions(conditions, "spec.matchConditions", params is not None)
    known = composed(spec)
    for index, (name, expression) in enumerate(known):
        yield from _variable(
            name, expression, f"spec.variables[{index}]", params is not None, known[:index], made
        )


def _variable(
    name: str, expression: str, path: str, params: bool, known: tuple[tuple[str, str], ...], made: bool
) -> Iterator[Invalid]:
    from sampan.kinds import policy_expressions

    if not name.strip():
        yield faults.required(f"{path}.name", "name is not specified")
    elif not (name.isidentifier() and name.isascii()):
        yield faults.invalid(f"{path}.name", name, "must be a valid CEL identifier")
    if not expression.strip():
        yield faults.required(f"{path}.expression", "expression is not specified")
    elif why := policy_expressions.fault(expression, params=params, wanted=(), composed=known, made=made):
        yield faults.invalid(f"{path}.expression", expression, why)


def _validation(found: Object, path: str, params: bool, known: Any) -> Iterator[Invalid]:
    from sampan.kinds import policy_expressions
    from sampan.machinery.cel import types

    expression, message = str(found.get("expression") or ""), str(found.get("message") or "")
    if not expression.strip():
        yield faults.required(f"{path}.expression", "expression is not specified")
    elif why := policy_expressions.fault(expression, params=params, composed=known):
        yield faults.invalid(f"{path}.expression", expression, why)
    text = str(found.get("messageExpression") or "")
    if text and not text.strip():
        yield faults.invalid(f"{path}.messageExpression", text, "must be non-empty if specified")
    elif text:
        why = policy_expressions.fault(
            text, params=params, wanted=(types.STRING,), authorizer=False, composed=known
        )
        if why:
            yield faults.invalid(f"{path}.messageExpression", text, why)
    if message and not message.strip():
        yield faults.invalid(f"{path}.message", message, "must be non-empty if specified")
    elif "\n" in message.strip():
        yield faults.invalid(f"{path}.message", message, "must not contain line breaks")
    yield from faults.one_of(f"{path}.reason", found.get("reason"), REASONS)


def _annotation(obj: Object, found: Object, path: str, params: bool, known: Any) -> Iterator[Invalid]:
    from sampan.kinds import policy_expressions
    from sampan.machinery.cel import types

    name, key = obj["metadata"].get("name") or "", found.get("key") or ""
    if not name:
        yield faults.invalid(f"{path}.key", key, "requires metadata.name be non-empty")
    else:
        yield from faults.each_invalid(f"{path}.key", f"{name}/{key}", names.qualified(f"{name}/{key}"))
    text = str(found.get("valueExpression") or "").strip()
    if not text:
        yield faults.required(f"{path}.valueExpression", "valueExpression is not specified")
    elif len(text) > _LONGEST:
        yield faults.required(f"{path}.valueExpression", f"must not exceed {_LONGEST} bytes in length")
    else:
        wanted = (types.STRING, types.NULL)
        if why := policy_expressions.fault(text, params=params, wanted=wanted, composed=known):
            yield faults.invalid(f"{path}.valueExpression", text, why)


def param_kind(obj: Object, now: float) -> str:
    found = get(obj, "spec.paramKind")
    return f"{found.get('apiVersion')}/{found.get('kind')}" if found else "<unset>"


KIND = Kind(
    group="admissionregistration.k8s.io",
    version="v1",
    kind="ValidatingAdmissionPolicy",
    plural="validatingadmissionpolicies",
    namespaced=False,
    categories=("api-extensions",),
    subresources=("status",),
    columns=(
        NAME,
        Column("Validations", count("spec.validations"), type="integer", description="How many there are."),
        Column("ParamKind", param_kind, description="What the parameters are."),
        AGE,
    ),
    default=_default,
    prepare=strategy.counted,
    validate=checked(_validate, namespaced=False),
)
