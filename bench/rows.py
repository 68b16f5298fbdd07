"""A figure with what it is compared with, and tables of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `peer` is what the industry's own needs, measured on the same kind of machine; `reach` our goal."""

    what: str
    value: str
    cpu: str = ""
    peer: str = ""
    reach: str = ""


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, aligned so that it reads well as text too."""
    cells = [
        ("what", "value", "CPU", "peer", "reach"),
        *((r.what, r.value, r.cpu, r.peer, r.reach) for r in rows),
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def spread(values: Sequence[float], unit: str, digits: int = 0) -> str:
    """The median with the least and the greatest: `12 ms (11 to 19)`."""
    shown = [f"{v:.{digits}f}" for v in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} {unit} ({shown[1]} to {shown[2]})"
