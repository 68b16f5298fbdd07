"""The three ways of patching an object: JSON patch (RFC 6902), merge patch (RFC 7386), and strategic merge patch.

Each returns the patched value and leaves what it was given alone; results share what did not change.
Server-side apply is not a patch of this kind. Source of the third: the community's document on strategic
merge patch, with its directives `$patch`, `$retainKeys`, `$deleteFromPrimitiveList` and `$setElementOrder`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import orjson

JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC_PATCH, APPLY_PATCH = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


# What all copies of one JSON patch may add, in bytes: each may double what the one before made.
MOST_COPIED = 3 << 20


class PatchError(ValueError):
    """The patch is malformed, or does not fit the object; the text says why."""


# JSON patch


def json_patch(value: Any, operations: Any) -> Any:
    """Apply RFC 6902 operations in order. Raises PatchError; then none counts."""
    if not isinstance(operations, list):
        raise PatchError("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    copied = 0
    for operation in operations:
        before, value = value, _operate(value, operation)
        if operation["op"] == "copy":
            copied += len(orjson.dumps(_lookup(before, _pointer(operation["from"]))))
            if copied > MOST_COPIED:
                text = "Unable to complete the copy, the accumulated size increase of copy is "
                raise PatchError(f"{text}{copied}, exceeding the limit {MOST_COPIED}")
    return value


def _operate(value: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or "path" not in operation:
        raise PatchError("a JSON patch operation must be an object with `op` and `path`")
    kind, text = operation.get("op"), operation["path"]
    path = _pointer(text)
    if kind in ("add", "replace", "test") and "value" not in operation:
        raise PatchError(f"{kind} operation at {text} has no value")
    match kind:
        case "add":
            return _put(value, path, operation["value"], add=True)
        case "replace":
            return _put(value, path, operation["value"], add=False)
        case "remove":
            return _remove(value, path)
        case "test":
            if not _same(_lookup(value, path, missing=None), operation["value"]):
                raise PatchError(f"testing value {text} failed: test failed")
            return value
        case "move" | "copy":
            source = _pointer(operation.get("from", ""))
            moved = _lookup(value, source)
            return _put(_remove(value, source) if kind == "move" else value, path, moved, add=True)
    raise PatchError(f"Unexpected kind: {kind}")


def _pointer(text: Any) -> list[str]:
    """The steps of an RFC 6901 pointer."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError(f"{text!r} is not a JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


_MISSING = object()


def _lookup(value: Any, path: Sequence[str], missing: Any = _MISSING) -> Any:
    for step in path:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list):
            value = value[_index(value, step)]
        elif missing is not _MISSING:
            return missing
        else:
            raise PatchError(f'Unable to find "/{"/".join(path)}": missing value')
    return value


def _index(items: list[Any], step: str, *, end: bool = False) -> int:
    """The index that a step stands for; the one past the last only where `end` allows it."""
    if end and step == "-":
        return len(items)
    if not step.isdecimal() or (len(step) > 1 and step[0] == "0") or int(step) >= len(items) + end:
        raise PatchError(f"Unable to access invalid index: {step}: invalid index referenced")
    return int(step)


def _put(value: Any, path: Sequence[str], new: Any, *, add: bool) -> Any:
    if not path:
        return new
    step, rest = path[0], path[1:]
    if isinstance(value, dict):
        if step not in value and (rest or not add):
            word = "add" if add else "replace"
            raise PatchError(
                f'{word} operation does not apply: doc is missing path: "{"/".join(path)}": missing value'
            )
        return {**value, step: _put(value.get(step), rest, new, add=add)}
    if isinstance(value, list):
        at = _index(value, step, end=add and not rest)
        if add and not rest:
            return [*value[:at], new, *value[at:]]
        return [*value[:at], _put(value[at], rest, new, add=add), *value[at + 1 :]]
    raise PatchError(f"operation does not apply: {step} is in no object or array")


def _remove(value: Any, path: Sequence[str]) -> Any:
    if not path:
        return None
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        at = _index(value, step)
        return [*value[:at], *([_remove(value[at], rest)] if rest else []), *value[at + 1 :]]
    if not isinstance(value, dict) or step not in value:
        raise PatchError(
            f"remove operation does not apply: Unable to remove nonexistent key: {step}: missing value"
        )
    if rest:
        return {**value, step: _remove(value[step], rest)}
    return {k: v for k, v in value.items() if k != step}


def _same(a: Any, b: Any) -> bool:
    """Equality as JSON has it, where true is not 1."""
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


# Merge patch


def merge_patch(value: Any, patch: Any) -> Any:
    """Apply an RFC 7386 patch: null removes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    found = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if item is None:
            found.pop(name, None)
        else:
            found[name] = merge_patch(found.get(name), item)
    return found


def difference(old: Any, new: Any) -> Any:
    """The merge patch that turns `old` into `new`, where neither holds a null; {} where they are the same."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    found: dict[str, Any] = {name: None for name in old if name not in new}
    for name, item in new.items():
        if name not in old:
            found[name] = item
        elif not _same(old[name], item):
            found[name] = difference(old[name], item)
    return found


# Strategic merge patch


class Node(Protocol):
    """A place in a kind's schema; `kinds.schemas.Node` is it."""

    @property
    def merge_key(self) -> str: ...
    @property
    def strategies(self) -> tuple[str, ...]: ...
    def child(self, name: str) -> Node: ...


_NOTHING = object()
_DIRECTIVE, _RETAIN = "$patch", "$retainKeys"
_DELETE, _ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"


def strategic(value: dict[str, Any], patch: dict[str, Any], node: Node) -> dict[str, Any]:
    """Apply a strategic merge patch by what the schema says of merge keys and strategies. Raises PatchError."""
    if not isinstance(patch, dict):
        raise PatchError("a strategic merge patch must be an object")
    return _merge_map(value, patch, node)


def _merge_map(value: dict[str, Any], patch: dict[str, Any], node: Node) -> dict[str, Any]:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return dict(_plain({k: v for k, v in patch.items() if k != _DIRECTIVE}))
    if directive == "delete":
        return {}
    if directive is not None:
        raise PatchError(f"Unknown patch type found: {directive} in map")
    found = _retained(value, patch)
    for name in _lists_named(patch):
        found[name] = _changed_list(found.get(name), patch, name, node.child(name))
    for name, item in patch.items():
        if name.startswith("$") or name in _lists_named(patch):
            continue
        if item is None:
            found.pop(name, None)
        elif name not in found or found[name] is None or type(found[name]) is not type(item):
            found[name] = _clean(item)
            if found[name] is _NOTHING:
                del found[name]
        else:
            found[name] = _merge_value(found[name], item, node.child(name))
    return found


def _retained(value: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The map without the fields that `$retainKeys` does not list."""
    retain = patch.get(_RETAIN)
    if retain is None:
        return dict(value)
    missing = [k for k in patch if not k.startswith("$") and patch[k] is not None and k not in retain]
    if missing:
        raise PatchError(
            "NotInRetainKeys: the retainKeys patch list must contain all fields present in the patch"
        )
    return {k: v for k, v in value.items() if k in retain}


def _lists_named(patch: dict[str, Any]) -> list[str]:
    """The lists that a directive beside them changes."""
    found = [k.partition("/")[2] for k in patch if k.startswith((_DELETE, _ORDER))]
    return list(dict.fromkeys(found))


def _changed_list(value: Any, patch: dict[str, Any], name: str, node: Node) -> list[Any]:
    """A list after deletions, merging and ordering that its parent's directives ask for."""
    original: list[Any] = value if isinstance(value, list) else []
    deleted, order, items = patch.get(_DELETE + name), patch.get(_ORDER + name), patch.get(name) or []
    kept = [v for v in original if not (deleted and v in deleted)]
    if not isinstance(items, list):
        raise PatchError(f"cannot order {name}: it is not a list in the patch")
    if "merge" in node.strategies and original:
        merged = _merge_list(kept, items, node, original)
    else:
        merged = _clean(items) or kept
    return _ordered(merged, order, original, node.merge_key) if order else merged


def _merge_value(value: Any, patch: Any, node: Node) -> Any:
    if isinstance(value, dict) and isinstance(patch, dict):
        return _plain(patch) if "replace" in node.strategies else _merge_map(value, patch, node)
    if isinstance(value, list) and isinstance(patch, list):
        return _merge_list(value, patch, node, value) if "merge" in node.strategies else _plain(patch)
    return patch


def _merge_list(value: list[Any], patch: list[Any], node: Node, original: list[Any]) -> list[Any]:
    if not any(isinstance(v, dict) for v in (*value, *patch)):
        merged = [*value, *(v for v in dict.fromkeys(patch) if v not in value)]
        return _ordered(merged, patch, original, "")
    key = node.merge_key
    if not key:
        raise PatchError("cannot merge a list of objects without a merge key")
    if not all(isinstance(v, dict) for v in (*value, *patch)):
        raise PatchError("a list of objects cannot be merged with other values")
    for item in patch:
        if item.get(_DIRECTIVE) not in (None, "delete", "replace"):
            raise PatchError(f"Unknown patch type found: {item[_DIRECTIVE]} in a list")
    if any(v.get(_DIRECTIVE) == "replace" for v in patch):
        return [_plain(v) for v in patch if _DIRECTIVE not in v]
    gone = [_key_of(v, key) for v in patch if v.get(_DIRECTIVE) == "delete"]
    found = [v for v in value if v.get(key) not in gone]
    added = [v for v in patch if v.get(_DIRECTIVE) != "delete"]
    for item in added:
        wanted = _key_of(item, key)
        at = next((i for i, v in enumerate(found) if _same(v.get(key), wanted)), None)
        if at is None:
            found.append(_plain(item))
        else:
            found[at] = _merge_map(found[at], item, node)
    return _ordered(found, added, original, key)


def _key_of(item: dict[str, Any], key: str) -> Any:
    if key not in item:
        raise PatchError(f"map: {item} does not contain declared merge key: {key}")
    return item[key]


def _ordered(merged: list[Any], order: Iterable[Any], original: list[Any], key: str) -> list[Any]:
    """The merged list with the items of the patch in the patch's order.

    The others keep their places: one comes before an item of the patch only where it stood before it originally, so
    that a new item comes first.
    """

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    ranks = {identity(v): i for i, v in reversed(list(enumerate(order)))}
    places = {identity(v): i for i, v in reversed(list(enumerate(original)))}
    left = sorted((v for v in merged if identity(v) in ranks), key=lambda v: ranks[identity(v)])
    right = [v for v in merged if identity(v) not in ranks]
    found: list[Any] = []
    while left and right:
        first, second = places.get(identity(left[0])), places.get(identity(right[0]))
        after = first is not None and second is not None and second < first
        found.append(right.pop(0) if after else left.pop(0))
    return [*found, *left, *right]


def _clean(patch: Any) -> Any:
    """What a patch puts where nothing was: its values, without nulls, and without all that has a directive."""
    if isinstance(patch, dict):
        kept = {k: _clean(v) for k, v in patch.items() if v is not None and not k.startswith("$")}
        return {k: v for k, v in kept.items() if v is not _NOTHING} if _DIRECTIVE not in patch else _NOTHING
    if isinstance(patch, list):
        return [v for v in map(_clean, patch) if v is not _NOTHING]
    return patch


def _plain(patch: Any) -> Any:
    """A value that takes the place of another, or is added to a list: without nulls and directives within it."""
    found = _clean(patch)
    return {} if found is _NOTHING else found
