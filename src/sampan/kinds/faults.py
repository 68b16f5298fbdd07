"""Faults in upstream's wording, one function for each reason.

Source: apimachinery, pkg/util/validation/field.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sampan.kinds.kind import Invalid

IMMUTABLE = "field is immutable"


def _shown(value: Any) -> str:
    """A value as Go prints it in these messages: strings quoted, objects as JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def required(path: str, detail: str = "") -> Invalid:
    return Invalid(path, "FieldValueRequired", "Required value" + (f": {detail}" if detail else ""))


def invalid(path: str, value: Any, detail: str) -> Invalid:
    return Invalid(path, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {detail}")


def each_invalid(path: str, value: Any, details: Iterable[str]) -> list[Invalid]:
    return [invalid(path, value, d) for d in details]


def unsupported(path: str, value: Any, supported: Iterable[str]) -> Invalid:
    listed = ", ".join(_shown(s) for s in supported)
    return Invalid(
        path, "FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {listed}"
    )


def duplicate(path: str, value: Any) -> Invalid:
    return Invalid(path, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}")


def forbidden(path: str, detail: str) -> Invalid:
    return Invalid(path, "FieldValueForbidden", f"Forbidden: {detail}")


def not_found(path: str, value: Any) -> Invalid:
    return Invalid(path, "FieldValueNotFound", f"Not found: {_shown(value)}")


def too_long(path: str, limit: int) -> Invalid:
    return Invalid(
        path, "FieldValueTooLong", f"Too long: may not be more than {limit} byte{'s' * (limit != 1)}"
    )


def too_many(path: str, count: int, limit: int) -> Invalid:
    detail = f"Too many: {count}: must have at most {limit} item{'s' * (limit != 1)}"
    return Invalid(path, "FieldValueTooMany", detail)


def immutable(path: str, new: Any, old: Any) -> list[Invalid]:
    """A fault where a field that may not change has changed; absent and empty are the same."""
    return [] if (new or None) == (old or None) else [invalid(path, new, IMMUTABLE)]


def not_negative(path: str, value: int | None) -> list[Invalid]:
    if value is None or value >= 0:
        return []
    return [invalid(path, value, "must be greater than or equal to 0")]


def one_of(path: str, value: Any, supported: tuple[str, ...], *, needed: bool = False) -> list[Invalid]:
    """A fault where a value is none of an enumeration; an absent one only where it is needed."""
    if not value:
        return [required(path)] if needed else []
    return [] if value in supported else [unsupported(path, value, supported)]
