"""Kubernetes' protobuf bodies, both ways: `application/vnd.kubernetes.protobuf`.

A body is four bytes of magic and a runtime.Unknown, which names the kind and holds its message. Most messages
mirror their JSON; the exceptions are in `_SPECIAL`. Source: the API concepts' page on alternate
representations, and the generated.proto files of k8s.io/api and k8s.io/apimachinery, which
`tools/descriptors.py` compiles.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from sampan.machinery import descriptors, times
from sampan.machinery.objects import Object

MAGIC = b"k8s\x00"
_META = "k8s.io.apimachinery.pkg.apis.meta.v1"
# Groups whose messages are in packages of their own.
_PACKAGES = {
    "apiextensions.k8s.io": "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "k8s.io.kube_aggregator.pkg.apis.apiregistration",
}
SCHEMAS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1"
_UNKNOWN = "k8s.io.apimachinery.pkg.runtime.Unknown"


class ProtobufError(ValueError):
    """The body is no Kubernetes protobuf, or of a kind without a message, or does not fit its message."""


def decode(body: bytes) -> Object:
    """The object in a body. Raises ProtobufError."""
    from google.protobuf.message import DecodeError

    if body[:4] != MAGIC:
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix k8s")
    try:
        envelope = _class(_UNKNOWN).FromString(body[4:])
        api_version, kind = envelope.typeMeta.apiVersion, envelope.typeMeta.kind
        message = _class(name_of(api_version, kind)).FromString(envelope.raw)
    except DecodeError as error:
        raise ProtobufError(f"cannot decode protobuf: {error}") from None
    return {"apiVersion": api_version, "kind": kind, **_from_message(message)}


def encode(obj: Object) -> bytes:
    """The body that holds an object; lists too. Raises ProtobufError."""
    return envelope(obj, raw(obj))


def raw(obj: Object) -> bytes:
    """The object's message, without the envelope that names its kind. Raises ProtobufError."""
    from sampan.machinery import wire

    name = name_of(str(obj.get("apiVersion", "")), str(obj.get("kind", "")))
    return wire.message(name, {k: v for k, v in obj.items() if k not in ("apiVersion", "kind")})


def envelope(named: Object, message: bytes) -> bytes:
    """A message as a body, under the kind that an object names."""
    from sampan.machinery import wire

    kinds = [str(named.get(name, "")).encode() for name in ("apiVersion", "kind")]
    meta = wire.field(1, kinds[0]) + wire.field(2, kinds[1])
    return MAGIC + wire.field(1, meta) + wire.field(2, message) + b"\x1a\x00\x22\x00"


def load() -> None:
    """Load what the first body needs. It takes some 60 ms, so a server calls this in a thread beforehand."""
    decode(encode({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "b"}}, "spec": {}}))


def knows(api_version: str, kind: str) -> bool:
    """Whether a kind has a message; those without are JSON only."""
    try:
        name_of(api_version, kind)
    except ProtobufError:
        return False
    return True


def name_of(api_version: str, kind: str) -> str:
    """The full name of a kind's message. What all groups share, such as DeleteOptions, is in meta. Raises
    ProtobufError.
    """
    group, _, version = api_version.rpartition("/")
    package = _PACKAGES.get(group) or f"k8s.io.api.{group.partition('.')[0] or 'core'}"
    for name in (f"{package}.{version}.{kind}", f"{_META}.{kind}"):
        try:
            _pool().FindMessageTypeByName(name)
        except KeyError:
            continue
        return name
    raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}" in protobuf')


def _pool() -> Any:
    return descriptors.pool("kubernetes")


@cache
def _class(name: str) -> Any:
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(_pool().FindMessageTypeByName(name))


@cache
def _differences() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = descriptors.json("kubernetes")
    return found


class Plan:
    """How the fields of a message stand in JSON, worked out once."""

    def __init__(self, descriptor: Any):
        self.descriptor = descriptor
        name = descriptor.full_name
        differences = _differences()
        self.inline = frozenset(differences["inline"].get(name, ()))
        self.omit = frozenset(differences["omit"].get(name, ()))
        renamed = {int(number): other for number, other in differences["names"].get(name, {}).items()}
        self.names = {f.number: renamed.get(f.number, f.name) for f in descriptor.fields}
        self.by_name = {self.names[f.number]: f for f in descriptor.fields if f.number not in self.inline}
        self.inlined = [f for f in descriptor.fields if f.number in self.inline]
        # ExtraValue, Verbs and the like are plain lists in JSON.
        self.bare_list = [(f.name, f.message_type) for f in descriptor.fields] == [("items", None)]


@cache
def plan(name: str) -> Plan:
    return Plan(_pool().FindMessageTypeByName(name))


def is_map(field: Any) -> bool:
    message = field.message_type
    return message is not None and bool(message.GetOptions().map_entry)


# From messages to JSON


def _from_message(message: Any) -> Object:
    fields = plan(message.DESCRIPTOR.full_name)
    found: Object = {}
    for field, value in message.ListFields():
        if field.number in fields.inline:
            found.update(_from_message(value))
            continue
        shown = _from_field(field, value)
        if shown is None or (field.number in fields.omit and not field.message_type and not shown):
            continue
        found[fields.names[field.number]] = shown
    return found


def _from_field(field: Any, value: Any) -> Any:
    if is_map(field):
        inner = field.message_type.fields_by_name["value"]
        return {k: _from_value(inner, value[k]) for k in sorted(value)}
    if field.is_repeated:
        return [_from_value(field, v) for v in value]
    return _from_value(field, value)


def _from_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        name = field.message_type.full_name
        special = _SPECIAL.get(name)
        if special:
            return special(value)
        if plan(name).bare_list:
            return list(value.items)
        return _from_message(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


# The messages whose JSON is something else


def _time_from(message: Any) -> str | None:
    return times.time(message.seconds) if message.seconds or message.nanos else None


def _micro_time_from(message: Any) -> str | None:
    if not (message.seconds or message.nanos):
        return None
    return f"{times.time(message.seconds)[:-1]}.{message.nanos // 1000:06d}Z"


def _int_or_string_from(message: Any) -> int | str:
    return str(message.strVal) if message.type else int(message.intVal)


def _raw_from(message: Any) -> Any:
    import orjson

    raw = message.raw if message.DESCRIPTOR.name == "RawExtension" else message.Raw
    if not raw:
        return None
    try:
        return decode(raw) if raw[:4] == MAGIC else orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProtobufError(f"an embedded object is not JSON: {error}") from None


def _duration_from(message: Any) -> str:
    """Go's form of a duration in nanoseconds: `1h2m3.5s`."""
    nanos = abs(message.duration)
    sign = "-" if message.duration < 0 else ""
    if 0 < nanos < 10**9:
        unit, size = next((u, s) for u, s in (("ms", 10**6), ("µs", 10**3), ("ns", 1)) if nanos >= s)
        return f"{sign}{_decimal(nanos, size)}{unit}"
    minutes, rest = divmod(nanos, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    head = (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "")
    return f"{sign}{head}{_decimal(rest, 10**9)}s"


def _decimal(number: int, unit: int) -> str:
    whole, rest = divmod(number, unit)
    fraction = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{fraction}" if rest else str(whole)


_UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "µs": 10**3, "ns": 1}


def nanoseconds(value: str) -> int:
    """Go's form of a duration, in nanoseconds. Raises ValueError."""
    from fractions import Fraction

    parts = re.findall(r"(\d+\.?\d*|\.\d+)(h|ms|us|µs|ns|m|s)", value)
    if value.lstrip("+-") != "0" and "".join(a + b for a, b in parts) != value.lstrip("+-"):
        raise ValueError(f"time: invalid duration {value!r}")
    total = sum(
        int(Fraction(number if not number.endswith(".") else number + "0") * _UNITS[unit])
        for number, unit in parts
    )
    return -total if value.startswith("-") else total


def _json_from(message: Any) -> Any:
    import orjson

    return orjson.loads(message.raw) if message.raw else None


def _schema_or(other: str) -> Callable[[Any], Any]:
    """A schema, or what else may stand in its place."""

    def found(message: Any) -> Any:
        if message.HasField("schema"):
            return _from_message(message.schema)
        value = getattr(message, other)
        if isinstance(value, bool):
            return value
        return [v if isinstance(v, str) else _from_message(v) for v in value]

    return found


_SPECIAL: dict[str, Callable[[Any], Any]] = {
    f"{_META}.Time": _time_from,
    f"{_META}.MicroTime": _micro_time_from,
    f"{_META}.Duration": _duration_from,
    f"{_META}.FieldsV1": _raw_from,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _raw_from,
    "k8s.io.apimachinery.pkg.api.resource.Quantity": lambda m: m.string or "0",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _int_or_string_from,
    f"{SCHEMAS}.JSON": _json_from,
    f"{SCHEMAS}.JSONSchemaPropsOrBool": _schema_or("allows"),
    f"{SCHEMAS}.JSONSchemaPropsOrArray": _schema_or("jSONSchemas"),
    f"{SCHEMAS}.JSONSchemaPropsOrStringArray": _schema_or("property"),
}
