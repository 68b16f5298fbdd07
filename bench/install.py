"""From a fresh clone to a Ready node, downloads included; and what is installed then."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.rows import Row

ROOT = Path(__file__).parent.parent


def run() -> Sequence[Row]:
    with tempfile.TemporaryDirectory(prefix="sampan-install-") as directory:
        clone = Path(directory) / "sampan"
        environment = {**os.environ, "SAMPAN_NAME": f"i{os.urandom(3).hex()}"}
        environment.pop("PYTHONPATH", None)
        begun = time.perf_counter()
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        dev = str(clone / "dev")
        try:
            up = [dev, "up", "--port", "0"]
            subprocess.run(up, check=True, capture_output=True, env=environment)
            took = time.perf_counter() - begun
        finally:
            subprocess.run(
                [dev, "down", "--delete", "--yes"], check=True, capture_output=True, env=environment
            )
        size = subprocess.run(["du", "-sm", str(clone / ".venv")], check=True, capture_output=True, text=True)
        kubectl = (clone / ".venv" / "bin" / "kubectl").stat().st_size
        return [
            Row("fresh clone to Ready", f"{took:.0f} s", reach="≤ 60 s"),
            Row("installed size", f"{size.stdout.split()[0]} MiB, of which kubectl {kubectl >> 20} MiB"),
        ]
