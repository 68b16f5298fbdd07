"""DynamicResources: devices that pods claim (ResourceClaims).

Source: KEP-4381 (structured parameters).
"""

from __future__ import annotations

from collections.abc import Mapping

from sampan.scheduler.decide import Cycle
from sampan.scheduler.framework import SKIP, Plugin, PreFiltered, Status, unresolvable, unschedulable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot


class DynamicResources(Plugin):
    name = "DynamicResources"

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        if not pod.spec.get("resourceClaims"):
            return SKIP
        return unresolvable("this scheduler allocates no devices: the pod cannot have its resource claims")

    def filter(self, state: None, pod: PodInfo, node: NodeInfo) -> Status | None:
        return None

    def score(self, state: None, pod: PodInfo, node: NodeInfo) -> int:
        return 0

    async def post_filter(self, cycle: Cycle, statuses: Mapping[str, Status]) -> tuple[Status, str | None]:
        return unschedulable("no new claims to deallocate"), None
