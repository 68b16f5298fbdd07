"""TaintToleration: keeps pods off nodes whose taints they do not tolerate, and prefers nodes with fewer of the
taints that only ask to stay away.
"""

from __future__ import annotations

from collections.abc import Sequence

from sampan.machinery.objects import Object
from sampan.machinery.placement import tolerates
from sampan.scheduler.framework import Plugin, Status, unresolvable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins.normal import fewest_is_best
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.terms import untolerated

SOFT = "PreferNoSchedule"


class TaintToleration(Plugin):
    name = "TaintToleration"

    def filter(self, state: None, pod: PodInfo, node: NodeInfo) -> Status | None:
        if untolerated(node.taints, pod.tolerations) is None:
            return None
        return unresolvable("node(s) had untolerated taint(s)")

    def pre_score(
        self, state: None, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> list[Object]:
        """The tolerations that may bear a soft taint."""
        return [t for t in pod.tolerations if t.get("effect") in (None, "", SOFT)]

    def score(self, state: list[Object], pod: PodInfo, node: NodeInfo) -> int:
        soft = [taint for taint in node.taints if taint.get("effect") == SOFT]
        return sum(1 for taint in soft if not any(tolerates(t, taint) for t in state))

    def normalize(
        self, state: list[Object], pod: PodInfo, nodes: Sequence[NodeInfo], scores: list[int]
    ) -> list[int]:
        return fewest_is_best(scores)
