"""Capacities of devices that several claims may share, each taking a part. All amounts are in billionths.

Source: KEP-5075; k8s.io/dynamic-resource-allocation (consumable_capacity) of 1.37.
"""

from __future__ import annotations

from collections.abc import Mapping

from sampan.machinery import quantities
from sampan.machinery.objects import Object
from sampan.scheduler.devices import AllocationError

_NANO, _MILLI = 10**9, 10**6
Amounts = Mapping[str, int]


def fits(device: Object, asked: Amounts, used: Amounts, promised: Amounts) -> bool:
    """Whether a device has what is asked for beside what is used and promised. Raises AllocationError."""
    capacities = device.get("capacity") or {}
    if not asked.keys() <= capacities.keys():
        return False
    wanted = consumed(device, asked)
    if negative := [name for name, amount in wanted.items() if amount < 0]:
        raise AllocationError(f'capacity "{negative[0]}": capacity value is negative')
    for name, capacity in capacities.items():
        if _violates(wanted[name], capacity.get("requestPolicy")):
            return False
        if used.get(name, 0) + wanted[name] + promised.get(name, 0) > _amount(capacity["value"]):
            return False
    return True


def consumed(device: Object, asked: Amounts) -> dict[str, int]:
    """What is taken of each capacity: what is asked for, rounded up as the device wants it, or its default."""
    return {
        name: _consumed(asked.get(name), capacity)
        for name, capacity in (device.get("capacity") or {}).items()
    }


def _amount(text: str) -> int:
    return quantities.parse(text).nano


def _consumed(asked: int | None, capacity: Object) -> int:
    policy = capacity.get("requestPolicy") or {}
    if asked is None:
        return _amount(policy["default"] if policy.get("default") is not None else capacity["value"])
    valid = policy.get("validRange") or {}
    if valid.get("min") is not None:
        return _up_to_step(asked, valid)
    if policy.get("validValues") is not None:
        return next((v for v in map(_amount, policy["validValues"]) if asked <= v), asked)
    return asked


def _up_to_step(asked: int, valid: Object) -> int:
    least = _amount(valid["min"])
    if asked < least:
        return least
    if valid.get("step") is None:
        return asked
    unit = _unit(valid)
    step, least = _whole(_amount(valid["step"]), unit), _whole(least, unit)
    if unit == _MILLI and asked % _MILLI:
        text = "capacity request cannot be represented in the device's range arithmetic"
        raise AllocationError(f"{text}: request is not a representable milli value")
    steps = -(-(_whole(asked, unit) - least) // step)
    return (least + steps * step) * unit


def _unit(valid: Object) -> int:
    """Ranges are counted in thousandths where all their bounds are whole thousandths, else in whole units."""
    bounds = [_amount(valid[name]) for name in ("min", "max", "step") if valid.get(name) is not None]
    return _MILLI if all(bound % _MILLI == 0 for bound in bounds) else _NANO


def _whole(amount: int, unit: int) -> int:
    return -(-amount // unit)


def _violates(amount: int, policy: Object | None) -> bool:
    if not policy or (policy.get("default") is not None and amount == _amount(policy["default"])):
        return False
    if (valid := policy.get("validRange")) is not None:
        if valid.get("max") is not None and amount > _amount(valid["max"]):
            return True
        if valid.get("step") is None:
            return False
        unit = _unit(valid)
        if unit == _MILLI and amount % _MILLI:
            return True
        least, step = _whole(_amount(valid["min"]), unit), _whole(_amount(valid["step"]), unit)
        return (_whole(amount, unit) - least) % step != 0
    values = policy.get("validValues") or ()
    return bool(values) and amount not in [_amount(value) for value in values]
