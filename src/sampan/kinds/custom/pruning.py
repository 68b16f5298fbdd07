"""Dropping what a structural schema does not know, and filling in its defaults.

Source: k8s.io/apiextensions-apiserver pkg/apiserver/schema/pruning and defaulting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

Schema = Mapping[str, Any]
_META = frozenset({"apiVersion", "kind", "metadata"})


def prune(obj: dict[str, Any], schema: Schema) -> list[str]:
    """Drop unknown fields of a resource, in place; the paths of those that were dropped, sorted."""
    unknown: list[str] = []
    prune_value(obj, {**schema, "x-kubernetes-embedded-resource": True}, "", unknown)
    return sorted(unknown)


def extra(schema: Schema | None) -> Schema | None:
    """The schema of a map's values, where there is one."""
    found = schema.get("additionalProperties") if schema else None
    return found if isinstance(found, Mapping) else None


def prune_value(value: Any, schema: Schema | None, path: str, unknown: list[str]) -> None:
    if schema is not None and schema.get("x-kubernetes-preserve-unknown-fields"):
        _descend(value, schema, path, unknown)
        return
    if isinstance(value, dict):
        _prune_map(value, schema, path, unknown)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            prune_value(item, schema.get("items") if schema else None, f"{path}[{index}]", unknown)


def _prune_map(value: dict[str, Any], schema: Schema | None, path: str, unknown: list[str]) -> None:
    properties = (schema.get("properties") or {}) if schema else {}
    embedded = bool(schema and schema.get("x-kubernetes-embedded-resource"))
    more = schema.get("additionalProperties") if schema else None
    for name in list(value):
        at = f"{path}.{name}" if path else name
        if embedded and name in _META:
            continue
        if name in properties:
            prune_value(value[name], properties[name], at, unknown)
        elif more:
            prune_value(value[name], extra(schema), at, unknown)
        else:
            if name not in _META or path:
                unknown.append(at)
            del value[name]


def _descend(value: Any, schema: Schema, path: str, unknown: list[str]) -> None:
    """Look for what is to be pruned below a place that keeps what it does not know."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            if inner := schema.get("items"):
                _descend(item, inner, f"{path}[{index}]", unknown)
    elif isinstance(value, dict):
        properties, embedded = schema.get("properties") or {}, schema.get("x-kubernetes-embedded-resource")
        for name, item in value.items():
            at = f"{path}.{name}" if path else name
            if embedded and name in _META:
                continue
            if name in properties:
                prune_value(item, properties[name], at, unknown)
            elif schema.get("additionalProperties"):
                prune_value(item, extra(schema), at, unknown)


def has_defaults(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return "default" in schema or any(has_defaults(v) for v in schema.values())
    return isinstance(schema, list) and any(has_defaults(v) for v in schema)


def default(value: Any, schema: Schema | None) -> None:
    """Fill in defaults, in place, also for a null where null is not allowed."""
    if schema is None:
        return
    if isinstance(value, dict):
        properties, more = schema.get("properties") or {}, extra(schema)
        for name, inner in properties.items():
            if "default" in inner and (name not in value or _unwanted(value[name], inner)):
                value[name] = _copy(inner["default"])
        for name, item in value.items():
            if name in properties:
                default(item, properties[name])
            elif more is not None:
                if _unwanted(item, more):
                    value[name] = _copy(more.get("default"))
                default(value[name], more)
    elif isinstance(value, list) and (inner := schema.get("items")):
        for index, item in enumerate(value):
            if _unwanted(item, inner):
                value[index] = _copy(inner.get("default"))
            default(value[index], inner)


def drop_nulls(value: Any, schema: Schema | None) -> None:
    """Drop, in place, nulls of fields that allow none and have no default."""
    if schema is None:
        return
    if isinstance(value, dict):
        properties, more = schema.get("properties") or {}, extra(schema)
        for name in list(value):
            inner = properties.get(name, more)
            if inner is None:
                continue
            if _unwanted(value[name], inner) and "default" not in inner:
                del value[name]
            else:
                drop_nulls(value[name], inner)
    elif isinstance(value, list):
        for item in value:
            drop_nulls(item, schema.get("items"))


def _unwanted(value: Any, schema: Schema) -> bool:
    return value is None and not schema.get("nullable")


def _copy(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))
