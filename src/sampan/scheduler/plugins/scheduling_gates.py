"""SchedulingGates: a pod with gates in its spec waits outside the queue until they are gone."""

from __future__ import annotations

from sampan.scheduler.framework import Plugin, Status, unresolvable
from sampan.scheduler.pods import PodInfo


class SchedulingGates(Plugin):
    name = "SchedulingGates"

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        gates = [gate["name"] for gate in pod.spec.get("schedulingGates") or ()]
        return unresolvable(f"waiting for scheduling gates: [{' '.join(gates)}]") if gates else None
