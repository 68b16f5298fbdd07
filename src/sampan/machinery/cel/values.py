"""Values at run time: plain JSON values, and a class for each type that JSON has not.

    int int (64 bits)    uint UInt    double float    bool, string, null: Python's    bytes bytes
    list list            map and object dict          timestamp Timestamp    duration Duration

A bool is no number here, although Python's is.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any

from sampan.machinery.cel.errors import EvaluationError

LARGEST, SMALLEST, LARGEST_UINT = (1 << 63) - 1, -(1 << 63), (1 << 64) - 1
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SECOND = 1_000_000_000


class UInt(int):
    """An unsigned integer of 64 bits."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time in nanoseconds."""

    nanos: int

    def __str__(self) -> str:
        seconds, rest = divmod(abs(self.nanos), _SECOND)
        part = f".{rest:09}".rstrip("0") if rest else ""
        return f"{'-' * (self.nanos < 0)}{seconds}{part}s"


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A point in time: nanoseconds since the epoch."""

    nanos: int

    @property
    def time(self) -> datetime.datetime:
        return _EPOCH + datetime.timedelta(microseconds=self.nanos // 1000)

    def __str__(self) -> str:
        rest = self.nanos % _SECOND
        part = f".{rest:09}".rstrip("0") if rest else ""
        return f"{self.time:%Y-%m-%dT%H:%M:%S}{part}Z"


@dataclass(frozen=True, slots=True)
class TypeValue:
    """The value of `type(x)` and of a type's name."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Optional:
    """A value that may be absent."""

    value: Any = None
    present: bool = True


NONE = Optional(None, False)

_STAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:([Zz])|([+-])(\d\d):(\d\d))"
)
_LENGTH = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 10**6,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}


def timestamp(text: str) -> Timestamp:
    """RFC 3339. Raises EvaluationError."""
    match = _STAMP.fullmatch(text)
    if not match:
        raise EvaluationError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}"')
    year, month, day, hour, minute, second = (int(g) for g in match.groups()[:6])
    try:
        plain = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError as e:
        raise EvaluationError(f'parsing time "{text}": {e}') from e
    offset = 0
    if match[9]:
        offset = (int(match[10]) * 3600 + int(match[11]) * 60) * (1 if match[9] == "+" else -1)
    whole = (plain - _EPOCH).days * 86400 + (plain - _EPOCH).seconds - offset
    return Timestamp(whole * _SECOND + int((match[7] or "0").ljust(9, "0")))


def duration(text: str) -> Duration:
    """As Go writes durations: `1h30m`, `-1.5s`. Raises EvaluationError."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    total, at = 0, 0
    for match in _LENGTH.finditer(rest):
        if match.start() != at:
            break
        whole, _, part = match[1].partition(".")
        unit = _UNITS[match[2]]
        total += int(whole or "0") * unit + int(part or "0") * unit // 10 ** len(part)
        at = match.end()
    if rest != "0" and (not rest or at != len(rest)):
        raise EvaluationError(f'time: invalid duration "{text}"')
    return Duration(sign * total)


def type_of(value: Any) -> str:
    """The name of a value's type."""
    match value:
        case None:
            return "null_type"
        case bool():
            return "bool"
        case UInt():
            return "uint"
        case int():
            return "int"
        case float():
            return "double"
        case str():
            return "string"
        case bytes():
            return "bytes"
        case dict():
            return "map"
        case list():
            return "list"
        case Timestamp():
            return "google.protobuf.Timestamp"
        case Duration():
            return "google.protobuf.Duration"
        case Optional():
            return "optional_type"
        case TypeValue():
            return "type"
    return str(getattr(value, "type_name", type(value).__name__))


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(a: Any, b: Any) -> bool:
    """CEL's equality: deep, numbers by value whatever their types, all else only within one type."""
    kind = type(a)
    if kind is str or kind is bool or a is None:
        return kind is type(b) and bool(a == b)
    if isinstance(a, list):
        if not isinstance(b, list) or len(a) != len(b):
            return False
        compare = getattr(a, "same_items", None) or getattr(b, "same_items", None)
        if compare:
            return bool(compare(a, b))
        return all(equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return (
            isinstance(b, dict) and len(a) == len(b) and all(k in b and equal(v, b[k]) for k, v in a.items())
        )
    if number(a):
        return number(b) and bool(a == b)
    if isinstance(a, Optional):
        return isinstance(b, Optional) and a.present == b.present and equal(a.value, b.value)
    return kind is type(b) and bool(a == b)


def contained(item: Any, items: list[Any]) -> bool:
    """Whether a list has an item that equals this one."""
    return item in items if isinstance(item, str) else any(equal(item, i) for i in items)


class SetList(list[Any]):
    """A list that is a set (`x-kubernetes-list-type: set`): its order is of no account."""

    __slots__ = ()

    @staticmethod
    def same_items(a: list[Any], b: list[Any]) -> bool:
        return all(contained(x, b) for x in a) and all(contained(y, a) for y in b)

    def plus(self, other: list[Any]) -> SetList:
        return SetList([*self, *(o for o in other if not contained(o, self))])


class MapList(list[Any]):
    """A list that is a map by some keys (`x-kubernetes-list-type: map`): its order is of no account."""

    __slots__ = ("keys",)

    def __init__(self, items: list[Any], keys: tuple[str, ...]):
        super().__init__(items)
        self.keys = keys

    def _by_key(self, items: list[Any]) -> dict[str, Any]:
        return {repr([i.get(k) for k in self.keys]): i for i in items}

    def same_items(self, a: list[Any], b: list[Any]) -> bool:
        mine, theirs = self._by_key(a), self._by_key(b)
        return mine.keys() == theirs.keys() and all(equal(v, theirs[k]) for k, v in mine.items())

    def plus(self, other: list[Any]) -> MapList:
        return MapList(list({**self._by_key(self), **self._by_key(other)}.values()), self.keys)


def size(value: Any) -> int:
    """How large a value counts: what it has of characters, bytes, items or entries; else 1."""
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    if isinstance(value, Optional) and value.present:
        return size(value.value)
    return int(getattr(value, "cel_size", 1))
