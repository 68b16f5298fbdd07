"""NodeName: a pod whose spec names a node goes there only."""

from __future__ import annotations

from sampan.scheduler.framework import Plugin, PreFiltered, Status, unresolvable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot


class NodeName(Plugin):
    name = "NodeName"

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | None:
        return PreFiltered(nodes=frozenset((pod.node,))) if pod.node else None

    def filter(self, state: None, pod: PodInfo, node: NodeInfo) -> Status | None:
        if pod.node and pod.node != node.name:
            return unresolvable("node(s) didn't match the requested node name")
        return None
