"""Conditions in status: a list keyed by type, each with the time when its status last changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sampan.machinery import times
from sampan.machinery.objects import Object, get


def find(conditions: Iterable[Object] | None, kind: str) -> Object | None:
    """The condition of this type, or None."""
    return next((c for c in conditions or () if c.get("type") == kind), None)


def of(obj: Object, kind: str) -> Object | None:
    """The condition of this type in an object's status, or None."""
    return find(get(obj, "status.conditions", ()), kind)


def is_true(obj: Object, kind: str) -> bool:
    found = of(obj, kind)
    return found is not None and found.get("status") == "True"


def with_condition(
    conditions: Sequence[Object] | None,
    kind: str,
    status: str | bool,
    *,
    reason: str = "",
    message: str = "",
    now: float,
    **more: Any,
) -> list[Object]:
    """The conditions with this one set, in its place or at the end; the given list is left alone.

    `lastTransitionTime` stays where the status does. `more` are further fields, such as observedGeneration.
    """
    status = status if isinstance(status, str) else str(status)
    new: Object = {"type": kind, "status": status, "reason": reason, "message": message, **more}
    old = find(conditions, kind)
    kept = old is not None and old.get("status") == status and old.get("lastTransitionTime")
    new["lastTransitionTime"] = kept or times.time(now)
    new = {k: v for k, v in new.items() if v not in ("", None)}
    if old is None:
        return [*(conditions or ()), new]
    return [new if c is old else c for c in conditions or ()]


def without(conditions: Iterable[Object] | None, kind: str) -> list[Object]:
    """The conditions without the one of this type."""
    return [c for c in conditions or () if c.get("type") != kind]
