"""What a claim asks for, read: each request, and its alternatives where it has them."""

from __future__ import annotations

from dataclasses import dataclass

from sampan.machinery import quantities
from sampan.machinery.objects import Object

# The most devices that one claim may get.
MOST_DEVICES = 32
ALL = "All"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, or one alternative of the request `parent`."""

    name: str
    spec: Object
    parent: str = ""

    @property
    def full_name(self) -> str:
        """How results and configurations name it."""
        return f"{self.parent}/{self.name}" if self.parent else self.name

    @property
    def names(self) -> tuple[str, str]:
        """The request's name and that of the alternative, as constraints may name either."""
        return (self.parent, self.full_name) if self.parent else (self.name, self.name)

    @property
    def device_class(self) -> str:
        return self.spec.get("deviceClassName") or ""

    @property
    def mode(self) -> str:
        return self.spec.get("allocationMode") or ""

    @property
    def count(self) -> int:
        return self.spec.get("count") or 0

    @property
    def admin(self) -> bool:
        """Whether the pod watches over devices that others use; alternatives cannot."""
        return bool(self.spec.get("adminAccess")) and not self.parent

    @property
    def selectors(self) -> list[Object]:
        return self.spec.get("selectors") or []

    @property
    def tolerations(self) -> list[Object]:
        return self.spec.get("tolerations") or []

    @property
    def capacity(self) -> dict[str, int]:
        """How much of each capacity is asked for, in billionths."""
        asked = (self.spec.get("capacity") or {}).get("requests") or {}
        return {name: quantities.parse(amount).nano for name, amount in asked.items()}


def of(claim: Object) -> list[Object]:
    """A claim's requests as they are written."""
    found: list[Object] = ((claim.get("spec") or {}).get("devices") or {}).get("requests") or []
    return found


def alternatives(request: Object) -> tuple[Request, ...]:
    """The request itself, or each of its alternatives, the best first."""
    if first := request.get("firstAvailable"):
        return tuple(Request(one["name"], one, request["name"]) for one in first)
    return (Request(request["name"], request.get("exactly") or {}),)
