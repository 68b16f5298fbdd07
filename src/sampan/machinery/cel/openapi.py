"""Types from an OpenAPI schema, and plain JSON values into the form that expressions of these types see.

Source: k8s.io/apiserver pkg/cel/common/schemas.go and values.go; the limits are those of pkg/cel/limits.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sampan.machinery.cel import types, values
from sampan.machinery.cel.errors import EvaluationError
from sampan.machinery.cel.lexer import RESERVED
from sampan.machinery.cel.types import Field, Type

Schema = Mapping[str, Any]
Convert = Callable[[Any], Any]
# The largest request, in bytes: what bounds the size of everything that nothing else bounds.
LARGEST_REQUEST = 3 * 1024 * 1024
_LONGEST = LARGEST_REQUEST - 2
_RESERVED = RESERVED | {"true", "false", "null", "in"}
# What every resource has at its root, and expressions may use there.
_ROOT: Schema = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}},
    },
}


def escaped(name: str) -> str:
    """A property's name as expressions write it; empty where they cannot.

    Source: the API concepts' page on CEL, "Escaping".
    """
    if name in _RESERVED:
        return f"__{name}__"
    made = (
        name.replace("__", "__underscores__")
        .replace(".", "__dot__")
        .replace("-", "__dash__")
        .replace("/", "__slash__")
    )
    return made if made.isascii() and made.isidentifier() else ""


def type_of(
    schema: Schema, root: bool = False, path: str = "object", resolve: Callable[[str], Schema] | None = None
) -> Type | None:
    """The type of what meets a schema; None where expressions have no access to it.

    `root` is for a resource or an embedded one. `resolve` gives the schema behind a `$ref`.
    """
    return _Types(resolve).of(schema, root, path, ())


class _Types:
    def __init__(self, resolve: Callable[[str], Schema] | None):
        self._resolve = resolve

    def of(self, schema: Schema, root: bool, path: str, above: tuple[str, ...]) -> Type | None:
        reference = schema.get("$ref")
        if reference is not None:
            if self._resolve is None or reference in above:
                return types.DYN if self._resolve else None
            return self.of(self._resolve(reference), root, path, (*above, reference))
        if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
            most = schema["maxLength"] * 4 if "maxLength" in schema else _LONGEST
            return Type("dyn", (), most)
        match schema.get("type"):
            case "array":
                return self._list(schema, path, above)
            case "object":
                return self._object(schema, root, path, above)
            case "string":
                return _text(schema)
            case "boolean":
                return replace(types.BOOL, least=4)
            case "number":
                return replace(types.DOUBLE, convert=_number)
            case "integer":
                return types.INT
        return None

    def _list(self, schema: Schema, path: str, above: tuple[str, ...]) -> Type | None:
        items = schema.get("items")
        if not items:
            return None
        inner = self.of(items, bool(items.get("x-kubernetes-embedded-resource")), f"{path}.@idx", above)
        if inner is None:
            return None
        most = schema.get("maxItems")
        if most is None:
            most = _LONGEST // (inner.least + 1)
        return Type("list", (inner,), max(most, 0), None, _list_convert(schema, inner), 2)

    def _object(self, schema: Schema, root: bool, path: str, above: tuple[str, ...]) -> Type | None:
        extra = schema.get("additionalProperties")
        if isinstance(extra, Mapping):
            inner = self.of(extra, bool(extra.get("x-kubernetes-embedded-resource")), f"{path}.@elem", above)
            if inner is None:
                return None
            most = schema.get("maxProperties")
            if most is None:
                most = _LONGEST // (inner.least + 6)
            key = Type("string", (), _LONGEST)
            return Type("map", (key, inner), max(most, 0), None, _map_convert(inner), 2)
        properties = dict(schema.get("properties") or {})
        if root:
            properties |= {"apiVersion": _ROOT["apiVersion"], "kind": _ROOT["kind"]}
            metadata = dict((properties.get("metadata") or {}).get("properties") or {})
            properties["metadata"] = {
                "type": "object",
                "properties": {**metadata, **_ROOT["metadata"]["properties"]},
            }
        required = set(schema.get("required") or ())
        fields: dict[str, Field] = {}
        least = 2
        for name, inner_schema in properties.items():
            embedded = bool(inner_schema.get("x-kubernetes-embedded-resource"))
            found = self.of(inner_schema, embedded, f"{path}.{name}", above)
            if found is None:
                continue
            if made := escaped(name):
                fields[made] = Field(found, name, name in required)
            if name in required and "default" not in inner_schema:
                least += len(name) + found.least + 4
        return Type(path, (), 0, fields, _object_convert(fields), least)


def _text(schema: Schema) -> Type:
    longest = schema.get("maxLength")
    match schema.get("format"):
        case "byte":
            return Type("bytes", (), _LONGEST if longest is None else longest, None, _bytes, 2)
        case "duration":
            return replace(types.DURATION, most=32, convert=_duration, least=3)
        case "date":
            return replace(types.TIMESTAMP, most=12, convert=_date, least=12)
        case "date-time":
            return replace(types.TIMESTAMP, most=32, convert=_timestamp, least=21)
    if longest is not None:
        return Type("string", (), longest * 4, None, None, 2)
    if enum := schema.get("enum"):
        return Type(
            "string", (), max((len(e.encode()) for e in enum if isinstance(e, str)), default=0), None, None, 2
        )
    return Type("string", (), _LONGEST, None, None, 2)


# Values


def _unless(make: Convert, kind: type | tuple[type, ...]) -> Convert:
    """A conversion that leaves alone what is not of the kind that it takes: validation tells of that."""

    def convert(value: Any) -> Any:
        try:
            return make(value) if isinstance(value, kind) and not isinstance(value, bool) else value
        except ValueError:
            return value
        except EvaluationError:
            return value

    return convert


_number = _unless(float, int)
_bytes = _unless(lambda v: base64.b64decode(v, validate=True), str)
_duration = _unless(values.duration, str)
_timestamp = _unless(values.timestamp, str)
_date = _unless(lambda v: values.timestamp(f"{v}T00:00:00Z"), str)


def _list_convert(schema: Schema, inner: Type) -> Convert | None:
    kind, keys = schema.get("x-kubernetes-list-type"), tuple(schema.get("x-kubernetes-list-map-keys") or ())
    each = inner.convert
    if kind not in ("set", "map") and each is None:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        items = [each(v) for v in value] if each else value
        if kind == "set":
            return values.SetList(items)
        if kind == "map" and all(isinstance(i, dict) for i in items):
            return values.MapList(items, keys)
        return items

    return convert


def _map_convert(inner: Type) -> Convert | None:
    each = inner.convert
    if each is None:
        return None
    return _unless(lambda value: {k: each(v) for k, v in value.items()}, dict)


def _object_convert(fields: Mapping[str, Field]) -> Convert | None:
    each = {f.key: f.type.convert for f in fields.values() if f.type.convert}
    if not each:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: each[k](v) if k in each else v for k, v in value.items()}

    return convert
