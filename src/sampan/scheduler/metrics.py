"""The scheduler's metrics: upstream's names, in Prometheus' text form.

Source: kube-scheduler 1.37, pkg/scheduler/metrics/metrics.go;
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

Labels = tuple[str, ...]


def exponential(first: float, factor: float, count: int) -> tuple[float, ...]:
    return tuple(first * factor**n for n in range(count))


@dataclass(slots=True)
class Counter:
    """A number that only grows, for each set of label values."""

    name: str
    help: str
    labels: Labels = ()
    values: dict[Labels, float] = field(default_factory=dict)

    def add(self, *labels: str, amount: float = 1.0) -> None:
        self.values[labels] = self.values.get(labels, 0.0) + amount

    def lines(self) -> Iterable[str]:
        yield from _head(self.name, self.help, "counter")
        for values, amount in self.values.items():
            yield f"{self.name}{_labelled(self.labels, values)} {amount:g}"


@dataclass(slots=True)
class Gauge:
    """What is the case now; `read` gives the values by label values when somebody asks."""

    name: str
    help: str
    labels: Labels
    read: Callable[[], Mapping[Labels, float]]

    def lines(self) -> Iterable[str]:
        yield from _head(self.name, self.help, "gauge")
        for values, amount in self.read().items():
            yield f"{self.name}{_labelled(self.labels, values)} {amount:g}"


@dataclass(slots=True)
class Histogram:
    """How often a value fell under each bound."""

    name: str
    help: str
    bounds: tuple[float, ...]
    labels: Labels = ()
    counts: dict[Labels, list[int]] = field(default_factory=dict)
    sums: dict[Labels, float] = field(default_factory=dict)

    def observe(self, value: float, *labels: str) -> None:
        counts = self.counts.get(labels)
        if counts is None:
            counts = self.counts[labels] = [0] * (len(self.bounds) + 1)
        counts[bisect_left(self.bounds, value)] += 1
        self.sums[labels] = self.sums.get(labels, 0.0) + value

    def lines(self) -> Iterable[str]:
        yield from _head(self.name, self.help, "histogram")
        names = (*self.labels, "le")
        for values, counts in self.counts.items():
            total = 0
            for bound, count in zip((*self.bounds, float("inf")), counts, strict=True):
                total += count
                le = "+Inf" if bound == float("inf") else f"{bound:g}"
                yield f"{self.name}_bucket{_labelled(names, (*values, le))} {total}"
            yield f"{self.name}_sum{_labelled(self.labels, values)} {self.sums[values]:g}"
            yield f"{self.name}_count{_labelled(self.labels, values)} {total}"


def _head(name: str, help: str, kind: str) -> Iterable[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _labelled(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    shown = (v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for v in values)
    return "{" + ",".join(f'{n}="{v}"' for n, v in zip(names, shown, strict=True)) + "}"


class Metrics:
    """All of the scheduler's metrics."""

    def __init__(self) -> None:
        attempts, algorithm = exponential(0.001, 2, 15), exponential(0.0001, 2, 12)
        self.attempts = Counter(
            "scheduler_schedule_attempts_total",
            "Number of attempts to schedule pods, by the result.",
            ("result", "profile"),
        )
        self.attempt_seconds = Histogram(
            "scheduler_scheduling_attempt_duration_seconds",
            "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            attempts,
            ("result", "profile"),
        )
        self.algorithm_seconds = Histogram(
            "scheduler_scheduling_algorithm_duration_seconds",
            "Scheduling algorithm latency in seconds",
            attempts,
        )
        self.points = Histogram(
            "scheduler_framework_extension_point_duration_seconds",
            "Latency for running all plugins of a specific extension point.",
            algorithm,
            ("extension_point", "status", "profile"),
        )
        self.sli_seconds = Histogram(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "Latency from the time a pod enters the scheduling queue until it is bound.",
            exponential(0.01, 2, 20),
            ("attempts",),
        )
        self.pod_attempts = Histogram(
            "scheduler_pod_scheduling_attempts",
            "Number of attempts to successfully schedule a pod.",
            exponential(1, 2, 5),
        )
        self.after_flush = Counter(
            "scheduler_pod_scheduled_after_flush_total",
            "Number of pods that were scheduled after they had waited too long for an event.",
        )
        self.permit_seconds = Histogram(
            "scheduler_permit_wait_duration_seconds", "Duration of waiting on permit.", attempts, ("result",)
        )
        self.preemption_attempts = Counter(
            "scheduler_preemption_attempts_total", "Total preemption attempts in the cluster till now"
        )
        self.victims = Histogram(
            "scheduler_preemption_victims",
            "Number of selected preemption victims for preemption initiated by a single pod",
            exponential(1, 2, 7),
        )
        self.budget_violations = Counter(
            "scheduler_preemption_pdb_violations_total",
            "Total number of pod disruption budget violations caused by preemption.",
            ("preemptor",),
        )
        self.gauges: list[Gauge] = []

    def gauge(self, name: str, help: str, labels: Labels, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Show what `read` gives, each time that somebody asks."""
        self.gauges.append(Gauge(name, help, labels, read))

    def forget_gauges(self, prefix: str) -> None:
        """Leave out those gauges: what they showed is no more."""
        self.gauges = [gauge for gauge in self.gauges if not gauge.name.startswith(prefix)]

    def text(self) -> str:
        own = [m for m in vars(self).values() if isinstance(m, (Counter, Histogram))]
        lines = (line for metric in [*own, *self.gauges] for line in metric.lines())
        return "\n".join(lines) + "\n"
