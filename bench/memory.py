"""What a cluster costs at rest: memory (PSS, which shares what is shared) and CPU of all our processes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bench.rows import Row
from bench.start import _ticks
from sampan.lifecycle import cluster
from sampan.testing import cluster as fresh

SETTLE, WATCH = 10.0, 30.0


def run() -> Sequence[Row]:
    with fresh() as c:
        time.sleep(SETTLE)
        answer = cluster.ask(c.config, "status") or {"pid": 0, "processes": []}
        pids = {"supervisor": answer["pid"], **{p["name"]: p["pid"] for p in answer["processes"]}}
        before = {name: _ticks(pid) for name, pid in pids.items()}
        time.sleep(WATCH)
        cpu = {name: (_ticks(pid) - before[name]) / WATCH * 100 for name, pid in pids.items()}
        memory = {name: pss(pid) for name, pid in pids.items()}
    rows = [Row(f"{name} at rest", f"{memory[name]:.0f} MiB", f"{cpu[name]:.2f} %") for name in pids]
    total = f"{sum(memory.values()):.0f} MiB"
    return [
        *rows,
        Row(
            "all at rest",
            total,
            f"{sum(cpu.values()):.2f} %",
            "306 MiB, server and store alone",
            "≤ 130 MiB, ≤ 1 %",
        ),
    ]


def pss(pid: int) -> float:
    """Proportional set size in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
