"""From nothing to a Ready node, as `sampan up` does it.

A fresh cluster each time, its PKI and store made anew. CPU is user and system time of all our processes, the
starting command included.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Sequence

from bench.rows import Row, spread
from sampan.config import Config
from sampan.lifecycle import cluster
from sampan.testing import cluster as fresh

ROUNDS = 5


def run() -> Sequence[Row]:
    ready: list[float] = []
    total: list[float] = []
    cpu: list[float] = []
    status: list[float] = []
    for _ in range(ROUNDS):
        begun, spent = time.perf_counter(), _own_cpu()
        marks = Marks()
        with fresh(step=marks.step) as c:
            total.append((time.perf_counter() - begun) * 1e3)
            ready.append((marks.api - begun) * 1e3)
            cpu.append((_own_cpu() - spent + _cpu(c.config)) * 1e3)
            status.append(_status(c.config))
    return [
        Row("start to /readyz", spread(ready, "ms"), peer="2,100 to 3,200 ms", reach="≤ 500 ms"),
        Row(
            "start to node Ready",
            spread(total, "ms"),
            spread(cpu, "ms"),
            "1,900 to 2,300 CPU ms, no node",
            "≤ 1,000 ms",
        ),
        Row("sampan status", spread(status, "ms"), reach="≤ 100 ms"),
    ]


class Marks:
    """Notes when the API server became ready."""

    api = 0.0

    def step(self, what: str):  # type: ignore[no-untyped-def]
        marks = self

        class Step:
            def __enter__(self) -> None:
                pass

            def __exit__(self, *_: object) -> None:
                if what == "start the API server":
                    marks.api = time.perf_counter()

        return Step()


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu(config: Config) -> float:
    """CPU seconds that the cluster's processes have used so far."""
    answer = cluster.ask(config, "status") or {"pid": 0, "processes": []}
    return sum(_ticks(pid) for pid in [answer["pid"], *(p["pid"] for p in answer["processes"])])


def _ticks(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / 100


def _status(config: Config) -> float:
    begun = time.perf_counter()
    words = [sys.executable, "-m", "sampan.cli", "status", "--name", config.name]
    subprocess.run(words, check=True, capture_output=True)
    return (time.perf_counter() - begun) * 1e3
