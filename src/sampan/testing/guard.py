"""A test's cluster goes with the test, even with one that is killed.

A guard is a small process at the end of a pipe. A test that ends in order says so; where the pipe just closes, its test
was killed, and the guard becomes `sampan down --delete`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WAIT = "import os, sys; sys.stdin.readline() or os.execv(sys.argv[1], sys.argv[1:])"


@contextmanager
def guarded(name: str, state: Path) -> Iterator[None]:
    """End the cluster of that name, whose files are in `state`, if this process dies within the block."""
    down = [
        sys.executable,
        "-m",
        "sampan.cli",
        "down",
        "--name",
        name,
        "--state",
        str(state),
        "--delete",
        "--yes",
    ]
    guard = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _WAIT, *down],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        start_new_session=True,
        cwd="/",
    )
    try:
        yield
    finally:
        guard.communicate(b"done\n")
