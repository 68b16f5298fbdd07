"""NodePorts: no two pods of a node may have the same host port at one address."""

from __future__ import annotations

from sampan.scheduler.framework import SKIP, Plugin, PreFiltered, Status, unschedulable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot


class NodePorts(Plugin):
    name = "NodePorts"

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        return PreFiltered() if pod.host_ports else SKIP

    def filter(self, state: None, pod: PodInfo, node: NodeInfo) -> Status | None:
        if any(node.conflicts(port) for port in pod.host_ports):
            return unschedulable("node(s) didn't have free ports for the requested pod ports")
        return None
