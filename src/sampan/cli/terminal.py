"""What a user sees while waiting: one line a step, with its time, redrawn in place on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def tty() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show `what` while the block runs, and how long it took when it ends."""
    begun = time.perf_counter()
    if sys.stderr.isatty():
        print(f"  … {what}", end="", file=sys.stderr, flush=True)
    try:
        yield
    except BaseException:
        _end("✗", what, begun)
        raise
    _end("✓", what, begun)


def _end(mark: str, what: str, begun: float) -> None:
    start = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{start}  {mark} {what}  ({time.perf_counter() - begun:.2f} s)", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """A line beside the steps."""
    print(f"    {text}", file=sys.stderr, flush=True)


def confirm(question: str) -> bool:
    """Ask for a yes; without a terminal to ask on, the answer is no."""
    if not tty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as columns, as kubectl lays them out: three spaces between, no trailing space."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
