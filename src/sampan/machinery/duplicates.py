"""Fields that a JSON text says twice: readers take the last, and strict ones complain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


class _Map(dict[str, Any]):
    """A map that knows which of its keys came again."""

    again: tuple[str, ...] = ()


def _noted(pairs: list[tuple[str, Any]]) -> _Map:
    found = _Map(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        found.again = tuple(dict.fromkeys(k for k, _ in pairs if k in seen or seen.add(k)))  # type: ignore[func-returns-value]
    return found


def fields(text: bytes) -> list[str]:
    """The paths of fields that come twice in a text, such as `spec.containers[0].name`; the text is JSON."""
    return list(_paths(json.loads(text, object_pairs_hook=_noted), ""))


def _paths(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, _Map):
        yield from (f"{at}.{name}".lstrip(".") for name in value.again)
        for name, item in value.items():
            yield from _paths(item, f"{at}.{name}".lstrip("."))
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from _paths(item, f"{at}[{n}]")
