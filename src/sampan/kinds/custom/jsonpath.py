"""JSON paths as printer columns have them: `.spec.a`, `['b.c']`, `[0]`, `[*]`, `[?(@.type=="Ready")].status`.

Source: k8s.io/client-go util/jsonpath, without its templates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sampan.machinery.cel import values

Step = Callable[[list[Any]], list[Any]]
_WORD = re.compile(r"\.\.?((?:\\.|[^.\[\]\\])+|\*)")
_QUOTED = re.compile(r"\[\s*(?:'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\")\s*\]")
_SLICE = re.compile(r"\[\s*(-?\d+)?\s*(:?)\s*(-?\d+)?\s*\]")
_ANY = re.compile(r"\[\s*\*\s*\]")
_FILTER = re.compile(r"\[\?\(\s*@(.*?)\s*(?:(==|!=|<=|>=|<|>)\s*(.*?))?\s*\)\]")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": values.equal, "!=": lambda a, b: not values.equal(a, b), "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


class JsonPathError(ValueError):
    """A text is no path that we know."""


def find(obj: Any, path: str) -> list[Any]:
    """Every value at a path; none where something on the way is missing. Raises JsonPathError."""
    found = [obj]
    for step in parsed(path):
        found = step(found)
    return found


@lru_cache(1000)
def parsed(path: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    at = 0
    while at < len(path):
        for pattern, make in _STEPS:
            if match := pattern.match(path, at):
                steps.append(make(match))
                at = match.end()
                break
        else:
            if path[at:] == ".":
                break
            raise JsonPathError(f"unrecognized character in a JSON path: {path[at:]!r}")
    return tuple(steps)


def _word(match: re.Match[str]) -> Step:
    name = re.sub(r"\\(.)", r"\1", match[1])
    if match[0].startswith(".."):
        return lambda found: [v for f in found for v in _deep(f, name)]
    return _all if name == "*" else _named(name)


def _named(name: str) -> Step:
    return lambda found: [f[name] for f in found if isinstance(f, dict) and name in f]


def _deep(value: Any, name: str) -> list[Any]:
    found: list[Any] = []
    if isinstance(value, dict):
        found += [value[name]] if name in value else []
        for inner in value.values():
            found += _deep(inner, name)
    elif isinstance(value, list):
        for inner in value:
            found += _deep(inner, name)
    return found


def _all(found: list[Any]) -> list[Any]:
    return [
        v for f in found for v in (f.values() if isinstance(f, dict) else f if isinstance(f, list) else ())
    ]


def _slice(match: re.Match[str]) -> Step:
    start, colon, end = match.groups()
    first, last = int(start or 0), int(end) if end else None

    def cut(found: list[Any]) -> list[Any]:
        lists = [f for f in found if isinstance(f, list)]
        if colon:
            return [v for f in lists for v in f[first:last]]
        return [f[first] for f in lists if -len(f) <= first < len(f)]

    return cut


def _filtered(match: re.Match[str]) -> Step:
    inner, operator, literal = match.groups()

    def meets(item: Any) -> bool:
        found = find(item, inner)
        if not operator:
            return bool(found)
        wanted = find(item, literal[1:])[:1] if literal.startswith("@") else [_literal(literal)]
        try:
            return bool(found and wanted) and _COMPARE[operator](found[0], wanted[0])
        except TypeError:
            return False

    return lambda found: [v for f in found if isinstance(f, list) for v in f if meets(v)]


def _literal(text: str) -> Any:
    if text[:1] in "'\"" and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise JsonPathError(f"unrecognized literal in a JSON path: {text}") from None


_STEPS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Step]], ...] = (
    (_ANY, lambda match: _all),
    (_QUOTED, lambda match: _named(re.sub(r"\\(.)", r"\1", match[1] if match[1] is not None else match[2]))),
    (_FILTER, _filtered),
    (_SLICE, _slice),
    (_WORD, _word),
)
