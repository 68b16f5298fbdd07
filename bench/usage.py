"""What a cluster's processes have used: CPU seconds and memory, as /proc tells."""

from __future__ import annotations

import resource
from pathlib import Path

from sampan.config import Config
from sampan.lifecycle import cluster

_TICK = 0.01


def pids(config: Config) -> dict[str, int]:
    """Our processes: the supervisor and those it started."""
    answer = cluster.ask(config, "status") or {"pid": 0, "processes": []}
    running = {p["name"]: p["pid"] for p in answer["processes"] if p["pid"]}
    return {"supervisor": answer["pid"], **running}


def seconds(config: Config) -> float:
    """CPU seconds that the cluster's processes have used so far, children that ended included."""
    return sum(cpu(pid) for pid in pids(config).values())


def cpu(pid: int) -> float:
    """CPU seconds, user and system, of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * _TICK


def own() -> float:
    """CPU seconds of the calling process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def memory(pid: int) -> float:
    """Proportional set size in MiB; pid 0 is the calling process."""
    for line in Path(f"/proc/{pid or 'self'}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
