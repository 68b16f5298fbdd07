"""PrioritySort: the highest priority first, and among equals who has waited longest."""

from __future__ import annotations

from sampan.scheduler.framework import Plugin
from sampan.scheduler.pods import PodInfo


class PrioritySort(Plugin):
    name = "PrioritySort"

    def key(self, pod: PodInfo, since: float) -> tuple[int, float]:
        return -pod.priority, since
