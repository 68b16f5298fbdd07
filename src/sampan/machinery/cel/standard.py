"""The standard functions and operators, and those of lists, sets and optional values, by name.

Each takes values of any type and looks for itself which overload is meant; where there is none it raises `no such
overload`. Sources: the CEL language definition, "Standard Definitions"; cel-go's ext lists and sets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from sampan.machinery.cel import values
from sampan.machinery.cel.errors import EvaluationError
from sampan.machinery.cel.values import (
    LARGEST,
    LARGEST_UINT,
    NONE,
    SMALLEST,
    Duration,
    Optional,
    Timestamp,
    TypeValue,
    UInt,
    contained,
    equal,
    number,
)

Function = Callable[..., Any]
# The most elements that lists.range may make, as cel-go's.
_LONGEST_RANGE = 1_000_000
_YEAR_ONE, _YEAR_TEN_THOUSAND = -62135596800 * 10**9, 253402300800 * 10**9


def no_overload(name: str = "") -> EvaluationError:
    return EvaluationError(f"no such overload: {name}" if name else "no such overload")


def whole(value: int, like: Any = 0) -> int:
    """An integer of 64 bits, unsigned where `like` is. Raises EvaluationError where it is too large."""
    if isinstance(like, UInt):
        if not 0 <= value <= LARGEST_UINT:
            raise EvaluationError("unsigned integer overflow")
        return UInt(value)
    if not SMALLEST <= value <= LARGEST:
        raise EvaluationError("integer overflow")
    return int(value)


def _alike(a: Any, b: Any) -> bool:
    """Whether two numbers are of one type."""
    return type(a) is type(b) and number(a)


def _stamp(nanos: int) -> Timestamp:
    if not _YEAR_ONE <= nanos < _YEAR_TEN_THOUSAND:
        raise EvaluationError("timestamp overflow")
    return Timestamp(nanos)


def _span(nanos: int) -> Duration:
    if not SMALLEST <= nanos <= LARGEST:
        raise EvaluationError("duration overflow")
    return Duration(nanos)


def add(a: Any, b: Any) -> Any:
    if _alike(a, b):
        return a + b if isinstance(a, float) else whole(a + b, a)
    match a, b:
        case (str(), str()) | (bytes(), bytes()):
            return a + b
        case list(), list():
            return a.plus(b) if hasattr(a, "plus") else [*a, *b]
        case Duration(), Duration():
            return _span(a.nanos + b.nanos)
        case (Timestamp(), Duration()) | (Duration(), Timestamp()):
            return _stamp(a.nanos + b.nanos)
    raise no_overload()


def subtract(a: Any, b: Any) -> Any:
    if _alike(a, b):
        return a - b if isinstance(a, float) else whole(a - b, a)
    match a, b:
        case (Duration(), Duration()) | (Timestamp(), Timestamp()):
            return _span(a.nanos - b.nanos)
        case Timestamp(), Duration():
            return _stamp(a.nanos - b.nanos)
    raise no_overload()


def multiply(a: Any, b: Any) -> Any:
    if not _alike(a, b):
        raise no_overload()
    return a * b if isinstance(a, float) else whole(a * b, a)


def divide(a: Any, b: Any) -> Any:
    if not _alike(a, b):
        raise no_overload()
    if isinstance(a, float):
        return (
            a / b
            if b
            else math.nan
            if a == 0 or math.isnan(a)
            else math.copysign(math.inf, a) * math.copysign(1, b)
        )
    if b == 0:
        raise EvaluationError("division by zero")
    quotient = abs(a) // abs(b)
    return whole(quotient if (a < 0) == (b < 0) else -quotient, a)


def modulo(a: Any, b: Any) -> Any:
    if not _alike(a, b) or isinstance(a, float):
        raise no_overload()
    if b == 0:
        raise EvaluationError("modulus by zero")
    return whole(abs(a) % abs(b) * (-1 if a < 0 else 1), a)


def negate(a: Any) -> Any:
    if isinstance(a, float):
        return -a
    if type(a) is int:
        return whole(-a)
    raise no_overload()


def invert(a: Any) -> bool:
    if a is True or a is False:
        return not a
    raise no_overload()


def _order(name: str, compare: Callable[[Any, Any], bool]) -> Function:
    def ordered(a: Any, b: Any) -> bool:
        if type(a) is type(b) and isinstance(a, str | bytes | bool | int | float | Timestamp | Duration):
            return compare(a, b)
        if number(a) and number(b):
            return compare(a, b)
        raise no_overload()

    return ordered


def index(container: Any, key: Any) -> Any:
    if isinstance(container, Optional):
        return Optional(index(container.value, key)) if container.present else NONE
    if isinstance(container, list):
        place = _place(key)
        if place is None:
            raise EvaluationError(f"unsupported index type '{values.type_of(key)}' in list")
        if not 0 <= place < len(container):
            raise EvaluationError(f"index out of bounds: {place}")
        return container[place]
    if isinstance(container, dict):
        found = entry(container, key)
        if found is NONE:
            raise EvaluationError(f"no such key: {shown(key)}")
        return found.value
    raise no_overload()


def _place(key: Any) -> int | None:
    if not number(key):
        return None
    return int(key) if not isinstance(key, float) or key.is_integer() else None


def entry(container: dict[Any, Any], key: Any) -> Optional:
    """The value at a key; a number finds an equal one of another type, but a bool is no number."""
    if isinstance(key, bool | int | float):
        for k, v in container.items():
            if equal(k, key):
                return Optional(v)
        return NONE
    try:
        return Optional(container[key]) if key in container else NONE
    except TypeError:
        raise EvaluationError(f"unsupported key type: {values.type_of(key)}") from None


def optional_index(container: Any, key: Any) -> Optional:
    if isinstance(container, Optional):
        return optional_index(container.value, key) if container.present else NONE
    if isinstance(container, list):
        place = _place(key)
        return Optional(container[place]) if place is not None and 0 <= place < len(container) else NONE
    if isinstance(container, dict):
        return entry(container, key)
    raise no_overload()


def has_item(item: Any, container: Any) -> bool:
    if isinstance(container, list):
        return contained(item, container)
    if isinstance(container, dict):
        return entry(container, item) is not NONE
    raise no_overload()


def size(value: Any) -> int:
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    raise no_overload("size")


def shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# Conversions


def to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in ("1", "t", "T", "true", "TRUE", "True"):
            return True
        if value in ("0", "f", "F", "false", "FALSE", "False"):
            return False
        raise EvaluationError("type conversion error from 'string' to 'bool'")
    raise no_overload("bool")


def to_int(value: Any) -> int:
    match value:
        case bool():
            raise no_overload("int")
        case float():
            if not math.isfinite(value) or not SMALLEST < value < LARGEST + 1:
                raise EvaluationError("integer overflow")
            return int(value)
        case int():
            return whole(int(value))
        case str():
            return whole(_parsed(value, "int"))
        case Timestamp():
            return value.nanos // 10**9
        case Duration():
            return value.nanos
    raise no_overload("int")


def _parsed(text: str, wanted: str) -> int:
    try:
        if text.strip() != text or "_" in text:
            raise ValueError(text)
        return int(text)
    except ValueError:
        raise EvaluationError(f"type conversion error from 'string' to '{wanted}'") from None


def to_uint(value: Any) -> UInt:
    match value:
        case bool():
            raise no_overload("uint")
        case float():
            if not math.isfinite(value) or not 0 <= value < LARGEST_UINT + 1:
                raise EvaluationError("unsigned integer overflow")
            return UInt(int(value))
        case int():
            return UInt(whole(int(value), UInt(0)))
        case str():
            return UInt(whole(_parsed(value, "uint"), UInt(0)))
    raise no_overload("uint")


def to_double(value: Any) -> float:
    if number(value):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise EvaluationError("type conversion error from 'string' to 'double'") from None
    raise no_overload("double")


def to_string(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return shown(value)
        case float():
            return double_text(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
        case int() | Timestamp() | Duration():
            return str(value)
    if getattr(value, "type_name", "") in ("kubernetes.Quantity", "net.IP", "net.CIDR"):
        return str(value)
    raise no_overload("string")


def double_text(value: float) -> str:
    """As Go's `%g` with the fewest digits that give the number back."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" not in text and text.endswith(".0"):
        text = text[:-2]
    if abs(value) >= 1e21 or (value and abs(value) < 1e-4):
        mantissa, _, exponent = f"{value:e}".partition("e") if "e" not in text else text.partition("e")
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent):+03d}"
    return str(int(value)) if "e" in text else text


def to_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise no_overload("bytes")


def to_timestamp(value: Any) -> Timestamp:
    if isinstance(value, Timestamp):
        return value
    if isinstance(value, str):
        return values.timestamp(value)
    if type(value) is int:
        return _stamp(value * 10**9)
    raise no_overload("timestamp")


def to_duration(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    if isinstance(value, str):
        return _span(values.duration(value).nanos)
    if type(value) is int:
        return Duration(value)
    raise no_overload("duration")


# Parts of times


def _zoned(value: Timestamp, zone: str) -> Any:
    import datetime
    from zoneinfo import ZoneInfo

    if not zone or zone == "UTC":
        return value.time
    if zone[0] in "+-" or zone[0].isdigit():
        sign = -1 if zone[0] == "-" else 1
        hours, _, minutes = zone.lstrip("+-").partition(":")
        try:
            offset = datetime.timedelta(hours=sign * int(hours), minutes=sign * int(minutes or 0))
        except ValueError:
            raise EvaluationError(f"unknown time zone {zone}") from None
        return value.time.astimezone(datetime.timezone(offset))
    try:
        return value.time.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        raise EvaluationError(f"unknown time zone {zone}") from None


def _calendar(part: Callable[[Any], int]) -> Function:
    def got(value: Any, zone: str = "") -> int:
        if not isinstance(value, Timestamp):
            raise no_overload()
        return part(_zoned(value, zone))

    return got


def _clock(part: Callable[[Any], int], nanos: int, name: str) -> Function:
    def got(value: Any, zone: str = "") -> int:
        if isinstance(value, Duration):
            rest = abs(value.nanos) % 10**9 if name == "getMilliseconds" else abs(value.nanos)
            return rest // nanos * (-1 if value.nanos < 0 else 1)
        if not isinstance(value, Timestamp):
            raise no_overload()
        return part(_zoned(value, zone))

    return got


# Text


def _text(name: str, ask: Callable[[str, str], bool]) -> Function:
    def asked(value: Any, other: Any) -> bool:
        if isinstance(value, str) and isinstance(other, str):
            return ask(value, other)
        raise no_overload(name)

    return asked


# Lists


def _smallest(items: list[Any], name: str, choose: Callable[[Any, Any], bool]) -> Any:
    if not items:
        raise EvaluationError(f"{name} called on empty list")
    found = items[0]
    for item in items[1:]:
        if choose(item, found):
            found = item
    return found


def total(items: list[Any]) -> Any:
    found = items[0] if items else 0
    for item in items[1:]:
        found = add(found, item)
    return found


def _find(items: Any, wanted: Any, places: Callable[[int], Any]) -> int:
    for place in places(len(items)):
        if equal(items[place], wanted):
            return int(place)
    return -1


def distinct(items: list[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if not contained(item, found):
            found.append(item)
    return found


def flatten(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    found: list[Any] = []
    for item in items:
        if isinstance(item, list) and depth:
            found += flatten(item, depth - 1)
        else:
            found.append(item)
    return found


def cut(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvaluationError(
            f"cannot slice({start}, {end}), start index must be less than or equal to end index"
        )
    if end > len(items):
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


def numbers(count: int) -> list[int]:
    if not 0 <= count <= _LONGEST_RANGE:
        raise EvaluationError(f"lists.range: size {count} exceeds maximum allowed ({_LONGEST_RANGE})")
    return list(range(count))


def ordered(items: list[Any], keys: list[Any] | None = None) -> list[Any]:
    by = items if keys is None else keys
    if len({values.type_of(k) for k in by}) > 1:
        raise EvaluationError("list elements must have the same type")
    try:
        return [items[i] for i in sorted(range(len(items)), key=lambda i: by[i])]
    except TypeError:
        raise EvaluationError("list elements must be comparable") from None


def inserted(mapping: dict[Any, Any], key: Any, *value: Any) -> dict[Any, Any]:
    added = {key: value[0]} if value else key
    for name in added:
        if name in mapping:
            raise EvaluationError(f"insert failed: key {shown(name)} already exists")
    return {**mapping, **added}


# Optional values


def _value(found: Any) -> Any:
    if not isinstance(found, Optional):
        raise no_overload("value")
    if not found.present:
        raise EvaluationError("optional.none() dereference")
    return found.value


def _non_zero(value: Any) -> Optional:
    empty = value is None or value is False or (number(value) and value == 0)
    empty = empty or (isinstance(value, str | bytes | list | dict) and not value)
    empty = empty or (isinstance(value, Duration) and not value.nanos)
    return NONE if empty else Optional(value)


FUNCTIONS: dict[str, Function] = {
    "_+_": add, "_-_": subtract, "_*_": multiply, "_/_": divide, "_%_": modulo, "-_": negate, "!_": invert,
    "_==_": equal, "_!=_": lambda a, b: not equal(a, b),
    "_<_": _order("_<_", lambda a, b: a < b), "_<=_": _order("_<=_", lambda a, b: a <= b),
    "_>_": _order("_>_", lambda a, b: a > b), "_>=_": _order("_>=_", lambda a, b: a >= b),
    "_[_]": index, "_[?_]": optional_index, "@in": has_item, "size": size,
    "contains": _text("contains", lambda a, b: b in a), "startsWith": _text("startsWith", str.startswith),
    "endsWith": _text("endsWith", str.endswith),
    "type": lambda v: TypeValue(values.type_of(v)), "dyn": lambda v: v,
    "bool": to_bool, "int": to_int, "uint": to_uint, "double": to_double, "string": to_string, "bytes": to_bytes,
    "timestamp": to_timestamp, "duration": to_duration,
    "getFullYear": _calendar(lambda t: t.year), "getMonth": _calendar(lambda t: t.month - 1),
    "getDayOfYear": _calendar(lambda t: t.timetuple().tm_yday - 1), "getDate": _calendar(lambda t: t.day),
    "getDayOfMonth": _calendar(lambda t: t.day - 1), "getDayOfWeek": _calendar(lambda t: t.isoweekday() % 7),
    "getHours": _clock(lambda t: t.hour, 3600 * 10**9, "getHours"),
    "getMinutes": _clock(lambda t: t.minute, 60 * 10**9, "getMinutes"),
    "getSeconds": _clock(lambda t: t.second, 10**9, "getSeconds"),
    "getMilliseconds": _clock(lambda t: t.microsecond // 1000, 10**6, "getMilliseconds"),
    "optional.of": Optional, "optional.none": lambda: NONE, "optional.ofNonZeroValue": _non_zero,
    "value": _value, "hasValue": lambda o: o.present, "or": lambda o, other: o if o.present else other,
    "orValue": lambda o, other: o.value if o.present else other,
    "min": lambda items: _smallest(items, "min", FUNCTIONS["_<_"]),
    "max": lambda items: _smallest(items, "max", FUNCTIONS["_>_"]), "sum": total,
    "isSorted": lambda items: all(FUNCTIONS["_<=_"](a, b) for a, b in pairwise(items)),
    "includes": lambda items, wanted: has_item(wanted, items),
    "distinct": distinct, "flatten": flatten, "reverse": lambda v: v[::-1], "slice": cut, "sort": ordered,
    "lists.range": numbers, "@sortByAssociatedKeys": ordered,
    "first": lambda items: Optional(items[0]) if items else NONE,
    "last": lambda items: Optional(items[-1]) if items else NONE,
    "sets.contains": lambda a, b: all(contained(i, a) for i in b),
    "sets.equivalent": lambda a, b: all(contained(i, a) for i in b) and all(contained(i, b) for i in a),
    "sets.intersects": lambda a, b: any(contained(i, a) for i in b),
    "cel.@mapInsert": inserted,
}  # fmt: skip


def list_place(items: list[Any], wanted: Any) -> int:
    return _find(items, wanted, range)


def last_list_place(items: list[Any], wanted: Any) -> int:
    return _find(items, wanted, lambda n: range(n - 1, -1, -1))
