"""LimitRange (core/v1): defaults and bounds for what pods of a namespace request."""

from __future__ import annotations

from typing import Any

from sampan.kinds import containers, faults, metadata
from sampan.kinds.columns import CREATED_AT, NAME
from sampan.kinds.kind import Invalid, Kind
from sampan.machinery import amounts, names
from sampan.machinery.objects import Object, get

_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_FIELDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def _default(obj: Object) -> None:
    for item in get(obj, "spec.limits", ()):
        if item.get("type") == "Container":
            item["default"] = {**(item.get("max") or {}), **(item.get("default") or {})}
            known = {**(item.get("min") or {}), **item["default"], **(item.get("defaultRequest") or {})}
            item["defaultRequest"] = known


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    found: list[Invalid] = []
    seen: set[str] = set()
    for index, item in enumerate(get(obj, "spec.limits", ())):
        path, kind = f"spec.limits[{index}]", item.get("type") or ""
        wrong = faults.each_invalid(f"{path}.type", kind, names.qualified(kind))
        if not wrong and "/" not in kind and kind not in _TYPES:
            text = "must be a standard limit type or fully qualified"
            wrong = [faults.invalid(f"{path}.type", kind, text)]
        found += wrong
        if kind in seen:
            found.append(faults.duplicate(f"{path}.type", kind))
        seen.add(kind)
        bad = _amounts(item, kind, path)
        found += bad or _relations(item, path)
    return found


def _amounts(item: Object, kind: str, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for field in _FIELDS:
        if kind == "Pod" and field in ("default", "defaultRequest"):
            if item.get(field):
                found.append(faults.forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
            continue
        for name, amount in (item.get(field) or {}).items():
            check = containers.resource if kind in ("Pod", "Container") else _named
            found += check(name, amount, f"{path}.{field}")
    if kind == "PersistentVolumeClaim" and not any("storage" in (item.get(f) or ()) for f in ("min", "max")):
        text = "either minimum or maximum storage value is required, but neither was provided"
        found.append(faults.required(f"{path}.limits", text))
    return found


def _named(name: str, amount: Any, path: str) -> list[Invalid]:
    at = f"{path}[{name}]"
    return faults.each_invalid(at, name, names.qualified(name)) + containers.positive(amount, at)


# The smaller field, what it is called, the larger field, what that is called, and the field that is at fault.
_ORDER = (
    ("min", "min", "max", "max", "min"),
    ("min", "min", "defaultRequest", "default request", "defaultRequest"),
    ("defaultRequest", "default request", "max", "max", "defaultRequest"),
    ("defaultRequest", "default request", "default", "default limit", "defaultRequest"),
    ("min", "min", "default", "default", "default"),
    ("default", "default", "max", "max", "default"),
)


def _relations(item: Object, path: str) -> list[Invalid]:
    """Faults between amounts of one resource."""
    found: list[Invalid] = []
    by_field = {field: amounts.parse(item.get(field)) for field in _FIELDS}
    for low, called, high, other, at in _ORDER:
        for name in sorted(by_field[low].keys() & by_field[high].keys()):
            less, more = by_field[low][name], by_field[high][name]
            if less > more:
                text = f"{called} value {less} is greater than {other} value {more}"
                shown = by_field[at][name]
                found.append(faults.invalid(f"{path}.{at}[{name}]", str(shown), text))
    for name, ratio in by_field["maxLimitRequestRatio"].items():
        at = f"{path}.maxLimitRequestRatio[{name}]"
        least, most = by_field["min"].get(name), by_field["max"].get(name)
        if ratio.number < 1:
            found.append(faults.invalid(at, str(ratio), f"ratio {ratio} is less than 1"))
        if least and most and ratio.number > most.number / least.number:
            text = f"ratio {ratio} is greater than max/min = {most.number / least.number:f}"
            found.append(faults.invalid(at, str(ratio), text))
    return found + _not_overcommitted(by_field, path)


def _not_overcommitted(by_field: dict[str, amounts.Amounts], path: str) -> list[Invalid]:
    """What cannot be lent twice, such as huge pages, has one number."""
    found: list[Invalid] = []
    limits, requests = by_field["default"], by_field["defaultRequest"]
    for name in sorted(limits.keys() & requests.keys()):
        whole = name.startswith("hugepages-") or containers.extended(name)
        if whole and limits[name] != requests[name]:
            text = (
                f"default value {limits[name]} must equal to defaultRequest value {requests[name]} in {name}"
            )
            found.append(faults.invalid(f"{path}.defaultRequest[{name}]", str(requests[name]), text))
    return found


KIND = Kind(
    group="",
    version="v1",
    kind="LimitRange",
    plural="limitranges",
    namespaced=True,
    short_names=("limits",),
    columns=(NAME, CREATED_AT),
    default=_default,
    validate=metadata.checked(_validate),
)
