"""How many pods a metric asks for. Plain functions; amounts are in thousandths.

The number is the current one times how far its pods are from their target, where that is far enough. Pods that are
not ready count as idle when it would grow, pods without metrics as idle then and as busy when it would shrink, so
that what is not known moves nothing.
Source: k8s.io/kubernetes pkg/controller/podautoscaler/replica_calculator.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sampan.machinery import amounts, conditions, times
from sampan.machinery.objects import Object, get

# A pod's CPU says nothing while it starts, nor when it was not ready from its start for so long (seconds).
STARTS_WITHIN, READY_WITHIN = 300.0, 30.0
MOST = 2**31 - 1


class Unknown(Exception):
    """The metric cannot be judged; the text says why."""


class Sample(NamedTuple):
    """What a pod used over the `window` seconds before `time`."""

    value: int
    time: float
    window: float


Samples = Mapping[str, Sample]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far from its target a metric may be, downwards and upwards, before anything is done."""

    down: float = 0.1
    up: float = 0.1

    def covers(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Workload:
    """The pods that are scaled, and how many are wanted and there."""

    pods: tuple[Object, ...]
    wanted: int
    present: int
    tolerance: Tolerance
    now: float


class Proposal(NamedTuple):
    """`usage` is for the status; `percent` of what was requested, where that is the target."""

    pods: int
    usage: int
    percent: int | None = None


class _Groups(NamedTuple):
    ready: int
    unready: set[str]
    missing: set[str]
    ignored: set[str]


def by_utilization(work: Workload, samples: Samples, resource: str, target: int, container: str) -> Proposal:
    """For a target in percent of what pods request. Raises Unknown."""
    groups = _grouped(work, samples, resource)
    known = {n: s.value for n, s in samples.items() if n not in groups.ignored | groups.unready}
    if not known:
        raise Unknown("did not receive metrics for targeted pods (pods might be unready)")
    requests = {p["metadata"]["name"]: _request(p, resource, container) for p in work.pods}
    ratio, percent, usage = _utilization(known, requests, target)

    def again(filled: dict[str, int]) -> float:
        return _utilization(filled, requests, target)[0]

    busy = {n: requests[n] * max(100, target) // 100 for n in groups.missing}
    return Proposal(_moved(work, groups, known, ratio, busy, again), usage, percent)


def by_average(work: Workload, samples: Samples, resource: str, target: int) -> Proposal:
    """For a target amount for each pod; `resource` is empty for a metric that is none. Raises Unknown."""
    groups = _grouped(work, samples, resource)
    known = {n: s.value for n, s in samples.items() if n not in groups.ignored | groups.unready}
    if not known:
        raise Unknown("did not receive metrics for targeted pods (pods might be unready)")

    def ratio(values: dict[str, int]) -> float:
        return (sum(values.values()) // len(values)) / target

    usage = sum(known.values()) // len(known)
    busy = dict.fromkeys(groups.missing, target)
    return Proposal(_moved(work, groups, known, ratio(known), busy, ratio), usage)


def by_value(work: Workload, usage: int, target: int) -> Proposal:
    """For one value that all pods answer for together. Raises Unknown."""
    ratio = usage / target
    if work.wanted == 0:
        return Proposal(math.ceil(ratio), usage)
    if work.tolerance.covers(ratio):
        return Proposal(work.wanted, usage)
    if not work.pods:
        raise Unknown(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    ready = sum(
        1 for p in work.pods if get(p, "status.phase") == "Running" and conditions.is_true(p, "Ready")
    )
    return Proposal(min(MOST, math.ceil(ratio * ready)), usage)


def by_share(work: Workload, usage: int, target: int) -> Proposal:
    """For one value of which each pod shall have so much."""
    present = work.present
    ratio = usage / (target * present) if present else math.inf if usage else 0.0
    count = present if work.tolerance.covers(ratio) else min(MOST, math.ceil(usage / target))
    return Proposal(count, math.ceil(usage / present) if present else usage)


def _moved(
    work: Workload,
    groups: _Groups,
    known: dict[str, int],
    ratio: float,
    busy: dict[str, int],
    again: Callable[[dict[str, int]], float],
) -> int:
    """The new number; what is not known is filled in against the direction, which it may stop but not turn."""
    grows = bool(groups.unready) and ratio > 1.0
    if not grows and not groups.missing:
        return work.wanted if work.tolerance.covers(ratio) else math.ceil(ratio * groups.ready)
    filled = dict(known)
    if ratio < 1.0:
        filled |= busy
    elif ratio > 1.0:
        filled |= dict.fromkeys(groups.missing, 0)
    if grows:
        filled |= dict.fromkeys(groups.unready, 0)
    after = again(filled)
    turned = (ratio < 1.0 < after) or (ratio > 1.0 > after)
    if work.tolerance.covers(after) or turned:
        return work.wanted
    count = math.ceil(after * len(filled))
    if (after < 1.0 and count > work.wanted) or (after > 1.0 and count < work.wanted):
        return work.wanted
    return count


def _utilization(
    values: Mapping[str, int], requests: Mapping[str, int], target: int
) -> tuple[float, int, int]:
    """The ratio to the target, the percentage, and the average. Raises Unknown."""
    names = [n for n in values if n in requests]
    used, asked = sum(values[n] for n in names), sum(requests[n] for n in names)
    if not asked:
        raise Unknown("no metrics returned matched known pods")
    percent = used * 100 // asked
    return percent / target, percent, used // len(names)


def _grouped(work: Workload, samples: Samples, resource: str) -> _Groups:
    if not work.pods:
        raise Unknown("no pods returned by selector while calculating replica count")
    groups = _Groups(0, set(), set(), set())
    ready = 0
    for pod in work.pods:
        name, phase = pod["metadata"]["name"], get(pod, "status.phase")
        if "deletionTimestamp" in pod["metadata"] or phase == "Failed":
            groups.ignored.add(name)
        elif phase == "Pending":
            groups.unready.add(name)
        elif name not in samples:
            groups.missing.add(name)
        elif resource == "cpu" and _starting(pod, samples[name], work.now):
            groups.unready.add(name)
        else:
            ready += 1
    return groups._replace(ready=ready)


def _starting(pod: Object, sample: Sample, now: float) -> bool:
    """Whether a pod's CPU does not count, since it starts, or was never ready."""
    condition, started = conditions.find(pod, "Ready"), get(pod, "status.startTime")
    if condition is None or not started:
        return True
    began, changed = times.seconds(started), times.seconds(condition["lastTransitionTime"])
    unready = condition.get("status") == "False"
    if began + STARTS_WITHIN > now:
        return unready or sample.time < changed + sample.window
    return unready and began + READY_WITHIN > changed


def _request(pod: Object, resource: str, container: str) -> int:
    """What a pod, or one container of it, requests. Raises Unknown."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    if not container and get(spec, "resources.requests"):
        whole = amounts.requests(pod)
        if resource not in whole:
            raise Unknown(f"missing pod-level request for {resource} in Pod {name}")
        return whole[resource].milli
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    chosen = [c for c in [*spec["containers"], *sidecars] if not container or c["name"] == container]
    if container and not chosen:
        raise Unknown(f"container {container} not found in Pod {name}")
    total = 0
    for one in chosen:
        asked = amounts.parse(get(one, "resources.requests"))
        if resource not in asked:
            raise Unknown(f"missing request for {resource} in container {one['name']} of Pod {name}")
        total += asked[resource].milli
    return total
