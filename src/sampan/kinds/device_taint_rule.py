"""DeviceTaintRule (resource.k8s.io/v1): a taint for devices that an administrator chooses by driver, pool and name."""

from __future__ import annotations

import time

from sampan.kinds import device_taints, faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, at, since
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import conditions, names, times
from sampan.machinery.objects import Object, get

MOST_CONDITIONS = 8
STATUSES = ("False", "True", "Unknown")


def _default(obj: Object) -> None:
    device_taints.default(obj.setdefault("spec", {}).setdefault("taint", {}))


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    if not subresource and old is not None:
        # What tolerates a taint for a while counts from when it got its effect.
        taint, before = get(obj, "spec.taint", {}), get(old, "spec.taint", {})
        if taint.get("effect") != before.get("effect") and taint.get("timeAdded") == before.get("timeAdded"):
            taint["timeAdded"] = times.time(time.time())
    strategy.counted(obj, old, subresource)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj.get("spec") or {}
    selector = spec.get("deviceSelector") or {}
    found: list[Invalid] = []
    if (driver := selector.get("driver")) is not None:
        found += faults.each_invalid("spec.deviceSelector.driver", driver, names.dns_subdomain(driver))
    if (pool := selector.get("pool")) is not None:
        wrong = [fault for part in pool.split("/") for fault in names.dns_subdomain(part)]
        found += faults.each_invalid("spec.deviceSelector.pool", pool, wrong)
    if (device := selector.get("device")) is not None:
        found += faults.each_invalid("spec.deviceSelector.device", device, names.dns_label(device))
    before = None if old is None else get(old, "spec.taint", {})
    return found + device_taints.validate(spec.get("taint") or {}, before, "spec.taint")


def _validate_status(obj: Object, old: Object | None) -> list[Invalid]:
    listed, found = conditions.of(obj), []
    for i, condition in enumerate(listed):
        path, type_ = f"status.conditions[{i}]", condition.get("type", "")
        if any(other.get("type", "") == type_ for other in listed[:i]):
            found.append(faults.duplicate(f"{path}.type", type_))
        if not type_:
            found.append(faults.required(f"{path}.type", "must be set"))
        else:
            found += faults.each_invalid(f"{path}.type", type_, names.qualified(type_))
        if condition.get("status") not in STATUSES:
            found.append(faults.unsupported(f"{path}.status", condition.get("status", ""), STATUSES))
        if not condition.get("lastTransitionTime"):
            found.append(faults.required(f"{path}.lastTransitionTime", "must be set"))
        if not condition.get("reason"):
            found.append(faults.required(f"{path}.reason", "must be set"))
    if len(listed) > MOST_CONDITIONS:
        found.append(faults.too_many("status.conditions", len(listed), MOST_CONDITIONS))
    return found


KIND = Kind(
    group="resource.k8s.io",
    version="v1",
    kind="DeviceTaintRule",
    plural="devicetaintrules",
    namespaced=False,
    subresources=("status",),
    columns=(
        NAME,
        Column("Key", at("spec.taint.key"), description="The taint's key."),
        Column("Value", at("spec.taint.value"), description="The taint's value."),
        Column(
            "Effect", at("spec.taint.effect"), description="What it does to those that do not tolerate it."
        ),
        Column(
            "TimeAdded", since("spec.taint.timeAdded", ""), description="The time since it has this effect."
        ),
        AGE,
    ),
    default=_default,
    prepare=_prepare,
    validate=metadata.checked(_validate, namespaced=False),
    validators={"status": metadata.checked(_validate_status, namespaced=False)},
    strict=True,
)
