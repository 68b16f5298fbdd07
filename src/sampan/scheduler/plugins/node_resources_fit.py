"""NodeResourcesFit: a node must have room for what the pod requests; nodes are scored by how full they would be.

Arguments: `ignoredResources` and `ignoredResourceGroups` (extended resources that are not checked), and
`scoringStrategy` (`type` LeastAllocated, MostAllocated or RequestedToCapacityRatio with its `shape`; `resources`
with weights).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sampan.machinery.objects import Object
from sampan.scheduler import resources
from sampan.scheduler.framework import MAX_SCORE, Code, Handle, Plugin, PreFiltered, Status
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins.normal import broken_line, quotient, rounded
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.resources import CPU, MEMORY, STORAGE, Resources
from sampan.scheduler.snapshot import DEVICE_CLASSES, Snapshot

LEAST, MOST, RATIO = "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"
# Scores in a shape go from 0 to 10.
MAX_SHAPE_SCORE = 10
Weighted = tuple[tuple[str, int], ...]
# What of a resource would be taken, and how much there is, to a score.
ResourceScore = Callable[[int, int], int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the pod requests, and those of it that devices provide where the node itself has none."""

    amounts: Resources
    by_devices: frozenset[str]


class NodeResourcesFit(Plugin):
    name = "NodeResourcesFit"

    def __init__(self, arguments: Object | None = None, handle: Handle | None = None) -> None:
        super().__init__(arguments, handle)
        self._ignored = frozenset(self.arguments.get("ignoredResources") or ())
        self._ignored_groups = frozenset(self.arguments.get("ignoredResourceGroups") or ())
        strategy = self.arguments.get("scoringStrategy") or {}
        self.weights = weights(strategy.get("resources"))
        self.strategy: str = strategy.get("type") or LEAST
        shape = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or ()
        self.shape = tuple(
            (p.get("utilization", 0), p.get("score", 0) * (MAX_SCORE // MAX_SHAPE_SCORE)) for p in shape
        )

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered:
        amounts = resources.requests(pod.object, status=False)
        return PreFiltered(Wanted(amounts, device_resources(snapshot) & amounts.keys()))

    def filter(self, state: Wanted, pod: PodInfo, node: NodeInfo) -> Status | None:
        reasons: list[str] = []
        if len(node.pods) + 1 > node.allowed_pods:
            reasons.append("Too many pods")
        code = Code.UNSCHEDULABLE
        for name in _in_order(state.amounts):
            amount, there = state.amounts[name], node.allocatable.get(name, 0)
            if (
                amount <= there - node.requested.get(name, 0)
                or amount <= 0
                or self._is_left_out(state, name, there)
            ):
                continue
            reasons.append(f"Insufficient {name}")
            if amount > there:
                code = Code.UNRESOLVABLE
        return Status(code, tuple(reasons)) if reasons else None

    def _is_left_out(self, state: Wanted, name: str, there: int) -> bool:
        if name in state.by_devices and there <= 0:
            return True
        return self.is_ignored(name)

    def is_ignored(self, name: str) -> bool:
        """Whether the arguments leave an extended resource to others."""
        ignored = name in self._ignored or name.partition("/")[0] in self._ignored_groups
        return ignored and resources.is_extended(name)

    def pre_score(
        self, state: object, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> Resources:
        """What the pod adds. As upstream, the sum of its containers, even where the pod has requests of its own."""
        return resources.requests(pod.object, status=False, pod_level=False, defaults=(CPU, MEMORY))

    def score(self, state: Resources, pod: PodInfo, node: NodeInfo) -> int:
        found = []
        for name, weight in self.weights:
            mine, there = state.get(name, 0), node.allocatable.get(name, 0)
            if there and (mine or not resources.is_scalar(name)):
                found.append((_taken(node, name) + mine, there, weight))
        if self.strategy == RATIO:
            return self._by_shape(found)
        by_resource = least_allocated if self.strategy == LEAST else most_allocated
        total = sum(by_resource(taken, there) * weight for taken, there, weight in found)
        return total // sum(weight for _, _, weight in found) if found else 0

    def _by_shape(self, found: Sequence[tuple[int, int, int]]) -> int:
        """The weighted mean of the resources' scores by the shape; resources that score nothing do not count."""
        total = weight_sum = 0
        for taken, there, weight in found:
            used = 100 if taken > there else taken * 100 // there
            if (value := broken_line(self.shape, used)) > 0:
                total += value * weight
                weight_sum += weight
        return rounded(total / weight_sum) if weight_sum else 0


def least_allocated(taken: int, there: int) -> int:
    """The share that stays free."""
    return quotient((there - taken) * MAX_SCORE, there) if taken <= there else 0


def most_allocated(taken: int, there: int) -> int:
    """The share that is taken."""
    return min(taken, there) * MAX_SCORE // there


def weights(listed: Sequence[Object] | None) -> Weighted:
    """The resources that are scored with their weights; cpu and memory alike where none are named."""
    found = tuple((r["name"], r.get("weight") or 1) for r in listed or ())
    return found or ((CPU, 1), (MEMORY, 1))


def _taken(node: NodeInfo, name: str) -> int:
    if name == CPU:
        return node.non_zero_cpu
    return node.non_zero_memory if name == MEMORY else node.requested.get(name, 0)


def _in_order(amounts: Resources) -> list[str]:
    """The resources in the order in which they are checked."""
    first = [name for name in (CPU, MEMORY, STORAGE) if name in amounts]
    return first + sorted(name for name in amounts if resources.is_scalar(name))


def device_resources(snapshot: Snapshot) -> frozenset[str]:
    """The extended resources that device classes provide (KEP-5004)."""
    if not snapshot.has(DEVICE_CLASSES):
        return frozenset()
    from sampan.scheduler.devices.extended import classes_by_resource

    return frozenset(classes_by_resource(snapshot))
