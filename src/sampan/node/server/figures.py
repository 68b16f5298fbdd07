"""What node, pods and containers use: `/stats/summary` and `/metrics/resource`.

Sources: the stats API (k8s.io/kubelet, pkg/apis/stats/v1alpha1), and the documentation's page on the resource
metrics pipeline.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.machinery import times
from sampan.machinery.cri import CriError, messages
from sampan.machinery.objects import Object
from sampan.node import machine, names

if TYPE_CHECKING:
    from sampan.node.kubelet import Kubelet


@dataclass(frozen=True, slots=True)
class Sample:
    """Processor time used (nanoseconds) as of a moment (nanoseconds since the epoch)."""

    used: int
    at: int


def rate(before: Sample | None, now: Sample, since: float) -> int:
    """Nanoseconds of processor time each second: since the sample before, else since the start (seconds since
    the epoch).
    """
    start = before or Sample(0, int(since * 1e9))
    passed = now.at - start.at
    return max(0, (now.used - start.used) * 10**9 // passed) if passed > 0 else 0


class Figures:
    """Keeps the last samples, from which rates are made."""

    def __init__(self, node: Kubelet):
        self._node = node
        self._samples: dict[str, Sample] = {}
        self._began = _boot_time()

    def _rate(self, name: str, now: Sample, since: float) -> int:
        before = self._samples.get(name)
        if before is not None and now.at - before.at < 10**9:
            # Two questions close together: the rate since the older one says more.
            return rate(None if before.at == now.at else before, now, since)
        self._samples[name] = now
        return rate(before, now, since)

    async def summary(self) -> Object:
        """Raises nothing for a runtime that does not answer: then there are no pods."""
        try:
            found = await self._node.runtime.cri.call(
                "ListContainerStats", messages.ListContainerStatsRequest()
            )
            stats = list(found.stats)
        except CriError:
            stats = []
        pods: dict[str, list[Any]] = {}
        for one in stats:
            pods.setdefault(one.attributes.labels.get(names.POD_UID, ""), []).append(one)
        return {
            "node": self._of_node(),
            "pods": [
                self._pod(w, pods.get(uid, [])) for uid, w in self._node.workers.items() if w.observed.sandbox
            ],
        }

    def _of_node(self) -> Object:
        now = time.time()
        memory = machine.meminfo()
        used = Sample(_busy(), int(now * 1e9))
        disk = os.statvfs(self._node.context.root)
        return {
            "nodeName": self._node.name,
            "startTime": times.time(self._began),
            "cpu": {
                "time": times.time(now),
                "usageNanoCores": self._rate("", used, self._began),
                "usageCoreNanoSeconds": used.used,
            },
            "memory": {
                "time": times.time(now),
                "availableBytes": memory["MemAvailable"],
                "usageBytes": memory["MemTotal"] - memory["MemFree"],
                "workingSetBytes": memory["MemTotal"] - memory["MemAvailable"],
            },
            "fs": {
                "time": times.time(now),
                "availableBytes": disk.f_bavail * disk.f_frsize,
                "capacityBytes": disk.f_blocks * disk.f_frsize,
                "usedBytes": (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
                "inodesFree": disk.f_favail,
                "inodes": disk.f_files,
                "inodesUsed": disk.f_files - disk.f_ffree,
            },
        }

    def _pod(self, worker: Any, stats: list[Any]) -> Object:
        meta = worker.pod["metadata"]
        running = {c.id: c for c in worker.observed.containers if c.state == "running"}
        containers = [
            self._container(one, running[one.attributes.id]) for one in stats if one.attributes.id in running
        ]
        total: Object = {"podRef": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}}
        total["startTime"] = times.time(worker.accepted)
        total["containers"] = containers
        for part, keys in (
            ("cpu", ("usageNanoCores", "usageCoreNanoSeconds")),
            ("memory", ("usageBytes", "workingSetBytes", "rssBytes")),
        ):
            total[part] = {"time": times.time(time.time())}
            total[part] |= {k: sum(c[part].get(k, 0) for c in containers) for k in keys}
        return total

    def _container(self, one: Any, seen: Any) -> Object:
        cpu, memory = one.cpu, one.memory
        sample = Sample(cpu.usage_core_nano_seconds.value, cpu.timestamp or time.time_ns())
        return {
            "name": seen.name,
            "startTime": times.time(seen.started),
            "cpu": {
                "time": times.time(sample.at / 1e9),
                "usageNanoCores": cpu.usage_nano_cores.value or self._rate(seen.id, sample, seen.started),
                "usageCoreNanoSeconds": sample.used,
            },
            "memory": {
                "time": times.time((memory.timestamp or time.time_ns()) / 1e9),
                "usageBytes": memory.usage_bytes.value,
                "workingSetBytes": memory.working_set_bytes.value,
                "rssBytes": memory.rss_bytes.value,
                "pageFaults": memory.page_faults.value,
                "majorPageFaults": memory.major_page_faults.value,
            },
            "rootfs": {
                "usedBytes": one.writable_layer.used_bytes.value,
                "inodesUsed": one.writable_layer.inodes_used.value,
            },
        }

    async def metrics(self) -> str:
        return exposition(await self.summary())


def exposition(summary: Object) -> str:
    """The summary as Prometheus text, by the names that metrics servers read."""
    lines = ["# TYPE node_cpu_usage_seconds_total counter"]
    node = summary["node"]
    lines.append(f"node_cpu_usage_seconds_total {node['cpu']['usageCoreNanoSeconds'] / 1e9:.9f}")
    lines += [
        "# TYPE node_memory_working_set_bytes gauge",
        f"node_memory_working_set_bytes {node['memory']['workingSetBytes']}",
    ]
    families = (
        ("cpu_usage_seconds_total", "counter", lambda x: f"{x['cpu']['usageCoreNanoSeconds'] / 1e9:.9f}"),
        ("memory_working_set_bytes", "gauge", lambda x: x["memory"]["workingSetBytes"]),
    )
    for family, kind, value in families:
        for scope in ("pod", "container"):
            lines.append(f"# TYPE {scope}_{family} {kind}")
            for pod in summary["pods"]:
                ref = pod["podRef"]
                own = f'namespace="{ref["namespace"]}",pod="{ref["name"]}"'
                if scope == "pod":
                    lines.append(f"pod_{family}{{{own}}} {value(pod)}")
                else:
                    lines += [
                        f'container_{family}{{container="{c["name"]}",{own}}} {value(c)}'
                        for c in pod["containers"]
                    ]
    return "\n".join(lines) + "\n"


def _busy() -> int:
    """Nanoseconds that all processors together were busy since boot."""
    words = [int(w) for w in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = words[:8]
    return (user + nice + system + irq + softirq + steal) * (10**9 // os.sysconf("SC_CLK_TCK"))


def _boot_time() -> float:
    return time.time() - float(Path("/proc/uptime").read_text().split()[0])
