"""What Prometheus reads of a node: `/metrics` (the kubelet's own), `/metrics/cadvisor` (containers), `/metrics/probes`.

Sources: the reference "Kubernetes Metrics" for the kubelet's names; cAdvisor's documentation, "Monitoring cAdvisor with
Prometheus", for the containers'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sampan.machinery.objects import Object
from sampan.node.operations import BUCKETS, Operations, upstream_name

if TYPE_CHECKING:
    from sampan.node.kubelet import Kubelet

Sample = tuple[Mapping[str, Any], float | int]


def family(name: str, kind: str, help: str, samples: Iterable[Sample]) -> Iterator[str]:
    """The lines of one metric in the text format."""
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{_labels(labels)} {value}"


def _labels(labels: Mapping[str, Any]) -> str:
    inner = ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def own(node: Kubelet) -> str:
    """The kubelet's own metrics."""
    states = Counter(c.state for w in node.workers.values() for c in w.observed.containers)
    sandboxes = sum(w.observed.sandbox is not None for w in node.workers.values())
    lines = [
        *family("kubelet_node_name", "gauge", "The node's name.", [({"node": node.name}, 1)]),
        *family("kubelet_running_pods", "gauge", "Pods that have a running sandbox.", [({}, sandboxes)]),
        *family(
            "kubelet_running_containers",
            "gauge",
            "Containers by their state.",
            [({"container_state": state}, count) for state, count in sorted(states.items())],
        ),
        *_operations(node.operations),
    ]
    return "\n".join(lines) + "\n"


def _operations(operations: Operations) -> Iterator[str]:
    name = "kubelet_runtime_operations"
    counts = sorted(operations.counts.items())
    totals: list[Sample] = [({"operation_type": upstream_name(m)}, sum(found)) for m, found in counts]
    errors: list[Sample] = [
        ({"operation_type": upstream_name(m)}, n) for m, n in sorted(operations.errors.items())
    ]
    yield from family(f"{name}_total", "counter", "Calls of the runtime.", totals)
    yield from family(f"{name}_errors_total", "counter", "Calls of the runtime that failed.", errors)
    yield f"# HELP {name}_duration_seconds How long calls of the runtime took."
    yield f"# TYPE {name}_duration_seconds histogram"
    for method, found in counts:
        label, total = f'operation_type="{upstream_name(method)}"', 0
        for bound, count in zip((*BUCKETS, "+Inf"), found, strict=True):
            total += count
            yield f'{name}_duration_seconds_bucket{{{label},le="{bound}"}} {total}'
        yield f"{name}_duration_seconds_sum{{{label}}} {operations.sums[method]:.6f}"
        yield f"{name}_duration_seconds_count{{{label}}} {total}"


# Of each metric of a container: its type, and where it stands in the container's part of the summary.
_CONTAINER = (
    ("container_cpu_usage_seconds_total", "counter", "Processor time used.", "cpu", "usageCoreNanoSeconds"),
    ("container_memory_usage_bytes", "gauge", "Memory used, caches included.", "memory", "usageBytes"),
    ("container_memory_working_set_bytes", "gauge", "The working set.", "memory", "workingSetBytes"),
    ("container_memory_rss", "gauge", "Resident memory.", "memory", "rssBytes"),
    ("container_fs_usage_bytes", "gauge", "Size of the writable layer.", "rootfs", "usedBytes"),
)


def containers(summary: Object) -> str:
    """The containers' metrics, from what `/stats/summary` says."""
    lines: list[str] = []
    for name, kind, help, part, key in _CONTAINER:
        scale = 1e-9 if key.endswith("NanoSeconds") else 1
        lines += family(name, kind, help, ((labels, c[part][key] * scale) for labels, c in _of_pods(summary)))
    return "\n".join(lines) + "\n"


def _of_pods(summary: Object) -> Iterator[tuple[dict[str, str], Object]]:
    for pod in summary["pods"]:
        named = {"namespace": pod["podRef"]["namespace"], "pod": pod["podRef"]["name"]}
        for container in pod["containers"]:
            yield {"container": container["name"], **named}, container


def probes(node: Kubelet) -> str:
    """How often each running container's probes passed and failed."""
    samples: list[Sample] = []
    for worker in node.workers.values():
        meta = worker.pod["metadata"]
        named = {"namespace": meta.get("namespace", ""), "pod": meta["name"], "pod_uid": worker.uid}
        for container, counts in worker.probe_counts():
            samples += [
                ({"container": container, **named, "probe_type": kind.capitalize(), "result": result}, n)
                for (kind, result), n in counts.items()
            ]
    return "\n".join(family("prober_probe_total", "counter", "Probes by result.", samples)) + "\n"
