"""The shape of every kind: what fields it has, of which types, and how lists in it merge.

`decode` brings a body that a client sent into the form that is stored: it finds unknown fields and wrong
types, drops nulls and puts quantities in canonical form. `node` is the view that strategic merge patches
take.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from sampan.kinds.kind import Kind
from sampan.machinery import quantities, times
from sampan.machinery.objects import Object

Schema = dict[str, Any]

DATA = Path(__file__).parent / "data" / "schemas.json.zst"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
TIMES = ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime")
RANGES = {"int32": 2**31, "int64": 2**63}


class DecodeError(ValueError):
    """A value is of the wrong type; the text is worded as Go's decoder words it."""


@cache
def definitions() -> dict[str, Schema]:
    """Every definition by its name, such as `io.k8s.api.core.v1.Pod`. Loaded in some 5 ms on first use."""
    import orjson
    import zstandard

    found: dict[str, Schema] = orjson.loads(zstandard.decompress(DATA.read_bytes()))
    return found


@cache
def _names() -> dict[tuple[str, str, str], str]:
    return {
        (gvk["group"], gvk["version"], gvk["kind"]): name
        for name, schema in definitions().items()
        for gvk in schema.get("x-kubernetes-group-version-kind", ())
    }


def name_of(group: str, version: str, kind: str) -> str | None:
    """The name of a kind's definition; None for a kind that has none, such as metrics."""
    return _names().get((group, version, kind))


def defined_name(kind: Kind) -> str | None:
    """The name of a kind's definition, whatever brought it: `com.example.v1.Boat` for a custom one."""
    if kind.schema is None:
        return name_of(kind.group, kind.version, kind.kind)
    return ".".join((*reversed(kind.group.split(".")), kind.version, kind.kind))


def of(group: str, version: str, kind: str) -> Schema | None:
    name = name_of(group, version, kind)
    return None if name is None else definitions()[name]


@dataclass(slots=True)
class Decoded:
    """An object in the form that is stored, and the paths of the fields that were unknown and dropped."""

    obj: Object
    unknown: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """The unknown fields as a strict reader's error or a warning says them."""
        return [f'unknown field "{path}"' for path in self.unknown]


def decode_of(kind: Kind, obj: Object) -> Decoded:
    """What a client sent as it is stored, whatever brought the kind's schema. Raises DecodeError."""
    if kind.decode:
        return kind.decode(obj)
    return decode(obj, kind.group, kind.version, kind.kind)


def decode(obj: Object, group: str, version: str, kind: str) -> Decoded:
    """What a client sent as it is stored; `obj` itself is left alone. Raises DecodeError.

    A kind without a schema is passed through. The caller decides what an unknown field means
    (fieldValidation).
    """
    schema = of(group, version, kind)
    if schema is None:
        return Decoded(obj)
    from sampan.kinds import decoders

    try:
        return Decoded(decoders.of(schema)(obj))
    except decoders.Irregular:
        return decode_slowly(obj, schema, kind)


def decode_slowly(obj: Object, schema: Schema, kind: str) -> Decoded:
    """What `decode` does, worded: every unknown field, or the first wrong type. Raises DecodeError."""
    found = Decoded({})
    found.obj = _object(obj, schema, "", kind, found.unknown)
    return found


def decode_part(value: Any, name: str, path: str, owner: str, unknown: list[str]) -> Any:
    """A part of an object by the name of its definition; paths of unknown fields are added. Raises DecodeError."""
    return _value(value, {"$ref": name}, path, owner, unknown)


def _object(value: Any, schema: Schema, path: str, owner: str, unknown: list[str]) -> Object:
    if not isinstance(value, dict):
        raise _mismatch(value, owner, path, f"v1.{owner}")
    properties = schema.get("properties", {})
    found: Object = {}
    for name, item in value.items():
        at = f"{path}.{name}" if path else name
        known = properties.get(name)
        if known is None:
            unknown.append(at)
        elif item is not None:
            found[name] = _value(item, known, at, owner, unknown)
    return found


def _value(value: Any, schema: Schema, path: str, owner: str, unknown: list[str]) -> Any:
    reference = schema.get("$ref")
    if reference is not None:
        if reference == QUANTITY:
            return _quantity(value)
        if reference == INT_OR_STRING:
            return _int_or_string(value, owner, path)
        schema = definitions()[reference]
        if reference in TIMES:
            return _time(value, owner, path)
        if "properties" in schema:
            name = reference.rpartition(".")[2]
            if not isinstance(value, dict):
                raise _mismatch(value, owner, path, f"v1.{name}")
            return _object(value, schema, path, name, unknown)
    kind = schema.get("type")
    if kind == "array":
        if not isinstance(value, list):
            raise _mismatch(value, owner, path, f"[]{_go_type(schema['items'])}")
        items = schema["items"]
        return [_value(v, items, f"{path}[{i}]", owner, unknown) for i, v in enumerate(value)]
    if kind == "object":
        return _map(value, schema, path, owner, unknown)
    return _scalar(value, kind, schema, path, owner)


def _map(value: Any, schema: Schema, path: str, owner: str, unknown: list[str]) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(value, owner, path, f"map[string]{_go_type(schema.get('additionalProperties', {}))}")
    inner = schema.get("additionalProperties")
    if not isinstance(inner, dict):
        return value
    empty = "" if inner.get("type") == "string" else None
    found = {}
    for name, item in value.items():
        item = empty if item is None else item
        if item is not None:
            found[name] = _value(item, inner, f"{path}.{name}", owner, unknown)
    return found


def _scalar(value: Any, kind: str | None, schema: Schema, path: str, owner: str) -> Any:
    if kind == "string":
        if not isinstance(value, str):
            raise _mismatch(value, owner, path, "string")
        return _bytes(value) if schema.get("format") == "byte" else value
    if kind == "boolean" and not isinstance(value, bool):
        raise _mismatch(value, owner, path, "bool")
    if kind == "integer":
        limit = RANGES[schema.get("format", "int64")]
        if not isinstance(value, int) or isinstance(value, bool) or not -limit <= value < limit:
            raise _mismatch(value, owner, path, _go_type(schema))
    if kind == "number" and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise _mismatch(value, owner, path, "float64")
    return value


def _quantity(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DecodeError(quantities.FAULT)
    try:
        return quantities.canonical(value)
    except ValueError as error:
        raise DecodeError(str(error)) from None


def _int_or_string(value: Any, owner: str, path: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _mismatch(value, owner, path, "int32")
    return value


def _time(value: Any, owner: str, path: str) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, owner, path, "string")
    try:
        times.split(value)
    except ValueError as error:
        raise DecodeError(str(error)) from None
    return value


def _bytes(value: str) -> str:
    """Base64 text as Go writes it back: line breaks are dropped."""
    text = value.replace("\n", "").replace("\r", "")
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        at = next((i for i, c in enumerate(text) if not (c.isalnum() or c in "+/=")), len(text))
        raise DecodeError(f"illegal base64 data at input byte {at}") from None
    return text


def _go_type(schema: Schema) -> str:
    """The Go type's name, as it stands in decoding errors."""
    if "$ref" in schema:
        return "v1." + str(schema["$ref"]).rpartition(".")[2]
    kind = str(schema.get("type", "interface {}"))
    return str(schema.get("format", "int64")) if kind == "integer" else {"boolean": "bool"}.get(kind, kind)


def _mismatch(value: Any, owner: str, path: str, wanted: str) -> DecodeError:
    kinds = {bool: "bool", str: "string", dict: "object", list: "array"}
    given = kinds.get(type(value), f"number {value}" if isinstance(value, int | float) else "null")
    if given.startswith("number") and wanted in ("string", "bool"):
        given = "number"
    plain = "".join(part.partition("[")[0] + "." for part in path.split("."))[:-1]
    return DecodeError(
        f"json: cannot unmarshal {given} into Go struct field {owner}.{plain} of type {wanted}"
    )


@dataclass(frozen=True, slots=True)
class Node:
    """One place in a schema, as `machinery.patches` looks at it; unknown places have no schema and merge as
    JSON does.
    """

    schema: Schema = field(default_factory=dict)

    @property
    def merge_key(self) -> str:
        return str(self.schema.get("x-kubernetes-patch-merge-key", ""))

    @property
    def strategies(self) -> tuple[str, ...]:
        """`merge`, `retainKeys`, `replace`, or none."""
        return tuple(str(self.schema.get("x-kubernetes-patch-strategy", "")).split(","))

    @property
    def map_keys(self) -> tuple[str, ...]:
        """The keys of a list that is a map, for server-side apply."""
        return tuple(self.schema.get("x-kubernetes-list-map-keys", ()))

    @property
    def list_type(self) -> str:
        """`map`, `set` or `atomic`, for server-side apply."""
        return str(self.schema.get("x-kubernetes-list-type", "atomic"))

    @property
    def atomic(self) -> bool:
        """Whether a map is replaced as a whole, for server-side apply."""
        return self._resolved().get("x-kubernetes-map-type") == "atomic" or (
            self.schema.get("x-kubernetes-map-type") == "atomic"
        )

    def child(self, name: str) -> Node:
        """The place of a field, also of the items of a list."""
        schema = self._resolved()
        if schema.get("type") == "array":
            return Node(schema.get("items", {})).child(name)
        found = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
        return Node(found) if isinstance(found, dict) else Node()

    def _resolved(self) -> Schema:
        reference = self.schema.get("$ref")
        return definitions()[reference] if reference else self.schema


def node_of(kind: Kind) -> Node:
    """The root of a kind's schema, whatever brought it."""
    if kind.schema is not None:
        return Node(dict(kind.schema))
    return node(kind.group, kind.version, kind.kind)


def node(group: str, version: str, kind: str) -> Node:
    """The root of a kind's schema, for patches."""
    return Node(of(group, version, kind) or {})
