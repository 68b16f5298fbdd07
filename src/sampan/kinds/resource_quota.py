"""ResourceQuota (core/v1): how much a namespace may hold."""

from __future__ import annotations

from typing import Any

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME
from sampan.kinds.containers import extended, positive
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import quantities
from sampan.machinery.names import qualified
from sampan.machinery.objects import Object, get

_COUNTED = frozenset({
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
})  # fmt: skip
_PODS = frozenset({
    "pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory",
})  # fmt: skip
_COMPUTE = _PODS | {
    "ephemeral-storage",
    "requests.ephemeral-storage",
    "limits.ephemeral-storage",
    "requests.storage",
}
# What a quota with a scope may count.
_VALID_FOR = {
    "Terminating": _PODS,
    "NotTerminating": _PODS,
    "NotBestEffort": _PODS,
    "PriorityClass": _PODS,
    "CrossNamespacePodAffinity": _PODS,
    "BestEffort": frozenset({"pods"}),
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
}
_ONLY_EXISTS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def _used(obj: Object, limits: bool) -> str:
    hard, used = get(obj, "status.hard", {}), get(obj, "status.used", {})
    chosen = [name for name in sorted(hard) if name.startswith("limits.") == limits]
    return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in chosen)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec, paths = obj.get("spec") or {}, ("spec.hard", "status.hard", "status.used")
    found = [
        f for path in paths for n, a in get(obj, path, {}).items() for f in _amount(n, a, f"{path}[{n}]")
    ]
    names = [s for s in spec.get("scopes") or () if s]
    found += _scopes(names, spec, "spec.scopes", names)
    if old is not None and set(names) != set(get(old, "spec.scopes", ())):
        found.append(faults.invalid("spec.scopes", names, faults.IMMUTABLE))
    return found + _selector(spec)


def _amount(name: str, amount: Any, path: str) -> list[Invalid]:
    found = faults.each_invalid(path, name, qualified(name))
    if "/" not in name and not _standard(name):
        return [*found, faults.invalid(path, name, "must be a standard resource for quota")]
    found += positive(amount, path)
    if not found and (name in _COUNTED or extended(name)) and quantities.parse(amount).nano % 10**9:
        found.append(faults.invalid(path, amount, "must be an integer"))
    return found


def _standard(name: str) -> bool:
    return name in _COUNTED or name in _COMPUTE or name.startswith(("hugepages-", "requests.hugepages-"))


def _scopes(names: list[str], spec: Object, path: str, shown: Any) -> list[Invalid]:
    found: list[Invalid] = []
    for name in names:
        if name not in _VALID_FOR:
            found.append(faults.invalid(path, shown, "unsupported scope"))
            continue
        wrong = [n for n in sorted(spec.get("hard") or ()) if _standard(n) and n not in _VALID_FOR[name]]
        found += [faults.invalid(path, shown, "unsupported scope applied to resource") for _ in wrong]
    for pair in (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")):
        if set(pair) <= set(names):
            found.append(faults.invalid(path, spec.get("scopes"), "conflicting scopes"))
    return found


def _selector(spec: Object) -> list[Invalid]:
    path, found = "spec.scopeSelector.matchExpressions", list[Invalid]()
    asked = get(spec, "scopeSelector.matchExpressions", [])
    for one in asked:
        name, operator, values = one.get("scopeName", ""), one.get("operator", ""), one.get("values") or []
        if (
            name in _VALID_FOR
            and name not in ("PriorityClass", "VolumeAttributesClass")
            and operator != "Exists"
        ):
            found.append(faults.invalid(f"{path}.operator", operator, _ONLY_EXISTS))
        if operator in ("In", "NotIn"):
            if not values:
                text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                found.append(faults.required(f"{path}.values", text))
        elif operator not in ("Exists", "DoesNotExist"):
            found.append(faults.invalid(f"{path}.operator", operator, "not a valid selector operator"))
        elif values:
            text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            found.append(faults.invalid(f"{path}.values", values, text))
    return _scopes([e.get("scopeName", "") for e in asked], spec, path, spec.get("scopeSelector")) + found


KIND = Kind(
    group="",
    version="v1",
    kind="ResourceQuota",
    plural="resourcequotas",
    namespaced=True,
    short_names=("quota",),
    subresources=("status",),
    columns=(
        NAME,
        Column(
            "Request",
            lambda obj, now: _used(obj, limits=False),
            description="What is requested, of how much.",
        ),
        Column(
            "Limit",
            lambda obj, now: _used(obj, limits=True),
            description="What limits add up to, of how much.",
        ),
        AGE,
    ),
    prepare=strategy.uncounted,
    validate=metadata.checked(_validate),
)
