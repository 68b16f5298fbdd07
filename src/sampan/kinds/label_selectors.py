"""The checks of a LabelSelector, in whichever kind it stands."""

from __future__ import annotations

from sampan.kinds import faults
from sampan.kinds.kind import Invalid
from sampan.machinery import names
from sampan.machinery.objects import Object

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def validate(selector: Object | None, path: str, *, needed: bool = True, whose: str = "") -> list[Invalid]:
    """Faults of a LabelSelector; that of a workload, `whose` kind is given, may not be empty."""
    if selector is None:
        return [faults.required(path)] if needed else []
    found: list[Invalid] = []
    if whose and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        found.append(faults.invalid(path, selector, f"empty selector is invalid for {whose}"))
    for key, value in (selector.get("matchLabels") or {}).items():
        at = f"{path}.matchLabels"
        found += faults.each_invalid(at, key, names.qualified(key))
        found += faults.each_invalid(f"{at}[{key}]", value, names.label_value(value))
    for index, item in enumerate(selector.get("matchExpressions") or ()):
        found += requirement(item, f"{path}.matchExpressions[{index}]")
    return found


def requirement(item: Object, path: str) -> list[Invalid]:
    operator, values = item.get("operator", ""), item.get("values") or []
    found: list[Invalid] = []
    if operator in ("In", "NotIn") and not values:
        found.append(
            faults.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        )
    elif operator in ("Exists", "DoesNotExist") and values:
        text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        found.append(faults.forbidden(f"{path}.values", text))
    elif operator not in _OPERATORS:
        found.append(faults.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    return found + faults.each_invalid(
        f"{path}.key", item.get("key", ""), names.qualified(item.get("key", ""))
    )
