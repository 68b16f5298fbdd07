"""Conditions: the list of observations in an object's status, each with when its status last changed.

Source: the API conventions, "Typical status properties".
"""

from __future__ import annotations

from sampan.machinery import times
from sampan.machinery.objects import Object

Conditions = tuple[Object, ...]


def of(obj: Object) -> Conditions:
    """All conditions in the object's status."""
    return tuple((obj.get("status") or {}).get("conditions") or ())


def find(obj: Object, type: str) -> Object | None:
    """The condition of that type in the object's status."""
    return among(of(obj), type)


def among(conditions: Conditions | list[Object], type: str) -> Object | None:
    """The condition of that type."""
    return next((c for c in conditions if c["type"] == type), None)


def is_true(obj: Object, type: str) -> bool:
    """Whether the object has that condition, and its status is True."""
    found = find(obj, type)
    return found is not None and found.get("status") == "True"


def new(type: str, status: str, reason: str, message: str, now: float) -> Object:
    """A condition that changed now; `status` is True, False or Unknown."""
    return {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": times.time(now),
    }


def with_(conditions: Conditions, condition: Object) -> Conditions:
    """The conditions with one set: it keeps its place, and its transition time while its status stays.

    Where status and reason stay, nothing changes: messages alone do not make news.
    """
    current = among(conditions, condition["type"])
    if current is None:
        return (*conditions, condition)
    if current["status"] == condition["status"] and current.get("reason") == condition.get("reason"):
        return conditions
    if current["status"] == condition["status"]:
        condition = {**condition, "lastTransitionTime": current.get("lastTransitionTime")}
    return tuple(condition if c["type"] == condition["type"] else c for c in conditions)


def without(conditions: Conditions, type: str) -> Conditions:
    """The conditions less the one of that type."""
    return tuple(c for c in conditions if c["type"] != type)
