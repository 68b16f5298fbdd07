"""Constraints between the devices of one claim: an attribute that is the same for all of them, or different."""

from __future__ import annotations

from typing import Any, Protocol

from sampan.machinery.objects import Object
from sampan.scheduler.devices import DeviceId
from sampan.scheduler.devices.requests import Request

Value = tuple[str, Any]


class Constraint(Protocol):
    def add(self, request: Request, device: Object, name: DeviceId) -> bool:
        """Take the device in; False where it may not be."""

    def remove(self, request: Request) -> None:
        """Take the last device out again."""


def attribute(device: Object, driver: str, name: str) -> Value | None:
    """A device's attribute by its full name, as kind and value; in the driver's domain the domain may lack."""
    attributes = device.get("attributes") or {}
    found = attributes.get(name)
    if found is None:
        domain, _, rest = name.partition("/")
        found = attributes.get(rest) if rest and domain == driver else None
    if found is None:
        return None
    for kind in ("string", "int", "bool", "version"):
        if found.get(kind) is not None:
            return kind, found[kind]
    return "unknown", None


class _Constraint:
    def __init__(self, requests: list[str], name: str) -> None:
        self._requests, self._name = frozenset(requests), name

    def _concerns(self, request: Request) -> bool:
        return not self._requests or not self._requests.isdisjoint(request.names)


class Same(_Constraint):
    """All devices have one value of the attribute."""

    def __init__(self, requests: list[str], name: str) -> None:
        super().__init__(requests, name)
        self._value: Value | None = None
        self._count = 0

    def add(self, request: Request, device: Object, name: DeviceId) -> bool:
        if not self._concerns(request):
            return True
        value = attribute(device, name[0], self._name)
        if value is None:
            return False
        if self._count and (value != self._value or value[0] == "unknown"):
            return False
        if not self._count:
            self._value = value
        self._count += 1
        return True

    def remove(self, request: Request) -> None:
        if self._concerns(request):
            self._count -= 1


class Distinct(_Constraint):
    """No two devices have the same value of the attribute."""

    def __init__(self, requests: list[str], name: str) -> None:
        super().__init__(requests, name)
        self._values: list[Value] = []

    def add(self, request: Request, device: Object, name: DeviceId) -> bool:
        if not self._concerns(request):
            return True
        value = attribute(device, name[0], self._name)
        if value is None or value in self._values or (self._values and value[0] == "unknown"):
            return False
        self._values.append(value)
        return True

    def remove(self, request: Request) -> None:
        if self._concerns(request):
            self._values.pop()


def of(claim: Object) -> list[Constraint] | None:
    """A claim's constraints; None where one is of a kind that is not known."""
    found: list[Constraint] = []
    for constraint in ((claim.get("spec") or {}).get("devices") or {}).get("constraints") or ():
        requests = constraint.get("requests") or []
        if constraint.get("matchAttribute") is not None:
            found.append(Same(requests, constraint["matchAttribute"]))
        elif constraint.get("distinctAttribute") is not None:
            found.append(Distinct(requests, constraint["distinctAttribute"]))
        else:
            return None
    return found
