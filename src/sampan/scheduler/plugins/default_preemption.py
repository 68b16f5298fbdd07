"""DefaultPreemption: makes room for a pod that fits nowhere, by ending pods of lower priority.

The node is chosen at once (`preemption`) and kept for the pod, which is tried there first once its victims are gone.
They are ended beside the scheduling: each gets the condition DisruptionTarget, then is deleted with its own grace
period. While that runs the pod stays out of the queue, so that it asks for no more victims.

Arguments: `minCandidateNodesPercentage` (10) and `minCandidateNodesAbsolute` (100), how many candidates are enough.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from sampan.client.api import ApiError, Unavailable
from sampan.machinery import times
from sampan.machinery.objects import Key, Object
from sampan.scheduler import preemption
from sampan.scheduler.decide import Cycle, SchedulingError
from sampan.scheduler.framework import Code, Handle, Plugin, Status, failed, unresolvable, unschedulable
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.preemption import Candidate

log = logging.getLogger(__name__)


class DefaultPreemption(Plugin):
    name = "DefaultPreemption"

    def __init__(self, arguments: Object | None = None, handle: Handle | None = None) -> None:
        super().__init__(arguments, handle)
        self._enough = preemption.Enough(
            int(self.arguments.get("minCandidateNodesPercentage", 10)),
            int(self.arguments.get("minCandidateNodesAbsolute", 100)),
        )
        # Pods whose victims are being ended, with the last of these once only that one is left.
        self._running: dict[str, Key | None] = {}
        self._offset = 0

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        if pod.uid not in self._running or self.handle is None:
            return None
        last = self._running[pod.uid]
        victim = self.handle.latest("pods", last) if last else None
        if last and (victim is None or "deletionTimestamp" in victim["metadata"]):
            return None
        return unresolvable("waiting for the preemption for this pod to be finished")

    async def post_filter(self, cycle: Cycle, statuses: Mapping[str, Status]) -> tuple[Status, str | None]:
        """Choose a node to make room on, and begin; the node where there is one, "" where none ever helps."""
        if self.handle is None:
            return unschedulable("preemption: there is no cluster to preempt in"), None
        self.handle.metrics.preemption_attempts.add()
        self._offset += 1
        try:
            chosen, status, nominated = await preemption.choose(
                cycle, statuses, self._enough, self._offset, self.handle.extenders
            )
        except SchedulingError as e:
            return failed(f"preemption: {e}"), None
        if chosen is None:
            return Status(status.code, tuple(f"preemption: {r}" for r in status.reasons)), nominated
        self.handle.metrics.victims.observe(len(chosen.victims))
        if chosen.violations:
            self.handle.metrics.budget_violations.add("pod", amount=chosen.violations)
        self._begin(cycle.pod, chosen, self.handle)
        many = f"preempting {len(chosen.victims)} victims"
        text = f"preemption: found a potential placement for pod on node {chosen.node}, {many}"
        return Status(Code.SUCCESS, (text,)), chosen.node

    # Making room

    def _begin(self, pod: PodInfo, chosen: Candidate, handle: Handle) -> None:
        victims = [v for v in chosen.victims if not v.terminating]
        if not victims:
            return
        self._running[pod.uid] = None
        nominated = handle.snapshot.nominated.get(chosen.node) or {}
        displaced = [p for p in nominated.values() if p.priority < pod.priority]
        work = self._make_room(pod, chosen.node, victims, displaced, handle)
        handle.spawn(work, f"preemption for {pod.key}")

    async def _make_room(
        self, pod: PodInfo, node: str, victims: list[PodInfo], displaced: list[PodInfo], handle: Handle
    ) -> None:
        """End the victims, the last one alone: its end is what the pod is woken by."""
        *others, last = victims
        wake = False
        try:
            await asyncio.gather(*(self._give_up(p, handle) for p in displaced))
            await asyncio.gather(*(self._end(victim, pod, node, handle) for victim in others))
            self._running[pod.uid] = last.key
            wake = await self._end(last, pod, node, handle)
        except (ApiError, Unavailable) as e:
            log.warning("preemption for %s: %s", pod.key, e)
            wake = True
        finally:
            del self._running[pod.uid]
            if wake:
                # No victim's end will wake it.
                handle.activate([pod.uid])

    async def make_room_for_gang(
        self, pods: Sequence[PodInfo], victims: Sequence[tuple[PodInfo, str]], handle: Handle
    ) -> None:
        """End the victims of a gang; where it needs no more than that they were let go of here, it is woken."""
        first = pods[0]
        try:
            ended = [await self._end(v, first, node, handle) for v, node in victims if not v.terminating]
        except (ApiError, Unavailable) as e:
            log.warning("preemption for the group of %s: %s", first.key, e)
            ended = [True]
        if all(ended):
            handle.activate([pod.uid for pod in pods])

    async def _end(self, victim: PodInfo, pod: PodInfo, node: str, handle: Handle) -> bool:
        """End one victim; True where it only waited, and goes without its pod being deleted."""
        told = f"Preempted by pod {pod.uid} on node {node}"
        waiting = handle.waiting.get(victim.uid)
        if waiting is not None and waiting.reject(self.name, "preempted"):
            told += " (in kube-scheduler memory)."
            handle.emit(victim.object, "Normal", "Preempted", told, pod.scheduler)
            return True
        try:
            await self._mark(victim, pod, handle)
            await handle.client.delete("pods", victim.name, victim.namespace, uid=victim.uid)
        except ApiError as e:
            if e.reason not in ("NotFound", "Conflict"):
                raise
            return False
        handle.emit(victim.object, "Normal", "Preempted", told, pod.scheduler)
        return False

    async def _mark(self, victim: PodInfo, pod: PodInfo, handle: Handle) -> None:
        condition = {
            "type": preemption.DISRUPTED,
            "status": "True",
            "reason": preemption.BY_SCHEDULER,
            "message": f"{pod.scheduler}: preempting to accommodate a higher priority pod",
            "observedGeneration": victim.object["metadata"].get("generation", 0),
            "lastTransitionTime": times.time(time.time()),
        }
        patch = {"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}
        await handle.client.patch(
            "pods", victim.name, victim.namespace, patch, type="strategic", subresource="status"
        )

    async def _give_up(self, pod: PodInfo, handle: Handle) -> None:
        """A pod of lower priority may no longer fit on the node that was kept for it: it looks for another."""
        patch = {"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": None}}
        try:
            await handle.client.patch(
                "pods", pod.name, pod.namespace, patch, type="strategic", subresource="status"
            )
        except ApiError as e:
            log.info("the nomination of %s cannot be taken back: %s", pod.key, e)
