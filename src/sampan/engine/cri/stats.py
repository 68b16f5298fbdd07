"""CRI: what containers and pods use, from their cgroups, when asked."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from sampan.engine.cri import status
from sampan.engine.images import snapshots
from sampan.engine.images.model import ImageError
from sampan.engine.records import READY, RUNNING, Container, Sandbox
from sampan.host import namespaces, netns
from sampan.host.cgroups import Usage
from sampan.machinery.cri import messages

if TYPE_CHECKING:
    from sampan.engine.engine import Engine

LAYER_SECONDS = 30.0
RATE_SECONDS = 1.0


def _value(number: int) -> Any:
    return messages.UInt64Value(value=number)


def _cpu(engine: Engine, name: str, usage: Usage, now: int) -> Any:
    """CPU use, and its rate since an earlier look at least a second ago."""
    before = engine.samples.get(name)
    rate = None
    if before and now - before[0] >= RATE_SECONDS * 1e9:
        rate = _value(max(0, usage.cpu - before[1]) * 1_000_000_000 // (now - before[0]))
    if not before or now - before[0] >= RATE_SECONDS * 1e9:
        engine.samples[name] = (now, usage.cpu)
    return messages.CpuUsage(timestamp=now, usage_core_nano_seconds=_value(usage.cpu), usage_nano_cores=rate)


def _memory(usage: Usage, now: int) -> Any:
    available = max(0, usage.memory_limit - usage.working_set) if usage.memory_limit else None
    return messages.MemoryUsage(
        timestamp=now,
        working_set_bytes=_value(usage.working_set),
        available_bytes=_value(available) if available is not None else None,
        usage_bytes=_value(usage.memory),
        rss_bytes=_value(usage.rss),
        page_faults=_value(usage.page_faults),
        major_page_faults=_value(usage.major_page_faults),
    )


def _layer(engine: Engine, record: Container, now: int) -> Any:
    """The writable layer's size, which takes a walk over its files: looked at again after half a minute."""
    known = engine.layers.get(record.id)
    if not known or time.monotonic() - known[0] > LAYER_SECONDS:
        try:
            found = snapshots.usage(engine.context.images, record.id)
        except ImageError:
            found = (0, 0)
        known = engine.layers[record.id] = (time.monotonic(), *found)
    return messages.FilesystemUsage(
        timestamp=now,
        fs_id=messages.FilesystemIdentifier(mountpoint=str(engine.context.images.snapshots)),
        used_bytes=_value(known[1]),
        inodes_used=_value(known[2]),
    )


def _container(engine: Engine, record: Container) -> Any:
    config, now = engine.containers.config(record), time.time_ns()
    stats = messages.ContainerStats(
        attributes=messages.ContainerAttributes(
            id=record.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
        ),
        writable_layer=_layer(engine, record, now),
    )
    if record.state == RUNNING:
        usage = engine.context.cgroups.usage(record.cgroup)
        stats.cpu.CopyFrom(_cpu(engine, record.id, usage, now))
        stats.memory.CopyFrom(_memory(usage, now))
        stats.swap.CopyFrom(messages.SwapUsage(timestamp=now, swap_usage_bytes=_value(usage.swap)))
    return stats


def interfaces(net_dev: str) -> list[tuple[str, int, int, int, int]]:
    """Name, bytes and errors received, bytes and errors sent, of each line of /proc/net/dev.

    Source: proc_pid_net(5).
    """
    found = []
    for line in net_dev.splitlines()[2:]:
        name, _, rest = line.partition(":")
        figures = [int(word) for word in rest.split()]
        found.append((name.strip(), figures[0], figures[2], figures[8], figures[10]))
    return found


def _network(engine: Engine, record: Sandbox, now: int) -> Any:
    path = engine.sandboxes.paths(record).get("network")
    if not path or record.state != READY:
        return None

    def read() -> str:
        netns.enter(path)
        with open("/proc/thread-self/net/dev") as file:
            return file.read()

    try:
        rows = interfaces(namespaces.in_thread(read))
    except OSError:
        return None
    usage = {
        name: messages.NetworkInterfaceUsage(
            name=name, rx_bytes=_value(rx), rx_errors=_value(rxe), tx_bytes=_value(tx), tx_errors=_value(txe)
        )
        for name, rx, rxe, tx, txe in rows
        if name != "lo"
    }
    first = usage.pop("eth0", None)
    return messages.NetworkUsage(timestamp=now, default_interface=first, interfaces=list(usage.values()))


def _sandbox(engine: Engine, record: Sandbox) -> Any:
    config, now = engine.sandboxes.config(record), time.time_ns()
    usage = engine.context.cgroups.usage(record.cgroup)
    running = [c for c in engine.containers_of(record) if c.state == RUNNING]
    return messages.PodSandboxStats(
        attributes=messages.PodSandboxAttributes(
            id=record.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
        ),
        linux=messages.LinuxPodSandboxStats(
            cpu=_cpu(engine, record.id, usage, now),
            memory=_memory(usage, now),
            network=_network(engine, record, now),
            process=messages.ProcessUsage(timestamp=now, process_count=_value(usage.pids)),
            containers=[_container(engine, c) for c in running],
        ),
    )


def _chosen_containers(engine: Engine, wanted: Any) -> list[Any]:
    return [
        _container(engine, record)
        for record in engine.containers.records
        if record.state == RUNNING
        and record.id.startswith(wanted.id)
        and record.sandbox.startswith(wanted.pod_sandbox_id)
        and status.selected(engine.containers.config(record).labels, wanted.label_selector)
    ]


def _chosen_sandboxes(engine: Engine, wanted: Any) -> list[Any]:
    return [
        _sandbox(engine, record)
        for record in engine.sandboxes.records
        if record.state == READY
        and record.id.startswith(wanted.id)
        and status.selected(engine.sandboxes.config(record).labels, wanted.label_selector)
    ]


async def container(engine: Engine, request: Any) -> Any:
    record = engine.container(request.container_id)
    return messages.ContainerStatsResponse(stats=await asyncio.to_thread(_container, engine, record))


async def containers(engine: Engine, request: Any) -> Any:
    found = await asyncio.to_thread(_chosen_containers, engine, request.filter)
    return messages.ListContainerStatsResponse(stats=found)


async def stream_containers(engine: Engine, request: Any) -> Any:
    found = await asyncio.to_thread(_chosen_containers, engine, request.filter)
    return messages.StreamContainerStatsResponse(container_stats=found)


async def sandbox(engine: Engine, request: Any) -> Any:
    record = engine.sandbox(request.pod_sandbox_id)
    return messages.PodSandboxStatsResponse(stats=await asyncio.to_thread(_sandbox, engine, record))


async def sandboxes(engine: Engine, request: Any) -> Any:
    found = await asyncio.to_thread(_chosen_sandboxes, engine, request.filter)
    return messages.ListPodSandboxStatsResponse(stats=found)


async def stream_sandboxes(engine: Engine, request: Any) -> Any:
    found = await asyncio.to_thread(_chosen_sandboxes, engine, request.filter)
    return messages.StreamPodSandboxStatsResponse(pod_sandbox_stats=found)


METRICS = {
    "container_cpu_usage_seconds_total": ("Cumulative cpu time consumed in seconds.", "cpu"),
    "container_memory_usage_bytes": ("Current memory usage in bytes.", "memory"),
    "container_memory_working_set_bytes": ("Current working set in bytes.", "working_set"),
    "container_memory_rss": ("Size of RSS in bytes.", "rss"),
    "container_processes": ("Number of processes running inside the container.", "pids"),
}
COUNTERS = ("container_cpu_usage_seconds_total",)


async def descriptors(engine: Engine, request: Any) -> Any:
    found = [
        messages.MetricDescriptor(name=name, help=help_, label_keys=["id", "name"])
        for name, (help_, _) in METRICS.items()
    ]
    return messages.ListMetricDescriptorsResponse(descriptors=found)


def _metrics(engine: Engine, name: str, shown: str, cgroup: str) -> list[Any]:
    usage, now = engine.context.cgroups.usage(cgroup), time.time_ns()
    found = []
    for metric, (_, field) in METRICS.items():
        value = getattr(usage, field) // (1_000_000_000 if field == "cpu" else 1)
        kind = messages.COUNTER if metric in COUNTERS else messages.GAUGE
        found.append(
            messages.Metric(
                name=metric, timestamp=now, metric_type=kind, label_values=[name, shown], value=_value(value)
            )
        )
    return found


def _sandbox_metrics(engine: Engine) -> list[Any]:
    found = []
    for record in engine.sandboxes.records:
        if record.state != READY:
            continue
        own = _metrics(engine, record.id, engine.sandboxes.config(record).metadata.name, record.cgroup)
        inside = [
            messages.ContainerMetrics(
                container_id=c.id,
                metrics=_metrics(engine, c.id, engine.containers.config(c).metadata.name, c.cgroup),
            )
            for c in engine.containers_of(record)
            if c.state == RUNNING
        ]
        found.append(
            messages.PodSandboxMetrics(pod_sandbox_id=record.id, metrics=own, container_metrics=inside)
        )
    return found


async def metrics(engine: Engine, request: Any) -> Any:
    return messages.ListPodSandboxMetricsResponse(
        pod_metrics=await asyncio.to_thread(_sandbox_metrics, engine)
    )


async def stream_metrics(engine: Engine, request: Any) -> Any:
    found = await asyncio.to_thread(_sandbox_metrics, engine)
    return messages.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=found)


METHODS = {
    "ContainerStats": container,
    "ListContainerStats": containers,
    "StreamContainerStats": stream_containers,
    "PodSandboxStats": sandbox,
    "ListPodSandboxStats": sandboxes,
    "StreamPodSandboxStats": stream_sandboxes,
    "ListMetricDescriptors": descriptors,
    "ListPodSandboxMetrics": metrics,
    "StreamPodSandboxMetrics": stream_metrics,
}
