"""Values against a schema: types, limits, and which of several schemas hold; worded as upstream's validator.

With an old value, what did not change is not checked again (ratcheting).
Sources: k8s.io/kube-openapi pkg/validation; k8s.io/apiextensions-apiserver pkg/apiserver/validation.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from sampan.kinds import faults
from sampan.kinds.custom.pruning import Schema, extra
from sampan.kinds.kind import Invalid
from sampan.machinery.cel import values as cel_values
from sampan.machinery.cel.errors import EvaluationError
from sampan.machinery.cel.text import is_base64, is_date, is_instant, is_uuid, pattern, url_fault

# Stands for an old value that there is not, or that cannot be told which it is.
ABSENT: Any = object()
# Faults of what is composed of several schemas name no field.
_NOWHERE = "<nil>"


def validate(value: Any, schema: Schema, path: str = "", old: Any = ABSENT) -> list[Invalid]:
    """Every fault of a value; `path` is empty at the root of a resource."""
    return list(_faults(value, schema, path, old))


def _faults(value: Any, schema: Schema, path: str, old: Any) -> Iterator[Invalid]:
    if old is not ABSENT and old == value and type(old) is type(value):
        return
    if value is None and schema.get("nullable"):
        return
    wrong = _type_fault(value, schema, path)
    if wrong:
        yield wrong
        return
    yield from _limits(value, schema, path)
    if isinstance(value, dict):
        yield from _map(value, schema, path, old)
    elif isinstance(value, list):
        yield from _list(value, schema, path, old)
    yield from _composed(value, schema, path)


def type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case list():
            return "array"
    return "object"


def _type_fault(value: Any, schema: Schema, path: str) -> Invalid | None:
    wanted = schema.get("type", "")
    if schema.get("x-kubernetes-int-or-string"):
        wanted = "integer,string"
    if not wanted:
        return None
    found = type_name(value)
    if found in wanted.split(",") or (wanted == "number" and found == "integer"):
        return None
    detail = f'Invalid value: "{found}": {_in_body(path)} must be of type {wanted}: "{found}"'
    return Invalid(path or _NOWHERE, "FieldValueTypeInvalid", detail)


def _in_body(path: str) -> str:
    return f"{path} in body" if path else " in body"


def _invalid(path: str, value: Any, said: str) -> Invalid:
    return faults.invalid(path or _NOWHERE, value, f"{_in_body(path)} {said}")


def _limits(value: Any, schema: Schema, path: str) -> Iterator[Invalid]:
    enum = schema.get("enum")
    if enum and not any(cel_values.equal(value, e) for e in enum):
        shown = [e if isinstance(e, str) else orjson.dumps(e).decode() for e in enum]
        yield faults.unsupported(path or _NOWHERE, value, shown)
    if isinstance(value, str):
        yield from _text(value, schema, path)
    elif cel_values.number(value):
        yield from _number(value, schema, path)


def _text(value: str, schema: Schema, path: str) -> Iterator[Invalid]:
    most, least = schema.get("maxLength"), schema.get("minLength")
    if most is not None and len(value) > most:
        yield faults.too_long(path, most)
    if least is not None and len(value) < least:
        yield _invalid(path, value, f"should be at least {least} chars long")
    if (text := schema.get("pattern")) and pattern(text).search(value) is None:
        yield _invalid(path, value, f"should match '{text}'")
    check = FORMATS.get(str(schema.get("format", "")).replace("-", ""))
    if check and not check(value):
        name = schema["format"]
        detail = f'Invalid value: {orjson.dumps(value).decode()}: {_in_body(path)} must be of type {name}: "{value}"'
        yield Invalid(path, "FieldValueTypeInvalid", detail)


def _plain(number: Any) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _number(value: Any, schema: Schema, path: str) -> Iterator[Invalid]:
    most, least, factor = schema.get("maximum"), schema.get("minimum"), schema.get("multipleOf")
    if factor and abs(value / factor - round(value / factor)) > 1e-9:
        yield _invalid(path, value, f"should be a multiple of {_plain(factor)}")
    if most is not None:
        if schema.get("exclusiveMaximum") and value >= most:
            yield _invalid(path, value, f"should be less than {_plain(most)}")
        elif value > most:
            yield _invalid(path, value, f"should be less than or equal to {_plain(most)}")
    if least is not None:
        if schema.get("exclusiveMinimum") and value <= least:
            yield _invalid(path, value, f"should be greater than {_plain(least)}")
        elif value < least:
            yield _invalid(path, value, f"should be greater than or equal to {_plain(least)}")


def _map(value: dict[str, Any], schema: Schema, path: str, old: Any) -> Iterator[Invalid]:
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None and len(value) > most:
        yield faults.too_many(path, len(value), most)
    if least is not None and len(value) < least:
        yield _invalid(path, len(value), f"should have at least {least} properties")
    for name in schema.get("required") or ():
        if name not in value:
            yield faults.required(_below(path, name))
    properties, more = schema.get("properties") or {}, extra(schema)
    before = old if isinstance(old, dict) and schema.get("x-kubernetes-map-type") != "atomic" else {}
    for name, item in value.items():
        inner = properties.get(name, more)
        if inner is not None:
            yield from _faults(item, inner, _below(path, name), before.get(name, ABSENT))


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _list(value: list[Any], schema: Schema, path: str, old: Any) -> Iterator[Invalid]:
    most, least = schema.get("maxItems"), schema.get("minItems")
    if most is not None and len(value) > most:
        yield faults.too_many(path, len(value), most)
    if least is not None and len(value) < least:
        yield _invalid(path, len(value), f"should have at least {least} items")
    inner = schema.get("items")
    if not inner:
        return
    before = correlated(schema, old)
    for index, item in enumerate(value):
        yield from _faults(item, inner, f"{path}[{index}]", before(item))


def correlated(schema: Schema, old: Any) -> Callable[[Any], Any]:
    """The old item that is the same as a new one, of a list that is a map; else there is none."""
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    if schema.get("x-kubernetes-list-type") != "map" or not keys or not isinstance(old, list):
        return lambda item: ABSENT
    properties = (schema.get("items") or {}).get("properties") or {}

    def key(item: Any) -> Any:
        if not isinstance(item, dict):
            return None
        return repr([item.get(k, (properties.get(k) or {}).get("default")) for k in keys])

    known = {key(item): item for item in old}
    return lambda item: known.get(key(item), ABSENT)


def _composed(value: Any, schema: Schema, path: str) -> Iterator[Invalid]:
    name = orjson.dumps(path).decode()
    if choices := schema.get("anyOf"):
        found = [validate(value, c, path) for c in choices]
        if all(found):
            yield Invalid(
                _NOWHERE,
                "FieldValueInvalid",
                f'Invalid value: "": {name} must validate at least one schema (anyOf)',
            )
            yield from min(found, key=len)
    if choices := schema.get("oneOf"):
        found = [validate(value, c, path) for c in choices]
        good = sum(not f for f in found)
        if good != 1:
            told = "Found none valid" if not good else f"Found {good} valid alternatives"
            said = f'Invalid value: "": {name} must validate one and only one schema (oneOf). {told}'
            yield Invalid(_NOWHERE, "FieldValueInvalid", said)
            if not good:
                yield from min(found, key=len)
    if choices := schema.get("allOf"):
        found = [f for c in choices if (f := validate(value, c, path))]
        if found:
            told = ". None validated" if len(found) == len(choices) else ""
            yield Invalid(
                _NOWHERE,
                "FieldValueInvalid",
                f'Invalid value: "": {name} must validate all the schemas (allOf){told}',
            )
            for faults_ in found:
                yield from faults_
    if (refused := schema.get("not")) is not None and not validate(value, refused, path):
        yield Invalid(
            _NOWHERE, "FieldValueInvalid", f'Invalid value: "": {name} must not validate the schema (not)'
        )


# Formats, by their names without dashes


def _parses(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def asked(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, EvaluationError):
            return False
        return True

    return asked


def _matches(expression: str) -> Callable[[str], bool]:
    compiled = re.compile(expression)
    return lambda text: compiled.fullmatch(text) is not None


_HOST = _matches(r"([a-zA-Z0-9\u00a1-\uffff]([a-zA-Z0-9\u00a1-\uffff-]*[a-zA-Z0-9\u00a1-\uffff])?\.?)+")
FORMATS: Mapping[str, Callable[[str], bool]] = {
    "uri": lambda text: not url_fault(text),
    "email": _matches(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*"),
    "hostname": lambda text: len(text) <= 255 and _HOST(text),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": _parses(lambda t: ipaddress.ip_network(t, strict=False) if "/" in t else ipaddress.ip_network("no")),
    "mac": _matches(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}"),
    "uuid": is_uuid,
    "uuid3": _matches(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}"),
    "uuid4": _matches(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}"),
    "uuid5": _matches(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}"),
    "hexcolor": _matches(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _matches(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)"),
    "byte": is_base64,
    "date": is_date,
    "datetime": is_instant,
    "duration": _parses(cel_values.duration),
}  # fmt: skip
