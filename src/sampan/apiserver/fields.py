"""What an object says, as sets of fields: all of it, or what differs from another; and merging and removing by them.

Plain functions over objects and their shape. Absent is not the same as null, which somebody may own. Source:
sigs.k8s.io/structured-merge-diff, typed: compare, tofieldset, merge, remove.
"""

from __future__ import annotations

from typing import Any

import orjson

from sampan.kinds.shapes import DEFAULT_KEYS, FREE, Form, Shape
from sampan.machinery.fieldsets import LEAF, SELF, Set, worded

_ABSENT = object()
# A member of an enumeration costs a call each time it is named.
_WHOLE, _MAP, _LIST, _SET, _FREE = Form.WHOLE, Form.MAP, Form.LIST, Form.SET, Form.FREE


class Ambiguous(ValueError):
    """Two items of a list have the same keys, or one has none; `worded` says which."""


def step_of(item: Any, shape: Shape) -> str:
    """The step to an item of a list. Raises Ambiguous where it lacks a key."""
    if shape.form is _SET:
        return "v:" + orjson.dumps(item).decode()
    keys: dict[str, Any] = {}
    for name in shape.keys:
        value = item.get(name) if isinstance(item, dict) else None
        if value is None:
            value = DEFAULT_KEYS.get(name)
        if value is None:
            raise Ambiguous(f'associative list with keys has an element that omits key field "{name}"')
        keys[name] = value
    return "k:" + orjson.dumps(keys).decode()


def _form(shape: Shape, value: Any, other: Any = None) -> Form:
    """How a place is owned, given what stands there."""
    form = shape.form
    if form is _WHOLE:
        return form
    if form is _FREE:
        return _MAP if isinstance(value, dict) or isinstance(other, dict) else _WHOLE
    kind = dict if form is _MAP else list
    if (value is None or type(value) is kind) and (other is None or type(other) is kind):
        return form
    return _WHOLE


def _below(shape: Shape, name: str) -> tuple[str, Shape]:
    return shape.below(name) if shape.form is _MAP else (f"f:{name}", FREE)


# What is stated


def stated(value: Any, shape: Shape, *, distinct: bool = False) -> Set:
    """Every field that an object states. Raises Ambiguous; with `distinct`, also for two items with the same keys."""
    return _stated(value, shape, distinct) or {}


def _stated(value: Any, shape: Shape, distinct: bool) -> Set | None:
    """The fields below a place; LEAF where it is one itself, None where there are none."""
    form = _form(shape, value)
    if value is None:
        return LEAF if form is _WHOLE else None
    if form is _WHOLE:
        return LEAF
    found: Set = {}
    if form is _MAP:
        declared = shape.fields if shape.form is _MAP else {}
        for name, item in value.items():
            step, inner = _below(shape, name)
            below = _stated(item, inner, distinct)
            if below is None:
                if item is None or item == {}:
                    found[step] = LEAF
            elif below and name not in declared:
                found[step] = {SELF: LEAF, **below}
            else:
                found[step] = below
        return found or None
    for item in value:
        step = step_of(item, shape)
        if distinct and step in found:
            raise Ambiguous(f"duplicate entries for key {worded((step,))}")
        below = _stated(item, shape.element, distinct)
        found[step] = {SELF: LEAF, **below} if below else LEAF
    return found or None


# What differs


def added(value: Any, shape: Shape) -> Set:
    """The fields below a place where nothing was before, the place itself among them."""
    form = shape.form
    if form is _WHOLE or not value or (form := _form(shape, value)) is _WHOLE:
        return LEAF
    found: Set = {SELF: LEAF}
    if form is _MAP:
        for name, item in value.items():
            step, inner = _below(shape, name)
            found[step] = LEAF if inner.form is _WHOLE else added(item, inner)
        for name in shape.always:
            if name not in value:
                found[f"f:{name}"] = LEAF
        return found
    for item in value:
        step = step_of(item, shape)
        found[step] = LEAF if step in found else added(item, shape.element)
    return found


def changes(old: Any, new: Any, shape: Shape) -> tuple[Set, Set]:
    """The fields of `new` that are added or differ, and those of `old` that are gone, below a place where both stand.

    Raises Ambiguous.
    """
    form = _form(shape, old, new)
    if form is _WHOLE:
        return LEAF, {}
    if not old and not new:
        return ({} if old == new else LEAF), {}
    found: Set = {}
    gone: Set = {}
    if form is _MAP:
        _map_changes(old or {}, new or {}, shape, found, gone)
    else:
        _list_changes(old or [], new or [], shape, found, gone)
    return found, gone


def _one(step: str, old: Any, new: Any, shape: Shape, found: Set, gone: Set) -> None:
    """Note what differs at one step."""
    if new is _ABSENT:
        gone[step] = added(old, shape)
    elif old is _ABSENT:
        found[step] = added(new, shape)
    elif old != new or type(old) is not type(new):
        whole = _form(shape, old, new) is _WHOLE or not (old or new)
        inner, left = changes(old, new, shape)
        if inner or whole:
            found[step] = inner
        if left:
            gone[step] = left


def _map_changes(old: dict[str, Any], new: dict[str, Any], shape: Shape, found: Set, gone: Set) -> None:
    always = shape.always
    for name, before in old.items():
        after = new.get(name, _ABSENT)
        if after is before:
            continue
        if after is _ABSENT and name in always:
            after = always[name]
        if before != after or type(before) is not type(after):
            step, inner = _below(shape, name)
            _one(step, before, after, inner, found, gone)
    for name, after in new.items():
        if name not in old:
            step, inner = _below(shape, name)
            _one(step, always.get(name, _ABSENT), after, inner, found, gone)


def _list_changes(old: list[Any], new: list[Any], shape: Shape, found: Set, gone: Set) -> None:
    before, after = _indexed(old, shape), _indexed(new, shape)
    for step in {**before, **after}:
        ours, theirs = before.get(step, ()), after.get(step, ())
        if len(ours) <= 1 and len(theirs) <= 1:
            one, other = (*ours, _ABSENT)[0], (*theirs, _ABSENT)[0]
            _one(step, one, other, shape.element, found, gone)
        elif len(ours) >= 2 and len(theirs) >= 2:
            if list(ours) != list(theirs):
                found[step] = LEAF
        elif len(ours) >= 2:
            gone[step] = LEAF
            if theirs:
                found[step] = added(theirs[0], shape.element)
        else:
            found[step] = LEAF
            if ours:
                gone[step] = added(ours[0], shape.element)


def _indexed(items: list[Any], shape: Shape) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(step_of(item, shape), []).append(item)
    return found


# Merging


def merge(live: Any, applied: Any, shape: Shape) -> Any:
    """What is live with what is applied, whose items are distinct, laid over it."""
    form = _form(shape, live, applied)
    if form is _WHOLE or not live:
        return applied
    if not applied:
        return live
    if form is _MAP:
        found = dict(live)
        for name, item in applied.items():
            found[name] = merge(live[name], item, _below(shape, name)[1]) if name in live else item
        return found
    return _merged_list(live, applied, shape)


def _merged_list(live: list[Any], applied: list[Any], shape: Shape) -> list[Any]:
    """Live items keep their places between those of the configuration, which come in its order."""
    ours = [(step_of(i, shape), i) for i in live]
    theirs = {step_of(i, shape): i for i in applied}
    known: dict[str, Any] = {}
    for step, item in ours:
        known[step] = None if step in known else item
    order = list(theirs)
    shared = [s for s in order if s in known]
    found: list[Any] = []
    merged: set[str] = set()
    left = right = 0
    while left < len(ours) or right < len(order):
        if left < len(ours):
            step, item = ours[left]
            if step not in theirs:
                found.append(item)
                left += 1
                continue
            # An item of both: in its turn by the configuration's order, else it is skipped here.
            if right >= len(order) or step in merged or (shared and shared[0] != step):
                left += 1
                continue
        step = order[right]
        right += 1
        merged.add(step)
        if shared and shared[0] == step:
            shared.pop(0)
        found.append(merge(known.get(step), theirs[step], shape.element))
    return found


# Removing


def remove(value: Any, gone: Set, shape: Shape) -> Any:
    """The value without these fields; null where nothing is left of a map or list."""
    form = _form(shape, value)
    if form is _WHOLE or not value:
        return value
    if form is _MAP:
        return _less_map(value, gone, shape)
    items: list[Any] = []
    for item in value:
        below = gone.get(step_of(item, shape))
        if below is None:
            items.append(item)
        elif below and SELF not in below:
            items.append(remove(item, below, shape.element) or {})
    return items or None


def _less_map(value: dict[str, Any], gone: Set, shape: Shape) -> dict[str, Any] | None:
    found = {}
    for name, item in value.items():
        step, inner = _below(shape, name)
        below = gone.get(step)
        if below is None:
            found[name] = item
        elif below and SELF not in below:
            found[name] = remove(item, below, inner)
    return found or None


def with_parents(fields: Set, shape: Shape) -> Set:
    """The set with every named field in it that something below belongs to it."""
    found: Set = {}
    for step, below in fields.items():
        if step == SELF or not below:
            found[step] = below
            continue
        kind, name = step[:2], step[2:]
        named = kind == "f:" and shape.form is _MAP and name in shape.fields
        inner = with_parents(below, _below(shape, name)[1] if kind == "f:" else shape.element)
        found[step] = {SELF: LEAF, **inner} if named else inner
    return found
