"""FlowSchema (flowcontrol.apiserver.k8s.io/v1): which requests belong together, and to which priority level."""

from __future__ import annotations

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get

MOST_PRECEDENCE = 10_000
SUBJECTS = ("Group", "ServiceAccount", "User")
METHODS = ("ByNamespace", "ByUser")


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec["matchingPrecedence"] = spec.get("matchingPrecedence") or 1000
    obj.setdefault("status", {})


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec, found = obj["spec"], list[Invalid]()
    precedence = spec["matchingPrecedence"]
    if not 1 <= precedence <= MOST_PRECEDENCE:
        text = f"must be a value between 1 and {MOST_PRECEDENCE}"
        found.append(faults.invalid("spec.matchingPrecedence", precedence, text))
    elif precedence == 1 and obj["metadata"].get("name") != "exempt":
        text = "only the schema named 'exempt' may have matchingPrecedence 1"
        found.append(faults.invalid("spec.matchingPrecedence", precedence, text))
    if not get(spec, "priorityLevelConfiguration.name"):
        text = "must reference a priority level"
        found.append(faults.required("spec.priorityLevelConfiguration.name", text))
    method = get(spec, "distinguisherMethod.type")
    found += faults.one_of("spec.distinguisherMethod.type", method, METHODS)
    for n, rule in enumerate(spec.get("rules") or ()):
        found += _rule(rule, f"spec.rules[{n}]")
    return found


def _rule(rule: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    if not rule.get("subjects"):
        found.append(faults.required(f"{path}.subjects", "subjects must contain at least one value"))
    for n, subject in enumerate(rule.get("subjects") or ()):
        kind, at_ = subject.get("kind"), f"{path}.subjects[{n}]"
        found += faults.one_of(f"{at_}.kind", kind, SUBJECTS, needed=True)
        field = {"Group": "group", "User": "user", "ServiceAccount": "serviceAccount"}.get(kind or "")
        if field and not subject.get(field):
            text = f"{field} is required when subject kind is '{kind}'"
            found.append(faults.required(f"{at_}.{field}", text))
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        text = "at least one of resourceRules and nonResourceRules has to be non-empty"
        found.append(faults.required(path, text))
    for n, one in enumerate(rule.get("resourceRules") or ()):
        at_ = f"{path}.resourceRules[{n}]"
        found += [
            faults.required(f"{at_}.{f}") for f in ("verbs", "apiGroups", "resources") if not one.get(f)
        ]
        if not one.get("namespaces") and not one.get("clusterScope"):
            text = "resource rules that are not cluster scoped must supply at least one namespace"
            found.append(faults.required(f"{at_}.namespaces", text))
    return found


KIND = Kind(
    group="flowcontrol.apiserver.k8s.io",
    version="v1",
    kind="FlowSchema",
    plural="flowschemas",
    namespaced=False,
    subresources=("status",),
    columns=(
        NAME,
        Column(
            "PriorityLevel", at("spec.priorityLevelConfiguration.name"), description="Where its requests go."
        ),
        Column(
            "MatchingPrecedence",
            at("spec.matchingPrecedence"),
            type="integer",
            description="Lower is asked first.",
        ),
        Column(
            "DistinguisherMethod",
            at("spec.distinguisherMethod.type"),
            description="What tells its flows apart.",
        ),
        AGE,
    ),
    default=_default,
    prepare=strategy.counted,
    validate=metadata.checked(_validate, namespaced=False),
)
