"""What is different between two states of an object, field by field, as people read it.

A list whose items have names is compared by name, whatever their order; a list of plain values as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sampan.machinery.objects import Object

# What changes with every write, and says nothing of what was changed.
NOISE = frozenset({"metadata.managedFields", "metadata.resourceVersion", "metadata.generation"})
# By which of these an item of a list is known.
_NAMES = ("name", "type", "containerPort", "port", "ip", "uid", "key", "mountPath", "devicePath")


def differences(before: Object, after: Object) -> list[Object]:
    """Each difference as `{"path", "before", "after"}`; what was or is not there lacks that key."""
    return [d for d in _compared("", before, after) if d["path"] not in NOISE]


def _compared(path: str, before: Any, after: Any) -> Iterator[Object]:
    if before == after or path in NOISE:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _members(path, ".", before, after)
    elif (name := _named(before, after)) is not None:
        was, is_ = ({f"{name}={item[name]}": item for item in items} for items in (before, after))
        yield from _members(path, "[", was, is_)
    elif _listed(before, after):
        was, is_ = ({str(n): item for n, item in enumerate(items)} for items in (before, after))
        yield from _members(path, "[", was, is_)
    else:
        yield {"path": path, "before": before, "after": after}


def _members(path: str, kind: str, before: Object, after: Object) -> Iterator[Object]:
    for name in dict.fromkeys([*before, *after]):
        below = _below(path, kind, name)
        if name not in after:
            yield {"path": below, "before": before[name]}
        elif name not in before:
            yield {"path": below, "after": after[name]}
        else:
            yield from _compared(below, before[name], after[name])


def _below(path: str, kind: str, name: str) -> str:
    if kind == "[" or "." in name or "/" in name:
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else name


def _named(before: Any, after: Any) -> str | None:
    """The field by which the items of both lists are known, where they have one."""
    if not (isinstance(before, list) and isinstance(after, list)):
        return None
    items = [*before, *after]
    if not items or not all(isinstance(i, dict) for i in items):
        return None
    for name in _NAMES:
        if all(isinstance(i.get(name), str | int) for i in items) and all(
            len({i[name] for i in each}) == len(each) for each in (before, after)
        ):
            return name
    return None


def _listed(before: Any, after: Any) -> bool:
    """Whether both are lists of objects, to be compared one by one."""
    return (
        isinstance(before, list)
        and isinstance(after, list)
        and all(isinstance(i, dict) for i in (*before, *after))
    )
