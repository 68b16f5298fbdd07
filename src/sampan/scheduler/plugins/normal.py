"""Arithmetic that plugins share: scores brought into 0 to 100, and Go's ways to divide and round."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sampan.scheduler.framework import MAX_SCORE


def most_is_best(scores: Sequence[int]) -> list[int]:
    """The highest becomes 100, the others in proportion."""
    top = max(scores, default=0)
    return [MAX_SCORE * score // top for score in scores] if top > 0 else list(scores)


def fewest_is_best(scores: Sequence[int]) -> list[int]:
    """The highest becomes 0, the others in proportion; all 100 where all are 0."""
    top = max(scores, default=0)
    return [MAX_SCORE - MAX_SCORE * score // top if top > 0 else MAX_SCORE for score in scores]


def quotient(a: int, b: int) -> int:
    """a / b towards zero."""
    return -(-a // b) if (a < 0) != (b < 0) else a // b


def rounded(number: float) -> int:
    """The nearest whole number, halves away from zero."""
    whole = math.trunc(number)
    return whole + int(math.copysign(1, number)) if abs(number - whole) >= 0.5 else whole


def broken_line(shape: Sequence[tuple[int, int]], at: int) -> int:
    """The height at `at` of a line through points (x, y) in the order of x, level beyond its ends."""
    for index, (x, y) in enumerate(shape):
        if at <= x:
            if index == 0:
                return y
            left, low = shape[index - 1]
            return low + quotient((y - low) * (at - left), x - left)
    return shape[-1][1]
