"""Devices of ResourceSlices as CEL selectors see them, and how the names of requests are written.

A selector's only variable is `device`: `device.driver`, `device.attributes["domain"].name`,
`device.capacity["domain"].name`.
A name without a domain belongs to the driver's own.

Source: KEP-4381; k8s.io/dynamic-resource-allocation/cel (compile.go).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.machinery.cel import Program

# What an evaluation may cost (CELSelectorExpressionMaxCost).
LIMIT = 1_000_000


class Domains(dict[str, dict[str, Any]]):
    """Names by domain; a domain that nobody uses is empty rather than an error."""

    def __missing__(self, key: str) -> dict[str, Any]:
        return {}

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str)


@lru_cache(maxsize=1)
def _variables() -> dict[str, Any]:
    from sampan.machinery.cel import types

    attributes = types.map_of(types.STRING, types.map_of(types.STRING, types.DYN))
    amounts = types.map_of(types.STRING, types.map_of(types.STRING, types.Type("kubernetes.Quantity")))
    fields = {
        "driver": types.Field(types.STRING, "driver", required=True),
        "allowMultipleAllocations": types.Field(types.BOOL, "allowMultipleAllocations", required=True),
        "attributes": types.Field(attributes, "attributes", required=True),
        "capacity": types.Field(amounts, "capacity", required=True),
    }
    return {"device": types.object_of("kubernetes.DRADevice", fields)}


@lru_cache(maxsize=1024)
def selector(expression: str) -> Program:
    """A selector's program. Raises sampan.machinery.cel.CompileError."""
    from sampan.machinery.cel import compile_

    return compile_(expression, _variables())


def fault(expression: str) -> str:
    """What is wrong with a selector, empty where it is fine."""
    from sampan.machinery.cel import CompileError

    try:
        program = selector(expression)
    except CompileError as e:
        return f"compilation failed: {e}"
    if str(program.type) != "bool":
        return "must evaluate to bool or the unknown type, not " + str(program.type)
    return ""


def matches(expression: str, device: Object, driver: str) -> bool:
    """Whether a device is selected. Raises sampan.machinery.cel.EvaluationError and CompileError."""
    return bool(selector(expression).evaluate({"device": seen(device, driver)}, LIMIT))


def seen(device: Object, driver: str) -> Object:
    """A device as expressions see it."""
    from sampan.machinery.cel import kubernetes

    attributes, amounts = Domains(), Domains()
    for name, value in (device.get("attributes") or {}).items():
        domain, own = split(name, driver)
        attributes.setdefault(domain, {})[own] = attribute(value)
    for name, capacity in (device.get("capacity") or {}).items():
        domain, own = split(name, driver)
        amounts.setdefault(domain, {})[own] = kubernetes.quantity(capacity["value"])
    return {
        "driver": driver,
        "allowMultipleAllocations": bool(device.get("allowMultipleAllocations")),
        "attributes": attributes,
        "capacity": amounts,
    }


def attribute(value: Object) -> Any:
    """An attribute's value; versions are compared as such."""
    from sampan.machinery.cel import kubernetes

    if "version" in value:
        return kubernetes.semver(value["version"])
    return next((value[kind] for kind in ("int", "bool", "string") if kind in value), None)


def split(name: str, driver: str) -> tuple[str, str]:
    """A qualified name as domain and own name."""
    domain, slash, own = name.partition("/")
    return (domain, own) if slash else (driver, name)


def find(device: Object, driver: str, name: str) -> Object | None:
    """An attribute of a device by its fully qualified name."""
    attributes = device.get("attributes") or {}
    found: Object | None = attributes.get(name)
    domain, own = split(name, driver)
    return attributes.get(own) if found is None and domain == driver else found
