"""How the fields of a kind are owned: what is one field, what is a map or a list of fields that each have an owner.

A shape is worked out from the schema once for each place. Sources: the API concepts' page "Server-Side Apply", "Merge
strategy"; kube-openapi, pkg/schemaconv.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from sampan.kinds import schemas
from sampan.kinds.kind import Kind
from sampan.kinds.schemas import Schema

DATA = Path(__file__).parent / "data" / "structs.json"
# Keys of list items that may be left out, and what they then are.
DEFAULT_KEYS = {"protocol": "TCP"}
_SCALARS = (
    schemas.QUANTITY,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
)


class Form(IntEnum):
    """WHOLE: one field, whatever it holds. FREE: as the value is, since the schema does not say."""

    WHOLE = 0
    MAP = 1
    LIST = 2
    SET = 3
    FREE = 4


class Shape:
    """One place. Below a MAP are `fields` by name, each with its step, and `element` for names that are none of them;
    items of a LIST have the shape `element` and are told apart by `keys`. `always` holds what a Go client sends where
    nothing is: structs and required lists.
    """

    __slots__ = ("_always", "_element", "_fields", "_schema", "form", "keys")

    def __init__(self, form: Form, schema: Mapping[str, Any], keys: tuple[str, ...] = ()):
        self.form, self.keys = form, keys
        self._schema = schema
        self._fields: dict[str, tuple[str, Shape]] | None = None
        self._element: Shape | None = None
        self._always: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, tuple[str, Shape]]:
        if self._fields is None:
            properties = self._schema.get("properties") or {}
            self._fields = {name: (f"f:{name}", of_schema(s)) for name, s in properties.items()}
        return self._fields

    @property
    def element(self) -> Shape:
        if self._element is None:
            if self.form in (Form.LIST, Form.SET):
                inner = self._schema.get("items")
            else:
                inner = self._schema.get("additionalProperties")
            self._element = of_schema(inner) if isinstance(inner, dict) and inner else FREE
        return self._element

    @property
    def always(self) -> dict[str, Any]:
        if self._always is None:
            self._always = _always(self._schema)
        return self._always

    def below(self, name: str) -> tuple[str, Shape]:
        """The step to a field of a MAP, and its shape."""
        return self.fields.get(name) or (f"f:{name}", self.element)


WHOLE, FREE = Shape(Form.WHOLE, {}), Shape(Form.FREE, {})
_known: dict[int, tuple[Mapping[str, Any], Shape]] = {}
# Of kinds without a schema, such as metrics.
_NOTHING: Schema = {}


def of(kind: Kind) -> Shape:
    """The shape of a kind's objects; custom kinds bring their own schema."""
    if kind.schema is not None:
        return of_schema(kind.schema)
    return of_schema(schemas.of(kind.group, kind.version, kind.kind) or _NOTHING)


def of_schema(schema: Mapping[str, Any]) -> Shape:
    """The shape of a place, made once for each schema; the schema must not change any more."""
    found = _known.get(id(schema))
    if found is None or found[0] is not schema:
        found = _known[id(schema)] = (schema, _made(schema))
    return found[1]


def _made(schema: Mapping[str, Any]) -> Shape:
    reference = schema.get("$ref")
    if reference in _SCALARS or schema.get("x-kubernetes-int-or-string"):
        return WHOLE
    resolved = schemas.definitions()[reference] if reference else schema
    if "atomic" in (schema.get("x-kubernetes-map-type"), resolved.get("x-kubernetes-map-type")):
        return WHOLE
    if schema is not resolved:
        return of_schema(resolved)
    match schema.get("type"):
        case "array":
            return _list(schema)
        case "object" if "properties" in schema or isinstance(schema.get("additionalProperties"), dict):
            return Shape(Form.MAP, schema)
        case "object" | None:
            return FREE
    return WHOLE


def _list(schema: Mapping[str, Any]) -> Shape:
    keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
    match schema.get("x-kubernetes-list-type"):
        case "map" if keys:
            return Shape(Form.LIST, schema, tuple(sorted(keys)))
        case "set":
            return Shape(Form.SET, schema)
    return WHOLE


@cache
def _structs() -> dict[int, list[str]]:
    """The fields that are structs, by the identity of the definition."""
    import orjson

    known = schemas.definitions()
    listed: dict[str, list[str]] = orjson.loads(DATA.read_bytes())
    return {id(known[name]): fields for name, fields in listed.items() if name in known}


def _always(schema: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: {} for name in _structs().get(id(schema), ())}
    for name in schema.get("required", ()):
        inner = schema.get("properties", {}).get(name, {})
        if inner.get("type") == "array":
            found[name] = []
    return found
