"""Quantities: exact decimal numbers with a suffix, such as `100m`, `1.5Gi`, `2e3`.

A value keeps its family of suffixes (decimal, binary, exponent) through arithmetic, and is rounded up to
whole nano-units, as upstream's is. Source: the API reference of resource.Quantity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, total_ordering

_PATTERN = re.compile(
    r"([+-]?)(\d+\.?\d*|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?", re.ASCII
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_BY_EXPONENT = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BY_BITS = {bits: suffix for suffix, bits in _BINARY.items()}
_NANO = 10**9
# Upstream clamps what does not fit 63 bits; no quantity that means something comes near.
_LARGEST = (2**63 - 1) * _NANO

DECIMAL, BINARY, EXPONENT = "DecimalSI", "BinarySI", "DecimalExponent"
FAULT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@total_ordering
@dataclass(frozen=True, slots=True)
class Quantity:
    """`nano` is the value in billionths; two quantities are equal where their values are."""

    nano: int
    form: str = DECIMAL

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nano == other.nano

    def __hash__(self) -> int:
        return hash(self.nano)

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano + other.nano, self._form_with(other))

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nano - other.nano, self._form_with(other))

    def __neg__(self) -> Quantity:
        return Quantity(-self.nano, self.form)

    def __bool__(self) -> bool:
        return self.nano != 0

    def _form_with(self, other: Quantity) -> str:
        """A zero takes the other's form, as upstream's sums do."""
        return other.form if self.nano == 0 else self.form

    @property
    def value(self) -> int:
        """Whole units, rounded up: bytes of memory, cores."""
        return _up(self.nano, _NANO)

    @property
    def milli(self) -> int:
        """Thousandths, rounded up: CPU shares are counted so."""
        return _up(self.nano, 10**6)

    @property
    def number(self) -> float:
        return self.nano / _NANO

    def __str__(self) -> str:
        """The canonical form: no fraction, the largest suffix that allows that."""
        if self.form == BINARY and abs(self.nano) >= 1024 * _NANO and self.nano % _NANO == 0:
            return _binary(self.nano // _NANO)
        return _decimal(self.nano, self.form)


ZERO = Quantity(0)


def _up(number: int, unit: int) -> int:
    return -(-number // unit)


def _away_from_zero(number: Fraction) -> int:
    rounded = _up(abs(number).numerator, number.denominator)
    return -rounded if number < 0 else rounded


@lru_cache(4096)
def parse(text: str | int | float) -> Quantity:
    """A quantity from its text; a JSON number is taken as if it were quoted. Raises ValueError."""
    match = _PATTERN.fullmatch(str(text).strip())
    if not match:
        raise ValueError(FAULT)
    sign, digits, suffix = match[1], match[2], match[3] or ""
    number = Fraction(digits if not digits.endswith(".") else digits + "0")
    if suffix in _BINARY:
        number, form = number * (1 << _BINARY[suffix]), BINARY
    elif suffix in _DECIMAL:
        number, form = number * Fraction(10) ** _DECIMAL[suffix], DECIMAL
    else:
        number, form = number * Fraction(10) ** max(-64, min(64, int(suffix[1:]))), EXPONENT
    if sign == "-":
        number = -number
    nano = _away_from_zero(number * _NANO)
    return Quantity(max(-_LARGEST, min(_LARGEST, nano)), form)


def canonical(text: str | int | float) -> str:
    """The canonical form of a quantity's text. Raises ValueError."""
    return str(parse(text))


def _binary(number: int) -> str:
    bits = 0
    while bits < 60 and number % 1024 == 0:
        number, bits = number // 1024, bits + 10
    return f"{number}{_BY_BITS.get(bits, '')}"


def _decimal(nano: int, form: str) -> str:
    if nano == 0:
        return "0"
    exponent = -9
    while exponent < 18 and nano % 1000 == 0:
        nano, exponent = nano // 1000, exponent + 3
    if form == EXPONENT:
        return f"{nano}e{exponent}" if exponent else str(nano)
    return f"{nano}{_BY_EXPONENT[exponent]}"
