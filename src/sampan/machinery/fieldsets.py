"""Sets of fields, in the form in which `metadata.managedFields` stores them: FieldsV1.

A set is a tree of plain dictionaries. A step is `f:NAME` into a map, `k:KEYS` to the item of a list with such keys,
`v:VALUE` to the item of a set; keys and values are JSON texts. What a step leads to belongs to the set where it is an
empty dictionary, or holds `.` beside what is below it. Sets are values: nothing here changes what it is given, and
results share what did not change.

Source: sigs.k8s.io/structured-merge-diff, fieldpath; the API concepts' page "Server-Side Apply".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Set = dict[str, Any]
Path = tuple[str, ...]

# A field and nothing below it; shared, so never to be changed.
LEAF: Set = {}
SELF = "."
_KINDS = ("f:", "k:", "v:", "i:")


class Malformed(ValueError):
    """What should be FieldsV1 is not."""


def checked(value: Any) -> Set:
    """A set that somebody else wrote. Raises Malformed."""
    if not isinstance(value, dict):
        raise Malformed("a set of fields is an object")
    for step, below in value.items():
        if step != SELF and not step.startswith(_KINDS):
            raise Malformed(f"missing colon or unknown kind of step: {step!r}")
        checked(below)
    return value


def union(one: Set, other: Set) -> Set:
    if not one:
        return other
    if not other:
        return one
    found = dict(one)
    for step, theirs in other.items():
        ours = found.get(step)
        found[step] = theirs if ours is None else _joined(ours, theirs)
    return found


def _joined(one: Set, other: Set) -> Set:
    """The union below a step, where an empty one counts too."""
    if not one or not other:
        more = one or other
        return {SELF: LEAF, **more} if more and SELF not in more else more
    return union(one, other)


def difference(one: Set, other: Set) -> Set:
    """What is in one and not in the other; a field goes by itself, what is below it stays."""
    if not one or not other:
        return one
    found: Set = {}
    for step, ours in one.items():
        theirs = other.get(step)
        if theirs is None:
            found[step] = ours
        elif step != SELF and (left := _less(ours, theirs)) is not None:
            found[step] = left
    return found


def _less(ours: Set, theirs: Set) -> Set | None:
    """What is left below a step, None where nothing is."""
    if not ours:
        return None if not theirs or SELF in theirs else ours
    if not theirs:
        theirs = {SELF: LEAF}
    found = difference(ours, theirs)
    if not found:
        return None
    return LEAF if len(found) == 1 and SELF in found else found


def intersection(one: Set, other: Set) -> Set:
    found: Set = {}
    for step, ours in one.items():
        theirs = other.get(step)
        if theirs is None:
            continue
        if step == SELF or (not ours and (not theirs or SELF in theirs)) or (not theirs and SELF in ours):
            found[step] = LEAF
        elif ours and theirs and (common := intersection(ours, theirs)):
            found[step] = LEAF if len(common) == 1 and SELF in common else common
    return found


def without(one: Set, other: Set) -> Set:
    """One set without the fields of the other and all that is below them."""
    if not one or not other:
        return one
    found: Set = {}
    for step, ours in one.items():
        theirs = other.get(step)
        if theirs is None or (not ours and theirs and SELF not in theirs):
            found[step] = ours
        elif theirs and SELF not in theirs and (left := without(ours, theirs)):
            found[step] = LEAF if len(left) == 1 and SELF in left else left
    return found


def has(fields: Set, path: Path) -> bool:
    for step in path:
        found = fields.get(step)
        if found is None:
            return False
        fields = found
    return not fields or SELF in fields


def paths(fields: Set, at: Path = ()) -> Iterator[Path]:
    """Every field, what is above before what is below."""
    for step, below in fields.items():
        if step == SELF:
            continue
        path = (*at, step)
        if not below or SELF in below:
            yield path
        yield from paths(below, path)


def worded(path: Path) -> str:
    """A path as messages show it: `.spec.containers[name="web"].image`."""
    import json

    found = ""
    for step in path:
        kind, text = step[:2], step[2:]
        if kind == "f:":
            found += f".{text}"
        elif kind == "k:":
            keys = json.loads(text)
            found += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in keys.items()) + "]"
        else:
            found += f"[{'=' if kind == 'v:' else ''}{text}]"
    return found
