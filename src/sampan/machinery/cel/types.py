"""Static types, and which value of one type may stand where another is expected.

Source: the CEL language definition, "Gradual Type Checking"; cel-go's checker/types.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Type:
    """`name` with parameters. `most` bounds the size of its values, None where nothing does, and `least` is how short
    its JSON can be; neither is part of the type.

    An object has `fields`; `convert` brings a plain JSON value into the form that expressions see, None where it is
    that already.
    """

    name: str
    params: tuple[Type, ...] = ()
    most: int | None = field(default=None, compare=False)
    fields: Mapping[str, Field] | None = field(default=None, compare=False)
    convert: Callable[[Any], Any] | None = field(default=None, compare=False)
    least: int = field(default=1, compare=False)

    def __str__(self) -> str:
        if self.name == "type":
            return f"type({self.params[0]})" if self.params else "type"
        if self.params:
            return f"{self.name}({', '.join(str(p) for p in self.params)})"
        return self.name

    @property
    def variable(self) -> bool:
        return self.name.startswith("$")


@dataclass(frozen=True, slots=True)
class Field:
    """`key` is the name in the object, which may be no identifier."""

    type: Type
    key: str
    required: bool = False


DYN, ERROR = Type("dyn"), Type("!error!")
BOOL, INT, UINT, DOUBLE, STRING, BYTES = (
    Type(n) for n in ("bool", "int", "uint", "double", "string", "bytes")
)
NULL = Type("null")
TIMESTAMP, DURATION = Type("timestamp"), Type("duration")
TYPE = Type("type")
# The types that have no parts, by the names that expressions and declarations use.
PLAIN = {t.name: t for t in (DYN, BOOL, INT, UINT, DOUBLE, STRING, BYTES, NULL, TIMESTAMP, DURATION, TYPE)}
# Where null may stand, beside null itself.
_NOT_NULLABLE = frozenset({"bool", "int", "uint", "double", "string", "bytes", "list", "map", "type"})


def list_of(item: Type, most: int | None = None) -> Type:
    return Type("list", (item,), most)


def map_of(key: Type, value: Type, most: int | None = None) -> Type:
    return Type("map", (key, value), most)


def optional_of(value: Type) -> Type:
    return Type("optional_type", (value,))


def object_of(name: str, fields: Mapping[str, Field], convert: Callable[[Any], Any] | None = None) -> Type:
    return Type(name, (), None, fields, convert)


@cache
def parse(text: str) -> Type:
    """A type as declarations write it: `list(T)`, `map(K, V)`; a single capital letter is a variable."""
    name, opened, inside = text.strip().partition("(")
    if not opened:
        return Type(f"${name}") if len(name) == 1 and name.isupper() else PLAIN.get(name, Type(name))
    return Type(name, tuple(parse(p) for p in split(inside[:-1])))


def split(text: str) -> list[str]:
    """The parts between the outermost commas."""
    parts, depth, begin = [], 0, 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            parts.append(text[begin:at])
            begin = at + 1
    return [p.strip() for p in (*parts, text[begin:]) if p.strip()]


class Bindings:
    """What type variables stand for, so far."""

    def __init__(self) -> None:
        self.found: dict[str, Type] = {}
        self._fresh = 0

    def fresh(self, types: tuple[Type, ...]) -> tuple[Type, ...]:
        """The types of one declaration with variables of their own."""
        self._fresh += 1
        return tuple(self._renamed(t, str(self._fresh)) for t in types)

    def _renamed(self, type_: Type, suffix: str) -> Type:
        if type_.variable:
            return Type(f"{type_.name}{suffix}")
        if not type_.params:
            return type_
        return Type(type_.name, tuple(self._renamed(p, suffix) for p in type_.params))

    def variable(self) -> Type:
        self._fresh += 1
        return Type(f"$_{self._fresh}")

    def resolved(self, type_: Type, final: bool = False) -> Type:
        """The type with what its variables stand for; with `final`, free ones are dyn."""
        if type_.variable:
            bound = self.found.get(type_.name)
            if bound is None:
                return DYN if final else type_
            return self.resolved(bound, final)
        if not type_.params:
            return type_
        params = tuple(self.resolved(p, final) for p in type_.params)
        return (
            type_
            if params == type_.params
            else Type(type_.name, params, type_.most, type_.fields, None, type_.least)
        )

    def assignable(self, to: Type, given: Type) -> bool:
        """Whether a value of type `given` may stand where `to` is expected; binds variables."""
        to, given = self._top(to), self._top(given)
        if to.variable or given.variable:
            return self._bound(to, given)
        if "dyn" in (to.name, given.name) or "!error!" in (to.name, given.name):
            return True
        if given.name == "null" or to.name == "null":
            other = to if given.name == "null" else given
            return given.name == to.name or (given.name == "null" and other.name not in _NOT_NULLABLE)
        if to.name != given.name:
            return False
        if to.name == "type":
            return True
        return len(to.params) == len(given.params) and all(
            self.assignable(a, b) for a, b in zip(to.params, given.params, strict=True)
        )

    def _top(self, type_: Type) -> Type:
        while type_.variable and type_.name in self.found:
            type_ = self.found[type_.name]
        return type_

    def _bound(self, to: Type, given: Type) -> bool:
        if to == given:
            return True
        variable, other = (to, given) if to.variable else (given, to)
        if _occurs(variable, other):
            return False
        self.found[variable.name] = other
        return True

    def joined(self, a: Type, b: Type) -> Type:
        """A type for both, which is dyn where neither is the other's."""
        if self.assignable(a, b):
            return DYN if b.name == "dyn" else a
        return b if self.assignable(b, a) else DYN


def _occurs(variable: Type, inside: Type) -> bool:
    return variable == inside or any(_occurs(variable, p) for p in inside.params)
