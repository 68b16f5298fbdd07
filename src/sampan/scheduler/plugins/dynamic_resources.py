"""DynamicResources: the devices that a pod's ResourceClaims ask for must be on the node, and are allocated there.

What a node would give is kept in the state; once the node is chosen it is promised (reserve), so that no other pod
gets it, and written into the claims (pre_bind). All of it is in `devices`, which is loaded with the first pod that
has claims.

Arguments: none that matter here (a search has no time limit of its own).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sampan.scheduler.decide import Cycle
from sampan.scheduler.framework import SKIP, Plugin, PreFiltered, Status, unschedulable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins.normal import most_is_best
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import DEVICE_CLASSES, Snapshot

if TYPE_CHECKING:
    from sampan.scheduler.devices.of_pod import PodDevices


class DynamicResources(Plugin):
    name = "DynamicResources"

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        if self.handle is None or not pod.spec.get("resourceClaims"):
            return None
        from sampan.scheduler.devices import of_pod

        return of_pod.missing(pod, self.handle.snapshot)

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        if not pod.spec.get("resourceClaims") and not snapshot.has(DEVICE_CLASSES):
            return SKIP
        from sampan.scheduler.devices import of_pod

        return of_pod.prepare(pod, snapshot)

    def filter(self, state: PodDevices, pod: PodInfo, node: NodeInfo) -> Status | None:
        return state.verdict(node)

    async def post_filter(self, cycle: Cycle, statuses: Mapping[str, Status]) -> tuple[Status, str | None]:
        state: PodDevices | None = cycle.states.get(self.name)
        if state is None or self.handle is None:
            return unschedulable(), None
        return await state.free(self.handle), None

    def pre_score(
        self, state: PodDevices | None, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> PodDevices | None:
        return state

    def score(self, state: PodDevices | None, pod: PodInfo, node: NodeInfo) -> int:
        return state.score(node.name) if state else 0

    def normalize(
        self, state: PodDevices | None, pod: PodInfo, nodes: Sequence[NodeInfo], scores: list[int]
    ) -> list[int]:
        return most_is_best(scores)

    def reserve(self, state: PodDevices | None, pod: PodInfo, node: str) -> Status | None:
        return state.promise(node, self.handle) if state and self.handle else None

    def unreserve(self, state: PodDevices | None, pod: PodInfo, node: str) -> None:
        if state and self.handle:
            state.withdraw(self.handle)

    async def pre_bind(self, state: PodDevices | None, pod: PodInfo, node: str) -> Status | None:
        return await state.write(node, self.handle) if state and self.handle else None
