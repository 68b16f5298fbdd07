"""The loop's way with a gang: all its waiting pods at once, through `gang.place_group`, on the real snapshot.

While the group is tried, its pods count on their nodes and have reserved what they need there; where it fails, all of
that is taken back before another pod is looked at. Then it may make room for itself (`gang_preemption`). Extenders are
for single pods: a gang does without.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from sampan.client.api import ApiError, Unavailable
from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.scheduler import cycle, gang, outcome
from sampan.scheduler.cycle import Reservation
from sampan.scheduler.decide import Decision, SchedulingError, decide
from sampan.scheduler.framework import Code, Plugin, Status, failed, unresolvable, unschedulable
from sampan.scheduler.gang import Attempt, Outcome
from sampan.scheduler.gang_preemption import Room, make_room
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.outcome import Failure
from sampan.scheduler.plugins.default_preemption import DefaultPreemption
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.queue import Queued
from sampan.scheduler.snapshot import POD_GROUPS

if TYPE_CHECKING:
    from sampan.scheduler.loop import Scheduler

log = logging.getLogger(__name__)


class GangCycle:
    """One group's turn. `run` does all of it."""

    def __init__(self, scheduler: Scheduler, first: Queued) -> None:
        self.scheduler, self.snapshot = scheduler, scheduler.snapshot
        self.namespace, self.name = first.pod.namespace, gang.group_of(first.pod.object) or ""
        self.began = time.time_ns()
        self.profile: Profile = scheduler.profiles[first.pod.scheduler]
        self.items = {i.pod.uid: i for i in self._members(first)}
        self.reservations: dict[str, Reservation] = {}
        self.decisions: dict[str, Decision] = {}
        for uid in self.items:
            # A place that was kept for one of them is the group's to use; it counts when the pod is tried.
            self.snapshot.withdraw(uid)

    def run(self) -> None:
        """Place the group's waiting pods and start their binding, or give all of them back to the queue."""
        if not self.items:
            return
        group = self.snapshot.get(POD_GROUPS, self.name, self.namespace)
        if group is None:
            pod = next(iter(self.items.values())).pod
            status = gang.gate(pod.object, None, 0) or gang.SUCCESS
            found = Outcome(status)
        else:
            found = self._placed(group)
        room = self._room(group, found)
        for uid, item in self.items.items():
            if uid in found.placed:
                self._bind(item, self.reservations[uid])
            else:
                failure = replace(self._failure(uid, found), nominated=room.nominated(uid))
                self.scheduler.start_failing(item, failure, self.began)
        if group is not None:
            self._tell(group, found.status)

    def _room(self, group: Object | None, found: Outcome) -> Room:
        """Let pods of lower priority end, where that lets the group be placed; what came of it."""
        plugin = next((p for p in self.profile.post_filter if isinstance(p, DefaultPreemption)), None)
        if group is None or plugin is None or found.status.code is not Code.UNSCHEDULABLE:
            return Room()
        pods = {uid: item.pod for uid, item in self.items.items()}
        refusals = dict(self.decisions)
        try:
            room = make_room(
                self.profile, self.snapshot, pods, lambda: self._place(group),
                lambda uid: self._take_back(pods[uid].object),
            )  # fmt: skip
        except Exception as e:
            log.exception("cannot make room for group %s/%s", self.namespace, self.name)
            self._take_all_back()
            room = Room(why=f"{type(e).__name__}: {e}")
        self.decisions = refusals
        if not room.nodes:
            found.status = unschedulable(*found.status.reasons, f"preemption: {room.why}").of(gang.NAME)
            return room
        told = f"preemption: found a placement for podgroup, preempting {len(room.victims)} victims"
        found.status = unschedulable(*found.status.reasons, told).of(gang.NAME)
        handle = self.scheduler.handle
        waiting = list(pods.values())
        handle.spawn(
            plugin.make_room_for_gang(waiting, room.victims, handle), f"preemption for group {self.name}"
        )
        return room

    def _members(self, first: Queued) -> list[Queued]:
        """The group's pods that wait, the first among them; those that need no node any more are let go."""
        queue = self.scheduler.queue

        def same(pod: PodInfo) -> bool:
            return pod.namespace == self.namespace and gang.group_of(pod.object) == self.name

        found = []
        for item in [first, *queue.pop_all(same)]:
            if item.pod.terminating or self.snapshot.holds(item.pod.uid):
                queue.done(item.pod.uid)
            else:
                found.append(item)
        return found

    def _placed(self, group: Object) -> Outcome:
        """What came of the group; a plugin's fault is the group's, not everyone's."""
        try:
            return self._place(group)
        except Exception as e:
            log.exception("cannot schedule group %s/%s", self.namespace, self.name)
            self._take_all_back()
            return Outcome(failed(f"{type(e).__name__}: {e}"))

    def _take_all_back(self) -> None:
        """After a fault: whatever of the group is counted anywhere is so no more."""
        for uid, item in self.items.items():
            if uid in self.reservations:
                self._take_back(item.pod.object)
            else:
                self.snapshot.remove_pod(uid)

    def _place(self, group: Object) -> Outcome:
        known = self.scheduler.handle.groups.of(self.namespace, self.name)
        placed = [(uid, n) for uid in known if (n := self.snapshot.node_of(uid)) and uid not in self.items]
        there = [node.pods[uid].object for uid, node in placed]
        waiting = [item.pod.object for item in self.items.values()]
        if wrong := gang.fault(group, [*waiting, *there]):
            return Outcome(wrong)
        nodes = (node.object for node in self.snapshot.nodes.values())
        domains = gang.domains(group, nodes, (node.name for _, node in placed))
        return gang.place_group(group, waiting, len(placed), self._attempt, self._take_back, domains)

    def _attempt(self, pod: Object, nodes: frozenset[str] | None) -> Attempt:
        """Find one pod a node, and count and reserve it there."""
        info = self.items[pod["metadata"]["uid"]].pod
        try:
            decision = self._decide(info, nodes)
        except SchedulingError as e:
            return Attempt("", failed(str(e)))
        self.decisions[info.uid] = decision
        if not decision.node:
            return Attempt("", unschedulable(decision.message()))
        reservation = Reservation(self.profile, info, decision.node)
        self.snapshot.add_pod(info, decision.node)
        refused = cycle.reserve(reservation, self.snapshot, self.scheduler.later[self.profile.name])
        if refused:
            self.snapshot.remove_pod(info.uid)
            return Attempt("", refused)
        self.reservations[info.uid] = reservation
        return Attempt(decision.node)

    def _decide(self, pod: PodInfo, nodes: frozenset[str] | None) -> Decision:
        if nodes is None:
            return self.scheduler.decide(self.profile, pod)
        within = replace(self.profile, filter=(Within(nodes), *self.profile.filter))
        return decide(within, self.snapshot, pod)

    def _take_back(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self.reservations.pop(uid).unreserve()
        self.snapshot.remove_pod(uid)

    def _bind(self, item: Queued, reservation: Reservation) -> None:
        scheduler, pod = self.scheduler, reservation.pod
        self.snapshot.withdraw(pod.uid)
        scheduler.feed.assumed[pod.uid] = pod
        if refused := scheduler.permit(reservation):
            scheduler.forget(pod.uid)
            failure = outcome.on_one_node(pod, reservation.node, refused)
            scheduler.start_failing(item, failure, self.began)
            return
        scheduler.start_binding(item, reservation, self.began)

    def _failure(self, uid: str, found: Outcome) -> Failure:
        """Why one pod has no node: its own reason where it was tried in vain, else the group's."""
        if found.status.code is Code.ERROR:
            return Failure(found.status.message)
        refusing = {name for decision in self.decisions.values() for name in decision.plugins}
        refusing |= {a.status.plugin for a in found.attempts.values() if a.status.plugin}
        mine = found.attempts.get(uid)
        message = mine.status.message if mine is not None and not mine.node else gang.message(found.status)
        return Failure(message, frozenset(refusing | {gang.NAME}))

    def _tell(self, group: Object, status: Status) -> None:
        condition = gang.condition(group, status, times.time(time.time()))
        if condition is not None:
            name = f"schedule group {self.namespace}/{self.name}"
            self.scheduler.handle.spawn(self._write(condition), name)

    async def _write(self, condition: Object) -> None:
        patch = {"status": {"conditions": [condition]}}
        client = self.scheduler.handle.client
        try:
            await client.patch(
                POD_GROUPS, self.name, self.namespace, patch, type="strategic", subresource="status"
            )
        except (ApiError, Unavailable) as e:
            log.warning("the condition of group %s/%s cannot be written: %s", self.namespace, self.name, e)


class Within(Plugin):
    """Only nodes of one domain, for a group that must stay in one."""

    name = "TopologyPlacement"

    def __init__(self, nodes: frozenset[str]) -> None:
        super().__init__()
        self.nodes = nodes

    def filter(self, state: None, pod: PodInfo, node: NodeInfo) -> Status | None:
        return None if node.name in self.nodes else unresolvable("node(s) were outside the group's placement")
