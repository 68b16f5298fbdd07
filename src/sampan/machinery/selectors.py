"""Label and field selectors: their text, their object form, and what they match.

Sources: the concepts' pages on labels and selectors, and on field selectors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sampan.machinery import names

IN, NOT_IN, EXISTS, ABSENT, GREATER, LESS = "in", "notin", "exists", "!", "gt", "lt"
EQUAL, NOT_EQUAL = "=", "!="
_OBJECT_OPERATORS = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": ABSENT}
_TOKEN = re.compile(r"\s*(==|!=|[=!,()<>]|[^\s=!,()<>]+)")
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


class SelectorError(ValueError):
    """The selector cannot be parsed, or is not valid; the text says why."""


def is_integer(text: str) -> bool:
    """Whether a text is a whole number of 64 bits: what Gt and Lt compare."""
    return bool(_INTEGER.fullmatch(text)) and -(2**63) <= int(text) < 2**63


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        if value is None or not is_integer(value):
            return False
        return (
            int(value) > int(self.values[0]) if self.operator == GREATER else int(value) < int(self.values[0])
        )

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == GREATER else '<'}{self.values[0]}"
        return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; an empty selector matches everything, `nothing` nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        return not self.nothing and all(r.matches(labels or {}) for r in self.requirements)

    def __bool__(self) -> bool:
        """Whether it restricts anything."""
        return self.nothing or bool(self.requirements)

    def __str__(self) -> str:
        return ",".join(str(r) for r in sorted(self.requirements, key=lambda r: r.key))


NOTHING = Selector(nothing=True)


@lru_cache(1024)
def parse(text: str) -> Selector:
    """A label selector such as `app=web,tier in (a,b),!old`. Raises SelectorError."""
    parser = _Parser(text)
    found: list[Requirement] = []
    while parser.token:
        found.append(_checked(parser.requirement()))
        if not parser.token:
            break
        parser.expect(",")
        if not parser.token:
            raise SelectorError("found '', expected: identifier after ','")
    return Selector(tuple(found))


class _Parser:
    """A reader of one token after another; `token` is the one ahead, empty at the end."""

    def __init__(self, text: str):
        self.tokens = [m[1] for m in _TOKEN.finditer(text.strip())]
        self.at = 0

    @property
    def token(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.token
        self.at += 1
        return token

    def expect(self, *wanted: str) -> str:
        token = self.take()
        if token not in wanted:
            raise SelectorError(
                f"unable to parse requirement: found '{token}', expected: {', '.join(wanted)}"
            )
        return token

    def word(self) -> str:
        token = self.take()
        if not token or token in "=!,()<>" or token in ("==", "!="):
            raise SelectorError(f"unable to parse requirement: found '{token}', expected: identifier")
        return token

    def requirement(self) -> Requirement:
        if self.token == "!":
            self.take()
            return Requirement(self.word(), ABSENT)
        key = self.word()
        if self.token in ("", ","):
            return Requirement(key, EXISTS)
        operator = self.expect("in", "notin", "=", "==", "!=", ">", "<")
        if operator in (IN, NOT_IN):
            return Requirement(key, operator, self.values())
        operator = {"==": EQUAL, ">": GREATER, "<": LESS}.get(operator, operator)
        return Requirement(key, operator, (self.value(),))

    def value(self) -> str:
        return "" if self.token in ("", ",") else self.word()

    def values(self) -> tuple[str, ...]:
        self.expect("(")
        found: list[str] = []
        while True:
            found.append("" if self.token in (",", ")") else self.word())
            if self.expect(",", ")") == ")":
                return tuple(found)


def _checked(found: Requirement) -> Requirement:
    faults = names.qualified(found.key)
    if faults:
        raise SelectorError(f'key: Invalid value: "{found.key}": {"; ".join(faults)}')
    for index, value in enumerate(found.values):
        if found.operator in (GREATER, LESS):
            if not _INTEGER.fullmatch(value):
                raise SelectorError(f"values[{index}]: Invalid value: {value!r}: for 'Gt', 'Lt' operators, "
                                    "the value must be an integer")  # fmt: skip
        elif faults := names.label_value(value):
            raise SelectorError(
                f'values[{index}][{found.key}]: Invalid value: "{value}": {"; ".join(faults)}'
            )
    return found


def of(selector: Mapping[str, Any] | None) -> Selector:
    """A LabelSelector object as a selector; None selects nothing, an empty one everything. Raises SelectorError."""
    if selector is None:
        return NOTHING
    found = [Requirement(k, EQUAL, (v,)) for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for item in selector.get("matchExpressions") or ():
        operator = _OBJECT_OPERATORS.get(item.get("operator", ""))
        if operator is None:
            raise SelectorError(f'"{item.get("operator", "")}" is not a valid label selector operator')
        values = tuple(item.get("values") or ())
        if (operator in (IN, NOT_IN)) != bool(values):
            wanted = "must be specified" if not values else "must not be specified"
            raise SelectorError(f"values: {wanted} when `operator` is '{item['operator']}'")
        found.append(Requirement(item["key"], operator, values))
    return Selector(tuple(found))


def of_labels(labels: Mapping[str, str] | None) -> Selector:
    """A map of labels, as in a Service's selector; None or an empty one selects nothing."""
    if not labels:
        return NOTHING
    return Selector(tuple(Requirement(k, EQUAL, (v,)) for k, v in sorted(labels.items())))


@lru_cache(1024)
def parse_fields(text: str) -> Selector:
    """A field selector such as `status.phase!=Running,spec.nodeName=n1`; `\\` escapes `,`, `=` and itself.

    Raises SelectorError.
    """
    found = []
    for term in filter(None, _split_escaped(text)):
        match = re.match(r"((?:[^\\=!]|\\.)*?)(==|!=|=)(.*)", term, re.DOTALL)
        if not match:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{term}'")
        operator = NOT_EQUAL if match[2] == NOT_EQUAL else EQUAL
        found.append(Requirement(match[1], operator, (_unescaped(match[3]),)))
    return Selector(tuple(found))


def _split_escaped(text: str) -> list[str]:
    """Split at commas that no backslash escapes."""
    return re.findall(r"(?:[^\\,]|\\.)+", text, re.DOTALL)


def _unescaped(value: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[1] not in ("\\", ",", "="):
            raise SelectorError(f"invalid field selector: invalid escape sequence: {match[0]}")
        return match[1]

    return re.sub(r"\\(.)", one, value, flags=re.DOTALL)
