"""GangScheduling: a pod of a PodGroup waits outside the queue until its group, and enough of its pods, are there.

The rest of a gang's way is the loop's (`gang_cycle`), which takes all its pods at once. In a scheduler that knows no
groups, such as `evaluate`, every pod passes.
"""

from __future__ import annotations

from typing import Any

from sampan.scheduler import gang
from sampan.scheduler.framework import Plugin, Status
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import POD_GROUPS


class GangScheduling(Plugin):
    name = gang.NAME

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        name = gang.group_of(pod.object)
        handle: Any = self.handle
        if name is None or handle is None:
            return None
        group = handle.snapshot.get(POD_GROUPS, name, pod.namespace)
        return gang.gate(pod.object, group, len(handle.groups.of(pod.namespace, name)))
