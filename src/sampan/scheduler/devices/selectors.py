"""Device selectors: CEL expressions over `device`, with its driver, attributes and capacity.

Source: k8s.io/dynamic-resource-allocation/cel of 1.37.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sampan.machinery import quantities
from sampan.machinery.cel import CompileError, EvaluationError, Program, compile_, kubernetes, types
from sampan.machinery.objects import Object
from sampan.scheduler.devices import AllocationError, DeviceId, shown

# The most that one evaluation may cost.
LIMIT = 1_000_000
_HINT = (
    ". consider using CEL optional chaining (.? followed by orValue()) "
    "or guarding the check with has() for optional fields"
)
_TEXT = types.Type("string", most=63)
_ATTRIBUTES = types.map_of(_TEXT, types.map_of(_TEXT, types.DYN, 32), 32)
_CAPACITY = types.map_of(_TEXT, types.map_of(_TEXT, types.Type("kubernetes.Quantity"), 32), 32)
DEVICE = types.object_of(
    "kubernetes.DRADevice",
    {
        "driver": types.Field(_TEXT, "driver", True),
        "allowMultipleAllocations": types.Field(types.BOOL, "allowMultipleAllocations", True),
        "attributes": types.Field(_ATTRIBUTES, "attributes", True),
        "capacity": types.Field(_CAPACITY, "capacity", True),
    },
)


class _ByDomain(dict[str, Any]):
    """Attributes by domain; a domain without any is an empty map."""

    def __missing__(self, domain: str) -> dict[str, Any]:
        return {}

    def __contains__(self, domain: object) -> bool:
        return True


@lru_cache(256)
def _program(expression: str) -> Program | str:
    """A program, or what is wrong with the expression."""
    try:
        return compile_(expression, {"device": DEVICE})
    except CompileError as e:
        return f"compilation failed: {e}"


def match(selectors: list[Object], device: Object, name: DeviceId, whose: str) -> bool:
    """Whether a device meets all selectors; `whose` they are goes into faults. Raises AllocationError."""
    for index, selector in enumerate(selectors):
        program = _program(selector["cel"]["expression"])
        if isinstance(program, str):
            raise AllocationError(f"{whose}: selector #{index}: CEL compile error: {program}")
        try:
            found = program.evaluate({"device": _visible(device, name[0])}, LIMIT)
        except EvaluationError as e:
            hint = _HINT if "no such key:" in str(e) else ""
            raise AllocationError(
                f"{whose}: selector #{index} on device {shown(name)}: CEL runtime error: {e}{hint}"
            ) from e
        if not isinstance(found, bool):
            raise AllocationError(f"{whose}: selector #{index} on device {shown(name)}: not a bool")
        if not found:
            return False
    return True


def _visible(device: Object, driver: str) -> Object:
    """A device as expressions see it."""
    attributes, capacity = _ByDomain(), _ByDomain()
    for name, value in (device.get("attributes") or {}).items():
        domain, own = _split(name, driver)
        dict.setdefault(attributes, domain, {})[own] = _value(value)
    for name, value in (device.get("capacity") or {}).items():
        domain, own = _split(name, driver)
        amount = kubernetes.Quantity(quantities.parse(value["value"]))
        dict.setdefault(capacity, domain, {})[own] = amount
    return {
        "driver": driver,
        "allowMultipleAllocations": bool(device.get("allowMultipleAllocations")),
        "attributes": attributes,
        "capacity": capacity,
    }


def _split(name: str, driver: str) -> tuple[str, str]:
    domain, slash, own = name.partition("/")
    return (domain, own) if slash else (driver, name)


def _value(attribute: Object) -> Any:
    for kind in ("int", "bool", "string"):
        if attribute.get(kind) is not None:
            return attribute[kind]
    return kubernetes.semver(attribute.get("version") or "")
