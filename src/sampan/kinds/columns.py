"""The cells that the tables of several kinds share, as `kubectl get` shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sampan.kinds.kind import Column
from sampan.machinery import selectors, times
from sampan.machinery.objects import Object, get

NONE = "<none>"
UNSET = "<unset>"


def at(path: str, default: Any = "") -> Callable[[Object, float], Any]:
    """A cell that shows the value at a dotted path, or `default`."""

    def value(obj: Object, now: float) -> Any:
        return get(obj, path, default)

    return value


def count(path: str) -> Callable[[Object, float], int]:
    """A cell that shows how many items a list or a map has."""

    def value(obj: Object, now: float) -> int:
        return len(get(obj, path, ()))

    return value


def since(path: str, default: str = "<unknown>") -> Callable[[Object, float], str]:
    """A cell that shows how long ago the time at a dotted path was."""

    def value(obj: Object, now: float) -> str:
        text = get(obj, path)
        return times.age(text, now) if text else default

    return value


NAME = Column(
    "Name", at("metadata.name"), format="name", description="The object's name, unique in its namespace."
)
CREATED_AT = Column(
    "Created At", at("metadata.creationTimestamp"), type="date", description="When it was created."
)
AGE = Column("Age", since("metadata.creationTimestamp"), description="The time since the object was created.")


def container_columns(spec: str, selector: str = "") -> tuple[Column, ...]:
    """The wide columns of a workload: containers, images and, where it has one, its selector."""

    def names(obj: Object, now: float) -> str:
        return ",".join(c.get("name", "") for c in get(obj, f"{spec}.containers", ()))

    def images(obj: Object, now: float) -> str:
        return ",".join(c.get("image", "") for c in get(obj, f"{spec}.containers", ()))

    found = (
        Column("Containers", names, wide=True, description="The names of the template's containers."),
        Column("Images", images, wide=True, description="The images of the template's containers."),
    )
    if not selector:
        return found

    def selected(obj: Object, now: float) -> str:
        return selector_text(get(obj, selector))

    return (*found, Column("Selector", selected, wide=True, description="Which pods it manages."))


def selector_text(selector: Any) -> str:
    """A LabelSelector as text, `<none>` where it restricts nothing."""
    try:
        return str(selectors.of(selector)) or NONE
    except selectors.SelectorError:
        return "<error>"


def labels_text(labels: Any) -> str:
    """A map of labels as text, `<none>` where it is empty."""
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def more(items: list[str], limit: int = 3, join: str = ",") -> str:
    """The first items, and how many more there are."""
    if not items:
        return NONE if not join.isspace() else ""
    shown = join.join(items[:limit])
    return f"{shown} + {len(items) - limit} more..." if len(items) > limit else shown


def access_modes(modes: Iterable[str]) -> str:
    """Access modes as kubectl shortens them: `RWO,ROX,RWX,RWOP`."""
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    present = set(modes)
    return ",".join(text for mode, text in short.items() if mode in present)
