"""NodeResourcesBalancedAllocation: prefers nodes whose resources the pod brings to more even shares.

A node's balance is one minus the standard deviation of the taken shares; scored is what the pod changes of it.

Arguments: `resources` with weights (the weights do not matter here).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sampan.machinery.objects import Object
from sampan.scheduler import resources
from sampan.scheduler.framework import MAX_SCORE, SKIP, Handle, Plugin, Status
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins.node_resources_fit import weights
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.resources import Resources
from sampan.scheduler.snapshot import Snapshot


class NodeResourcesBalancedAllocation(Plugin):
    name = "NodeResourcesBalancedAllocation"

    def __init__(self, arguments: Object | None = None, handle: Handle | None = None) -> None:
        super().__init__(arguments, handle)
        self.resources = tuple(name for name, _ in weights(self.arguments.get("resources")))

    def pre_score(
        self, state: None, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> Resources | Status:
        """What the pod adds; one that requests none of the resources would all go where nothing changes."""
        amounts = pod.requests
        return amounts if any(amounts.get(name) for name in self.resources) else SKIP

    def score(self, state: Resources, pod: PodInfo, node: NodeInfo) -> int:
        before, after = [], []
        for name in self.resources:
            mine, there = state.get(name, 0), node.allocatable.get(name, 0)
            if there and (mine or not resources.is_scalar(name)):
                taken = node.requested.get(name, 0)
                before.append(min(1.0, float(taken) / float(there)))
                after.append(min(1.0, float(taken + mine) / float(there)))
        half = MAX_SCORE // 2
        return half + (half + balance(after) - balance(before)) // 2


def balance(shares: Sequence[float]) -> int:
    """100 where all shares are equal, less the more they differ."""
    deviation = 0.0
    if len(shares) == 2:
        deviation = abs((shares[0] - shares[1]) / 2)
    elif len(shares) > 2:
        mean = sum_of(shares) / float(len(shares))
        deviation = math.sqrt(
            sum_of([(share - mean) * (share - mean) for share in shares]) / float(len(shares))
        )
    return int((1 - deviation) * float(MAX_SCORE))


def sum_of(numbers: Sequence[float]) -> float:
    """The sum from left to right, each step rounded (Python's own compensates since 3.12)."""
    total = 0.0
    for number in numbers:
        total += number
    return total
