"""PriorityLevelConfiguration (flowcontrol.apiserver.k8s.io/v1): how much of the API server some requests may use."""

from __future__ import annotations

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get

MOST_QUEUES = 10_000_000
_QUEUING = (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50))


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for part, shares in (("limited", 30), ("exempt", 0)):
        if spec.get(part) is not None or spec.get("type") == part.title():
            level = spec.setdefault(part, {})
            level.setdefault("nominalConcurrencyShares", shares)
            level.setdefault("lendablePercent", 0)
    response = get(spec, "limited.limitResponse")
    if response and response.get("type") == "Queue":
        queuing = response.setdefault("queuing", {})
        for name, value in _QUEUING:
            queuing[name] = queuing.get(name) or value
    obj.setdefault("status", {})


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec, name = obj["spec"], obj["metadata"].get("name")
    kind = spec.get("type")
    found = faults.one_of("spec.type", kind, ("Exempt", "Limited"), needed=True)
    if (kind == "Exempt") != (name == "exempt"):
        text = "must be 'Exempt' if and only if `name` is 'exempt'"
        found.append(faults.invalid("spec.type", kind or "", text))
    if kind == "Exempt" and spec.get("limited"):
        text = "must be nil if the type is not Limited"
        found.append(faults.forbidden("spec.limited", text))
    if kind == "Limited":
        limited = spec.get("limited")
        found += (
            _limited(limited, "spec.limited")
            if limited
            else [faults.required("spec.limited", "must not be empty when type is Limited")]
        )
    return found


def _limited(limited: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    if limited["nominalConcurrencyShares"] < 0:
        text = "must be a non-negative integer"
        found.append(
            faults.invalid(f"{path}.nominalConcurrencyShares", limited["nominalConcurrencyShares"], text)
        )
    if not 0 <= limited["lendablePercent"] <= 100:
        text = "must be between 0 and 100, inclusive"
        found.append(faults.invalid(f"{path}.lendablePercent", limited["lendablePercent"], text))
    response = limited.get("limitResponse") or {}
    at_ = f"{path}.limitResponse"
    found += faults.one_of(f"{at_}.type", response.get("type"), ("Queue", "Reject"), needed=True)
    queuing = response.get("queuing")
    if response.get("type") == "Reject" and queuing:
        found.append(
            faults.forbidden(f"{at_}.queuing", "must be nil if limited.limitResponse.type is not Limited")
        )
    if response.get("type") != "Queue" or not queuing:
        return found
    for field, _ in _QUEUING:
        if queuing[field] <= 0:
            found.append(faults.invalid(f"{at_}.queuing.{field}", queuing[field], "must be positive"))
    if queuing["queues"] > MOST_QUEUES:
        text = f"must not be greater than {MOST_QUEUES}"
        found.append(faults.invalid(f"{at_}.queuing.queues", queuing["queues"], text))
    if queuing["handSize"] > queuing["queues"]:
        text = f"should not be greater than queues ({queuing['queues']})"
        found.append(faults.invalid(f"{at_}.queuing.handSize", queuing["handSize"], text))
    return found


_QUEUES = "spec.limited.limitResponse.queuing"
KIND = Kind(
    group="flowcontrol.apiserver.k8s.io",
    version="v1",
    kind="PriorityLevelConfiguration",
    plural="prioritylevelconfigurations",
    namespaced=False,
    subresources=("status",),
    columns=(
        NAME,
        Column("Type", at("spec.type"), description="Limited, or exempt from all limits."),
        Column("NominalConcurrencyShares", at("spec.limited.nominalConcurrencyShares"), type="integer"),
        Column("Queues", at(f"{_QUEUES}.queues"), type="integer"),
        Column("HandSize", at(f"{_QUEUES}.handSize"), type="integer"),
        Column("QueueLengthLimit", at(f"{_QUEUES}.queueLengthLimit"), type="integer"),
        AGE,
    ),
    default=_default,
    prepare=strategy.counted,
    validate=metadata.checked(_validate, namespaced=False),
)
