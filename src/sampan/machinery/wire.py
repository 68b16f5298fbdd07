"""Objects to protobuf's wire format, without messages between: one list of steps for each message, made once.

`protobuf` knows which field of JSON is which of a message; here they become bytes. Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson

from sampan.machinery import protobuf, times

Value = Callable[[Any], bytes]
_VARINT, _FIXED, _BYTES = 0, 1, 2


def varint(number: int) -> bytes:
    if 0 <= number < 128:
        return _SMALL[number]
    found = bytearray()
    number &= (1 << 64) - 1
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


_SMALL = [bytes([n]) for n in range(128)]


def _tag(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


def sized(data: bytes) -> bytes:
    """Bytes with their length before them."""
    return varint(len(data)) + data


def field(number: int, data: bytes) -> bytes:
    """A field that holds bytes, a text or a message."""
    return _tag(number, _BYTES) + sized(data)


def message(name: str, obj: Any) -> bytes:
    """A value of JSON as the message of that full name. Raises ProtobufError for values that do not fit."""
    try:
        return _writer(name)(obj)
    except (TypeError, ValueError, AttributeError, KeyError, struct.error) as e:
        raise protobuf.ProtobufError(f"the object does not fit the message {name}: {e}") from None


@cache
def _writer(name: str) -> Value:
    """What writes a message's fields, one after the other in the order of the object."""
    if special := _SPECIAL.get(name):
        return special
    plan = protobuf.plan(name)
    if plan.bare_list:
        return _repeated(plan.descriptor.fields_by_name["items"])
    fields: dict[str, Value] = {}
    inlined = [_inline(f) for f in plan.inlined]

    def make(key: str) -> Value:
        known = plan.by_name.get(key)
        found = fields[key] = _field(known) if known is not None else _nothing
        return found

    def write(obj: Any) -> bytes:
        parts = [(fields.get(key) or make(key))(value) for key, value in obj.items() if value is not None]
        for inline in inlined:
            rest = {k: v for k, v in obj.items() if k not in plan.by_name}
            if rest:
                parts.append(inline(rest))
        return b"".join(parts)

    return write


def _nothing(value: Any) -> bytes:
    return b""


def _inline(descriptor: Any) -> Value:
    """A message whose fields stand among those of the one that holds it; empty, it is not there."""
    tag, write = _tag(descriptor.number, _BYTES), _writer(descriptor.message_type.full_name)

    def found(value: Any) -> bytes:
        data = write(value)
        return tag + sized(data) if data else b""

    return found


def _field(descriptor: Any) -> Value:
    if protobuf.is_map(descriptor):
        return _map(descriptor)
    return _repeated(descriptor) if descriptor.is_repeated else _single(descriptor)


def _repeated(descriptor: Any) -> Value:
    single = _single(descriptor)
    return lambda value: b"".join([single(v) for v in value])


def _map(descriptor: Any) -> Value:
    tag = _tag(descriptor.number, _BYTES)
    key = _single(descriptor.message_type.fields_by_name["key"])
    item = _single(descriptor.message_type.fields_by_name["value"])

    def write(value: Any) -> bytes:
        entries = (key(k) + (item(v) if v is not None else b"") for k, v in sorted(value.items()))
        return b"".join([tag + sized(e) for e in entries])

    return write


def _single(descriptor: Any) -> Value:
    number = descriptor.number
    if descriptor.message_type is not None:
        tag, name = _tag(number, _BYTES), descriptor.message_type.full_name
        return lambda value: tag + sized(_writer(name)(value)) if value is not None else b""
    if descriptor.type == descriptor.TYPE_STRING:
        tag = _tag(number, _BYTES)
        return lambda value: tag + sized(value.encode())
    if descriptor.type == descriptor.TYPE_BYTES:
        tag = _tag(number, _BYTES)
        return lambda value: tag + sized(base64.b64decode(value))
    if descriptor.type == descriptor.TYPE_DOUBLE:
        tag = _tag(number, _FIXED)
        return lambda value: tag + struct.pack("<d", value)
    tag = _tag(number, _VARINT)
    return lambda value: tag + varint(_whole(value))


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


# The messages whose JSON is something else


def _instant(seconds: int, nanos: int) -> bytes:
    return b"\x08" + varint(seconds) + b"\x10" + varint(nanos)


def _time(value: str) -> bytes:
    return _instant(times.split(value)[0], 0)


def _micro_time(value: str) -> bytes:
    return _instant(*times.split(value))


def _duration(value: str) -> bytes:
    return b"\x08" + varint(protobuf.nanoseconds(value))


def _raw(value: Any) -> bytes:
    return field(1, orjson.dumps(value))


def _quantity(value: Any) -> bytes:
    return field(1, str(value).encode())


def _int_or_string(value: Any) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01\x10\x00" + field(3, value.encode())
    return b"\x08\x00\x10" + varint(_whole(value)) + b"\x1a\x00"


def _schema_or(value: Any) -> bytes:
    """A schema in field 1, or what else stands in its place: a boolean, texts, or several schemas."""
    write = _writer(f"{protobuf.SCHEMAS}.JSONSchemaProps")
    if isinstance(value, dict):
        return field(1, write(value))
    if isinstance(value, list):
        return b"".join([field(2, v.encode() if isinstance(v, str) else write(v)) for v in value])
    return b"\x08" + varint(int(value))


def _allowed_or_schema(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"\x08\x01" + field(2, _writer(f"{protobuf.SCHEMAS}.JSONSchemaProps")(value))
    return _schema_or(value)


_META = "k8s.io.apimachinery.pkg.apis.meta.v1"
_SPECIAL: dict[str, Value] = {
    f"{_META}.Time": _time,
    f"{_META}.MicroTime": _micro_time,
    f"{_META}.Duration": _duration,
    f"{_META}.FieldsV1": _raw,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _raw,
    "k8s.io.apimachinery.pkg.api.resource.Quantity": _quantity,
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    f"{protobuf.SCHEMAS}.JSON": _raw,
    f"{protobuf.SCHEMAS}.JSONSchemaPropsOrBool": _allowed_or_schema,
    f"{protobuf.SCHEMAS}.JSONSchemaPropsOrArray": _schema_or,
    f"{protobuf.SCHEMAS}.JSONSchemaPropsOrStringArray": _schema_or,
}
