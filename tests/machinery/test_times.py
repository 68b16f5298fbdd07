"""Times and ages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery import times


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"), (59, "59s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (600, "10m"), (10799, "179m"),
        (10800, "3h"), (11520, "3h12m"), (8 * 3600, "8h"), (47 * 3600, "47h"), (48 * 3600, "2d"),
        (75 * 3600, "3d3h"), (8 * 86400, "8d"), (729 * 86400, "729d"), (730 * 86400, "2y"), (800 * 86400, "2y70d"),
        (9 * 365 * 86400, "9y"), (-1, "0s"), (-5, "<invalid>"),
    ],
)  # fmt: skip
def test_ages_get_coarser_with_time(seconds: int, shown: str) -> None:
    assert times.human(seconds) == shown


def test_reading_offsets_and_fractions() -> None:
    assert times.seconds("1970-01-01T00:00:01Z") == 1
    assert times.seconds("1970-01-01T01:00:00+01:00") == 0
    assert times.seconds("1969-12-31T23:00:00-01:00") == 0
    assert times.split("2026-01-02T03:04:05.000006Z")[1] == 6000
    assert times.time(times.seconds("2026-01-02T03:04:05.9Z")) == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-01-02", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        times.seconds(text)


@given(st.integers(0, 4_000_000_000))
def test_a_time_reads_back(seconds: int) -> None:
    assert times.seconds(times.time(seconds)) == seconds
    assert times.seconds(times.micro_time(seconds)) == seconds


def test_an_age_of_what_never_was() -> None:
    assert times.age(None, 0) == "<unknown>"
    assert times.age("1970-01-01T00:00:00Z", 42) == "42s"


def test_early_years_have_four_digits_too() -> None:
    assert times.micro_time(-62135596798) == "0001-01-01T00:00:02.000000Z"
    assert times.time(-62135596798) == "0001-01-01T00:00:02Z"
