"""What a schema's limits cannot say: that lists are sets and maps, and that embedded resources have good metadata.

Source: k8s.io/apiextensions-apiserver pkg/apiserver/schema/listtype and objectmeta.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sampan.kinds import faults, metadata
from sampan.kinds.custom.pruning import Schema, extra
from sampan.kinds.kind import Invalid
from sampan.machinery import names


def duplicates(value: Any, schema: Schema | None, path: str = "") -> list[Invalid]:
    """Items that are there twice, of lists that are sets or maps."""
    return list(_duplicates(value, schema, path)) if schema else []


def _duplicates(value: Any, schema: Schema | None, path: str) -> Iterator[Invalid]:
    if schema is None:
        return
    if isinstance(value, dict):
        properties, more = schema.get("properties") or {}, extra(schema)
        for name, item in value.items():
            at = f"{path}.{name}" if path else name
            if name in properties:
                yield from _duplicates(item, properties[name], at)
            elif more is not None:
                yield from _duplicates(item, more, f"{path}[{name}]")
    elif isinstance(value, list):
        kind = schema.get("x-kubernetes-list-type")
        if kind in ("set", "map"):
            keys = tuple(schema.get("x-kubernetes-list-map-keys") or ()) if kind == "map" else ()
            yield from _twice(value, keys, path)
        for index, item in enumerate(value):
            yield from _duplicates(item, schema.get("items"), f"{path}[{index}]")


def _twice(items: list[Any], keys: tuple[str, ...], path: str) -> Iterator[Invalid]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        if keys and not isinstance(item, dict):
            yield faults.invalid(f"{path}[{index}]", item, "must be an object for an array of list-type map")
            return
        shown = {k: item[k] for k in keys if k in item} if keys else item
        text = repr(shown)
        if text in seen:
            yield faults.duplicate(f"{path}[{index}]", shown)
        seen.add(text)


def embedded(value: Any, schema: Schema | None, path: str = "", root: bool = True) -> list[Invalid]:
    """Faults of the apiVersion, kind and metadata of embedded resources."""
    found: list[Invalid] = []
    if schema is None:
        return found
    if isinstance(value, dict):
        if schema.get("x-kubernetes-embedded-resource") and not root:
            found += _resource(value, path)
        properties, more = schema.get("properties") or {}, extra(schema)
        for name, item in value.items():
            found += embedded(item, properties.get(name, more), f"{path}.{name}" if path else name, False)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += embedded(item, schema.get("items"), f"{path}[{index}]", False)
    return found


def _resource(value: dict[str, Any], path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for name in ("apiVersion", "kind"):
        if name not in value:
            found.append(faults.required(f"{path}.{name}"))
        elif not isinstance(value[name], str):
            found.append(faults.invalid(f"{path}.{name}", value[name], "must be a string"))
        elif not value[name]:
            found.append(faults.invalid(f"{path}.{name}", "", "must not be empty"))
    kind = value.get("kind")
    if isinstance(kind, str) and kind and (wrong := names.service_name(kind.lower())):
        said = "may have mixed case, but should otherwise match: " + ",".join(wrong)
        found.append(faults.invalid(f"{path}.kind", kind, said))
    meta = value.get("metadata")
    if isinstance(meta, dict):
        found += metadata.common(meta, f"{path}.metadata", core=False)
        if meta.get("name"):
            wrong = names.path_segment(meta["name"])
            found += faults.each_invalid(f"{path}.metadata.name", meta["name"], wrong)
    return found
