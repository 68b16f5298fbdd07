"""Field sets: which fields of an object somebody owns; and merging and pruning by them. Plain functions.

A field is a path of steps: `("f", name)` into a map, `("k", keys)` to the item of a list with such keys,
`("v", value)` to the item of a set. Keys and values are JSON texts, so that a path can be hashed.
Source: KEP-555 (server-side apply); the API concepts' page "Server-Side Apply"; sigs.k8s.io/structured-merge-diff.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from sampan.kinds.schemas import Node
from sampan.machinery.objects import Object

Step = tuple[str, str]
Path = tuple[Step, ...]
# Keys of list items that may be left out, and what they then are.
_DEFAULT_KEYS = {"protocol": "TCP"}
# What nobody owns: it names the object, or is the server's.
_UNOWNED = frozenset({
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "managedFields",
    "deletionTimestamp", "deletionGracePeriodSeconds", "generateName",
})  # fmt: skip


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _keys(item: Any, node: Node) -> Step:
    found = {k: item.get(k, _DEFAULT_KEYS.get(k)) for k in node.map_keys}
    return ("k", _text({k: v for k, v in found.items() if v is not None}))


def _is_map(value: Any, node: Node) -> bool:
    return isinstance(value, dict) and not node.atomic


def _listed(value: Any, node: Node) -> str:
    """`map` or `set` for a list whose items are owned one by one; else empty."""
    if not isinstance(value, list):
        return ""
    if node.list_type == "map" and node.map_keys and all(isinstance(i, dict) for i in value):
        return "map"
    return "set" if node.list_type == "set" else ""


def of(obj: Object, node: Node) -> frozenset[Path]:
    """Every field that an object states, but for those that nobody owns."""
    found: set[Path] = set()
    for name, value in obj.items():
        if name in ("apiVersion", "kind"):
            continue
        if name == "metadata":
            value = {k: v for k, v in value.items() if k not in _UNOWNED}
            if not value:
                continue
        found.update(_walk(value, node.child(name), (("f", name),)))
    return frozenset(found)


def _walk(value: Any, node: Node, at: Path) -> Iterator[Path]:
    if _is_map(value, node) and value:
        for name, item in value.items():
            yield from _walk(item, node.child(name), (*at, ("f", name)))
        return
    match _listed(value, node) if value else "":
        case "map":
            for item in value:
                step = (*at, _keys(item, node))
                yield step
                for name, inner in item.items():
                    yield from _walk(inner, node.child(name), (*step, ("f", name)))
        case "set":
            for item in value:
                yield (*at, ("v", _text(item)))
        case _:
            yield at


def values(obj: Any, node: Node, at: Path = ()) -> dict[Path, str]:
    """Each field with its value as text; items of lists are there, with no value of their own."""
    found: dict[Path, str] = {}
    for path in _walk(obj, node, at) if at else of(obj, node):
        found[path] = _value_at(obj, node, path)
    return found


def _value_at(obj: Any, node: Node, path: Path) -> str:
    for kind, step in path:
        if kind == "v":
            return step
        if kind == "f":
            obj, node = obj[step], node.child(step)
        else:
            obj = next(i for i in obj if _keys(i, node)[1] == step)
    return "" if path[-1][0] == "k" else _text(obj)


def changed(old: Object, new: Object, node: Node) -> tuple[frozenset[Path], frozenset[Path]]:
    """The fields that are new or differ, and those that are gone."""
    before, after = values(old, node), values(new, node)
    differ = frozenset(p for p, v in after.items() if before.get(p) != v)
    return differ, frozenset(before) - frozenset(after)


# Merging


def merge(live: Any, applied: Any, node: Node) -> Any:
    """What is live with what is applied laid over it; items of lists keep their places, new ones come last."""
    if _is_map(live, node) and _is_map(applied, node):
        found = dict(live)
        for name, item in applied.items():
            found[name] = merge(live[name], item, node.child(name)) if name in live else item
        return found
    kind = _listed(applied, node)
    if not kind or not isinstance(live, list):
        return applied
    if kind == "set":
        return [*live, *(i for i in applied if i not in live)]
    wanted = {_keys(i, node): i for i in applied}
    found_list = [_merged_item(i, wanted.pop(_keys(i, node), None), node) for i in live]
    return [*found_list, *wanted.values()]


def _merged_item(live: Any, applied: Any, node: Node) -> Any:
    if applied is None:
        return live
    return {**live, **{k: merge(live[k], v, node.child(k)) if k in live else v for k, v in applied.items()}}


def prune(obj: Any, node: Node, gone: Iterable[Path]) -> Any:
    """The object without these fields, and without the maps and lists that this leaves empty."""
    below: dict[Step, list[Path]] = {}
    for path in gone:
        below.setdefault(path[0], []).append(path[1:])
    if isinstance(obj, dict):
        found = {}
        for name, item in obj.items():
            paths = below.get(("f", name))
            kept = item if paths is None else _pruned(item, node.child(name), paths)
            if kept is not None:
                found[name] = kept
        return found
    kept_items = []
    for item in obj:
        step = _keys(item, node) if isinstance(item, dict) else ("v", _text(item))
        paths = below.get(step)
        kept = item if paths is None else _pruned(item, node, paths, keep_empty=True)
        if kept is not None:
            kept_items.append(kept)
    return kept_items


def _pruned(item: Any, node: Node, paths: list[Path], keep_empty: bool = False) -> Any:
    if () in paths:
        return None
    return prune(item, node, paths) or ({} if keep_empty else None)


# The form in which sets are stored: FieldsV1


def encode(paths: Iterable[Path]) -> Object:
    found: Object = {}
    for path in sorted(paths):
        at = found
        for kind, step in path:
            at = at.setdefault(f"{kind}:{step}", {})
        if path[-1][0] == "k":
            at["."] = {}
    return found


def decode(fields: Object) -> frozenset[Path]:
    return frozenset(_decoded(fields, ()))


def _decoded(fields: Object, at: Path) -> Iterator[Path]:
    for name, inner in fields.items():
        if name == ".":
            continue
        kind, _, step = name.partition(":")
        path = (*at, (kind, _text(orjson.loads(step)) if kind in "kv" else step))
        if not inner or "." in inner:
            yield path
        yield from _decoded(inner, path)


def worded(path: Path) -> str:
    """A path as messages show it: `.spec.containers[name="web"].image`."""
    found = ""
    for kind, step in path:
        if kind == "f":
            found += f".{step}"
        elif kind == "v":
            found += f"[{step}]"
        else:
            found += "[" + ",".join(f"{k}={_text(v)}" for k, v in orjson.loads(step).items()) + "]"
    return found
