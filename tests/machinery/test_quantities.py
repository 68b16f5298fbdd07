"""Quantities, by the examples of the API reference and by the laws of arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery import quantities
from sampan.machinery.quantities import Quantity, parse

SUFFIXES = ("", "n", "u", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.5", "500m"), ("1.5", "1500m"), ("1000m", "1"), ("1.5Gi", "1536Mi"), ("1024Mi", "1Gi"), ("1000", "1k"),
        ("1e3", "1e3"), ("12e6", "12e6"), ("128974848", "128974848"), ("129M", "129M"), ("123Mi", "123Mi"),
        ("0", "0"), ("0Ki", "0"), ("-1500m", "-1500m"), (".5", "500m"), ("+2", "2"), ("0.1n", "1n"), ("1.5Ki", "1536"),
        ("0.5Ki", "512"), ("100u", "100u"), (2, "2"), (0.25, "250m"), ("2000k", "2M"),
    ],
)  # fmt: skip
def test_canonical_form(text: str, canonical: str) -> None:
    assert quantities.canonical(text) == canonical


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1KiB", "Mi", "1 Gi", "--1", "1e", "0x10", "1mm"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        parse(text)


def test_values_round_up() -> None:
    assert parse("1500m").value == 2
    assert parse("0.1m").milli == 1
    assert parse("1Gi").value == 2**30
    assert parse("-1500m").value == -1


def test_a_sum_keeps_the_form_of_what_is_not_zero() -> None:
    assert str(parse("0") + parse("1Gi")) == "1Gi"
    assert str(parse("512Mi") + parse("512M")) == "1024288Ki"
    assert str(parse("100m") + parse("900m")) == "1"


numbers = st.builds(
    lambda number, suffix: f"{number}{suffix}", st.integers(-(10**6), 10**6), st.sampled_from(SUFFIXES)
)


@given(numbers)
def test_the_canonical_form_means_the_same(text: str) -> None:
    assert parse(quantities.canonical(text)) == parse(text)
    assert quantities.canonical(quantities.canonical(text)) == quantities.canonical(text)


@given(numbers, numbers, numbers)
def test_addition_and_order(a: str, b: str, c: str) -> None:
    x, y, z = parse(a), parse(b), parse(c)
    assert x + y == y + x
    assert (x + y) + z == x + (y + z)
    assert (x + y) - y == x
    assert (x < y) == (x + z < y + z)
    assert x + -x == Quantity(0)
