"""What expressions cost, counted and estimated: the figures are the original's, since users' rules hang on them."""

from __future__ import annotations

import pytest

from sampan.machinery.cel import compile_, openapi
from sampan.machinery.cel.estimates import Range, estimate

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "items": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 20}},
        "free": {"type": "array", "items": {"type": "string"}},
        "a-b": {"type": "integer"},
        "when": {"type": "string", "format": "date-time"},
        "share": {"type": "number"},
    },
}


@pytest.mark.parametrize(
    ("expression", "estimated", "counted"),
    [
        ("1 + 1 == 2", Range(2, 2), 2),
        ("[1, 2, 3, 4, 5].sum()", Range(15, 15), 15),
        ("'abc'.contains('b')", Range(1, 1), 1),
        ("'abc 123 def 123'.split(' ')", Range(3, 3), 3),
        ("sets.contains([1, 2], [2])", Range(23, 23), 23),
        ("ip('192.168.0.1').family()", Range(3, 3), 3),
    ],
)
def test_estimated_and_counted(expression: str, estimated: Range, counted: int) -> None:
    program = compile_(expression, {})
    assert estimate(program.checked) == estimated
    assert program.run({}).cost == counted


@pytest.mark.parametrize(
    ("expression", "most"),
    [
        # A name and a field cost one each, a comparison one for ten bytes; a character may have four bytes.
        ("self.name == 'x'", 2 + 1),
        # Each of five items costs the loop and the comparison with up to 80 bytes.
        ("self.items.all(i, i.startsWith('x'))", 2 + 5 * 5 + 1),
    ],
)
def test_limits_of_a_schema_bound_the_estimate(expression: str, most: int) -> None:
    type_ = openapi.type_of(SCHEMA)
    assert type_ is not None
    assert estimate(compile_(expression, {"self": type_}).checked).most == most


def test_what_nothing_bounds_is_bounded_by_the_largest_request() -> None:
    type_ = openapi.type_of(SCHEMA)
    assert type_ is not None
    most = estimate(compile_("self.free.all(i, i == 'x')", {"self": type_}).checked).most
    assert most > 1_000_000


def test_names_and_values_come_into_the_form_of_expressions() -> None:
    type_ = openapi.type_of(SCHEMA)
    assert type_ is not None
    assert type_.convert is not None
    program = compile_(
        "self.a__dash__b == 1 && self.when.getFullYear() == 2024 && self.share / 2.0 == 1.5", {"self": type_}
    )
    assert program.evaluate({"self": type_.convert({"a-b": 1, "when": "2024-05-01T00:00:00Z", "share": 3})})
