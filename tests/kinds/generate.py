"""Objects of any kind, made from its schema by hypothesis.

Scalars are never empty or zero: what is may be left out on the way through protobuf, as Go leaves it out.
"""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import strategies as st

from sampan.kinds import schemas
from sampan.kinds.kind import Kind
from sampan.machinery import times

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_SCHEMAS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
_SCHEMA = st.just({"type": "string"})
_TIME = st.integers(1, 2**31 - 1).map(times.time)
_SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    schemas.QUANTITY: st.sampled_from(["1", "250m", "64Mi", "1k", "5e3", "-2"]),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": st.one_of(
        st.integers(0, 99), st.sampled_from(["25%", "http"])
    ),
    f"{_META}.Time": _TIME,
    f"{_META}.MicroTime": _TIME.map(lambda t: t[:-1] + ".000123Z"),
    f"{_META}.FieldsV1": st.just({"f:metadata": {"f:name": {}}}),
    # A schema, or what else may stand in its place.
    f"{_SCHEMAS}.JSONSchemaPropsOrArray": _SCHEMA,
    f"{_SCHEMAS}.JSONSchemaPropsOrBool": st.one_of(_SCHEMA, st.just(True)),
    f"{_SCHEMAS}.JSONSchemaPropsOrStringArray": st.one_of(_SCHEMA, st.just(["a", "b"])),
    f"{_SCHEMAS}.JSON": st.sampled_from([1, "a", [True], {"a": {"b": None}}]),
    "io.k8s.apimachinery.pkg.runtime.RawExtension": st.just({"kind": "X", "nested": [1, {"a": None}]}),
}
_TEXT = st.text("aZ9-_/é", min_size=1, max_size=6)


def objects(kind: Kind) -> st.SearchStrategy[Any]:
    schema = schemas.of(kind.group, kind.version, kind.kind)
    assert schema is not None
    typed = {"apiVersion": kind.api_version, "kind": kind.kind}
    return _object(schema, 6).map(lambda obj: {**obj, **typed})


def _object(schema: Any, depth: int) -> st.SearchStrategy[Any]:
    """An object with up to four of its fields, so that one example stays small."""
    properties = schema["properties"]
    names = [n for n in properties if n not in ("apiVersion", "kind")]
    chosen = st.lists(st.sampled_from(names), unique=True, max_size=4) if names and depth else st.just([])
    return chosen.flatmap(lambda ns: st.fixed_dictionaries({n: _value(properties[n], depth - 1) for n in ns}))


def _value(schema: Any, depth: int) -> st.SearchStrategy[Any]:
    reference = schema.get("$ref")
    if reference in _SPECIAL:
        return _SPECIAL[reference]
    if reference:
        schema = schemas.definitions()[reference]
        if "properties" in schema:
            return _object(schema, depth)
    match schema.get("type"):
        case "array":
            return st.lists(_value(schema["items"], depth), min_size=1, max_size=2)
        case "object" if "additionalProperties" not in schema:
            return st.just({})
        case "object":
            return st.dictionaries(
                _TEXT, _value(schema["additionalProperties"], depth), min_size=1, max_size=2
            )
        case "integer":
            return st.integers(1, 2**31 - 1)
        case "boolean":
            return st.just(True)
        case "number":
            return st.just(1.5)
    if schema.get("format") == "byte":
        return st.binary(min_size=1, max_size=5).map(lambda b: base64.b64encode(b).decode())
    return _TEXT
