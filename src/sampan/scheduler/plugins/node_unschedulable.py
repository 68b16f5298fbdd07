"""NodeUnschedulable: cordoned nodes take only pods that tolerate the taint of cordoned nodes."""

from __future__ import annotations

from sampan.machinery.placement import UNSCHEDULABLE, tolerates
from sampan.scheduler.framework import Plugin, Status, unresolvable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo

CORDONED = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}


class NodeUnschedulable(Plugin):
    name = "NodeUnschedulable"

    def filter(self, state: None, pod: PodInfo, node: NodeInfo) -> Status | None:
        if not node.unschedulable or any(tolerates(t, CORDONED) for t in pod.tolerations):
            return None
        return unresolvable("node(s) were unschedulable")
