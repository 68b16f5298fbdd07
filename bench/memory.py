"""What a cluster costs at rest, empty and with the example shop: memory (PSS) and CPU of all our processes.

PSS shares what is shared. CPU is of one core, children that ended included; what runs in the containers, the programs
of exec probes and the runtime that starts them, is not ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from bench.rows import Row
from bench.usage import cpu, memory, pids
from sampan.config import Config
from sampan.testing import cluster as fresh

SETTLE, WATCH = 15.0, 60.0
# Building the shop's base images from the Debian archive may come first.
DEMO_DEADLINE = 900.0


def run() -> Sequence[Row]:
    name = f"m{os.urandom(4).hex()}"
    with fresh(name=name) as c:
        empty = list(_rows(c.config, "empty", "306 MiB (RSS), server and store alone", "≤ 130 MiB"))
        demo = [sys.executable, "-m", "sampan.cli", "demo", "--name", name]
        subprocess.run(demo, check=True, capture_output=True, timeout=DEMO_DEADLINE)
        return [*empty, *_rows(c.config, "with the shop", "", "≤ 130 MiB, ≤ 1 %")]


def _rows(config: Config, state: str, peer: str, reach: str) -> Iterator[Row]:
    time.sleep(SETTLE)
    found = pids(config)
    before = {name: cpu(pid) for name, pid in found.items()}
    time.sleep(WATCH)
    used = {name: (cpu(pid) - before[name]) / WATCH * 100 for name, pid in found.items()}
    held = {name: memory(pid) for name, pid in found.items()}
    for name in found:
        shown = name if name in ("supervisor", "control") else "node"
        yield Row(f"{state}: {shown}", f"{held[name]:.0f} MiB", f"{used[name]:.2f} %")
    total = sum(held.values()), sum(used.values())
    yield Row(f"{state}: all", f"{total[0]:.0f} MiB", f"{total[1]:.2f} %", peer, reach)
