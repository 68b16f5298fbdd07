"""Decoding what is as it should be, quickly: one function for each place in a schema, made once.

These do what `schemas.decode` does for an object without any fault. At the first irregularity they raise Irregular, and
the slow way, which knows how to word it, decides.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sampan.kinds import schemas
from sampan.kinds.schemas import Schema
from sampan.machinery import quantities, times

Decoder = Callable[[Any], Any]


class Irregular(Exception):
    """The value is not plainly what the schema says: look closer."""


_made: dict[int, tuple[Schema, Decoder]] = {}


def of(schema: Schema) -> Decoder:
    """The decoder of a place, which must not change any more."""
    found = _made.get(id(schema))
    if found is None:
        # A schema may hold itself, so what is being made is known by a name that looks it up later.
        _made[id(schema)] = schema, lambda value: _made[id(schema)][1](value)
        found = _made[id(schema)] = schema, _decoder(schema)
    return found[1]


def _decoder(schema: Schema) -> Decoder:
    reference = schema.get("$ref")
    if reference is not None:
        if special := _SPECIAL.get(reference):
            return special
        schema = schemas.definitions()[reference]
    if "properties" in schema:
        return _struct(schema)
    match schema.get("type"):
        case "array":
            return _array(of(schema["items"]), _plain_type(schema["items"]))
        case "object":
            inner = schema.get("additionalProperties")
            return _map(inner) if isinstance(inner, dict) else _of_type(dict)
        case "string":
            return _bytes if schema.get("format") == "byte" else _of_type(str)
        case "boolean":
            return _of_type(bool)
        case "integer":
            limit = schemas.RANGES[schema.get("format", "int64")]
            return _integer(limit)
        case "number":
            return _number
    return _same


def _plain_type(schema: Schema) -> type | None:
    """The type of values that are taken as they are."""
    if schema.get("$ref") is None and "format" not in schema:
        return {"string": str, "boolean": bool}.get(str(schema.get("type")))
    return None


def _struct(schema: Schema) -> Decoder:
    # The decoders of fields are made when the first object has them: schemas are many, and some hold themselves.
    properties = schema["properties"]
    known: dict[str, tuple[type | None, Decoder]] = {}

    def make(name: str) -> tuple[type | None, Decoder]:
        if name not in properties:
            raise Irregular
        found = known[name] = (_plain_type(properties[name]), of(properties[name]))
        return found

    def decode(value: Any) -> Any:
        if type(value) is not dict:
            raise Irregular
        found = {}
        for name, item in value.items():
            plain, decoder = known.get(name) or make(name)
            if type(item) is plain:
                found[name] = item
            elif item is not None:
                found[name] = decoder(item)
        return found

    return decode


def _array(decoder: Decoder, plain: type | None) -> Decoder:
    def decode(value: Any) -> Any:
        if type(value) is not list:
            raise Irregular
        return [v if type(v) is plain else decoder(v) for v in value]

    return decode


def _map(inner: Schema) -> Decoder:
    decoder, plain = of(inner), _plain_type(inner)
    empty = "" if inner.get("type") == "string" else None

    def decode(value: Any) -> Any:
        if type(value) is not dict:
            raise Irregular
        found = {}
        for name, item in value.items():
            if type(item) is plain:
                found[name] = item
                continue
            item = empty if item is None else item
            if item is not None:
                found[name] = decoder(item)
        return found

    return decode


def _same(value: Any) -> Any:
    return value


def _of_type(kind: type) -> Decoder:
    def decode(value: Any) -> Any:
        if type(value) is not kind:
            raise Irregular
        return value

    return decode


def _integer(limit: int) -> Decoder:
    def decode(value: Any) -> Any:
        if type(value) is not int or not -limit <= value < limit:
            raise Irregular
        return value

    return decode


def _number(value: Any) -> Any:
    if type(value) not in (int, float):
        raise Irregular
    return value


def _bytes(value: Any) -> str:
    if type(value) is not str:
        raise Irregular
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Irregular from None
    return value


@lru_cache(4096)
def _canonical(text: str) -> str:
    return quantities.canonical(text)


def _quantity(value: Any) -> str:
    try:
        return _canonical(value) if type(value) is str else quantities.canonical(value)
    except (ValueError, TypeError):
        raise Irregular from None


def _int_or_string(value: Any) -> Any:
    if type(value) not in (str, int):
        raise Irregular
    return value


@lru_cache(4096)
def _checked_time(text: str) -> bool:
    times.split(text)
    return True


def _time(value: Any) -> str:
    if type(value) is not str:
        raise Irregular
    try:
        _checked_time(value)
    except ValueError:
        raise Irregular from None
    return value


_SPECIAL: dict[str, Decoder] = {
    schemas.QUANTITY: _quantity,
    schemas.INT_OR_STRING: _int_or_string,
    **dict.fromkeys(schemas.TIMES, _time),
}
