"""The solver in a process of its own, which may be killed at any time and must be done by a deadline."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import orjson

from sampan.host import process
from sampan.scheduler.batch.problem import Ints, Packing, Problem

# What starting it and its last words may take beyond the time to think.
GRACE = 5.0


class SolverFailed(Exception):
    """The solver gave no packing at all; the message says why."""


async def solve(problem: Problem, objective: str, seconds: float, order: Ints) -> Packing:
    """The best packing found in `seconds`. Raises SolverFailed where there is none, not where it was cut short."""
    asked = orjson.dumps({"problem": problem.to_json(), "objective": objective, "order": order.tolist()})
    with tempfile.TemporaryDirectory(prefix="sampan-batch-") as scratch:
        target = Path(scratch) / "packing.json"
        command = [sys.executable, "-m", "sampan.scheduler.batch", str(target), str(seconds)]
        why = ""
        try:
            await process.run(*command, input=asked, timeout=seconds + GRACE, env=_environment())
        except process.ProcessError as e:
            why = str(e)
        try:
            found = orjson.loads(target.read_bytes())
        except FileNotFoundError:
            raise SolverFailed(why or "the solver left no packing") from None
    return _packing(found)


def _environment() -> dict[str, str]:
    """Ours, and where we are imported from; one thread, for it has neighbours."""
    source = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH", "")) if p)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _packing(found: dict[str, list[list[object]]]) -> Packing:
    def pattern(pairs: object) -> tuple[tuple[int, int], ...]:
        return tuple((int(p), int(n)) for p, n in pairs)  # type: ignore[attr-defined]

    return Packing(tuple((int(b), pattern(p)) for b, p in found["bins"]), pattern(found["left"]))  # type: ignore[call-overload]
