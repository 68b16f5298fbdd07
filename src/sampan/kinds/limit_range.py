"""LimitRange (core/v1): defaults and bounds for what pods of a namespace request."""

from __future__ import annotations

from sampan.kinds import faults, metadata
from sampan.kinds.columns import CREATED_AT, NAME
from sampan.kinds.containers import positive
from sampan.kinds.kind import Invalid, Kind
from sampan.machinery.objects import Object, get

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
        if not kind:
            found.append(faults.required(f"{path}.type"))
        if kind in seen:
            found.append(faults.duplicate(f"{path}.type", kind))
        seen.add(kind)
        for field in _FIELDS:
            for name, amount in (item.get(field) or {}).items():
                found += positive(amount, f"{path}.{field}[{name}]")
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
