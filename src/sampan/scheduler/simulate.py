"""Scheduling held still: many pods placed one after another on a snapshot, without a cluster, clock or binding.

What is placed stays counted on the snapshot, until `undo`. Gangs are placed whole. Preemption is left out: a pod that
fits nowhere is told so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sampan.machinery.objects import Object
from sampan.scheduler import gang
from sampan.scheduler.decide import Decision, SchedulingError, decide
from sampan.scheduler.framework import unschedulable
from sampan.scheduler.gang import Attempt
from sampan.scheduler.gang_cycle import Within
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.snapshot import POD_GROUPS, Snapshot

# From so many nodes on, and so many pods, it pays to keep nodes as columns of numbers.
MANY_NODES, MANY_PODS = 50, 20


@dataclass(slots=True)
class Placement:
    """The node of each pod that has one, and why the others have none, by uid; in the order of trying."""

    nodes: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)


class Simulation:
    """Places pods on a snapshot by the profiles of their schedulers, or by the first where that is not known."""

    def __init__(self, profiles: Mapping[str, Profile], snapshot: Snapshot) -> None:
        self.profiles, self.snapshot = profiles, snapshot
        self._placer: Any = None

    def place(self, pods: Iterable[PodInfo]) -> Placement:
        """Try the pods in their order, those of one gang together with its first."""
        waiting = {pod.uid: pod for pod in pods}
        found = Placement(pods=waiting)
        self._prepare(len(waiting))
        for pod in waiting.values():
            if pod.uid in found.nodes or pod.uid in found.failed:
                continue
            name = gang.group_of(pod.object)
            if name is None:
                self._one(pod, found)
            else:
                self._group(name, pod, found)
        return found

    def undo(self, placement: Placement) -> None:
        """Take off again what was placed."""
        for uid in placement.nodes:
            self.snapshot.remove_pod(uid)

    def decide(self, pod: PodInfo) -> Decision:
        """Where one pod would go now; nothing is counted. Raises SchedulingError."""
        profile = self.profile(pod)
        if self._placer is not None:
            found: Decision = self._placer.place(profile, pod)
            return found
        return decide(profile, self.snapshot, pod)

    def profile(self, pod: PodInfo) -> Profile:
        return self.profiles.get(pod.scheduler) or next(iter(self.profiles.values()))

    def _prepare(self, pods: int) -> None:
        if self._placer is None and len(self.snapshot.nodes) > MANY_NODES and pods > MANY_PODS:
            from sampan.scheduler.columns.placer import Placer

            self._placer = Placer(self.snapshot)

    def _one(self, pod: PodInfo, found: Placement) -> None:
        try:
            decision = self.decide(pod)
        except SchedulingError as e:
            found.failed[pod.uid] = str(e)
            return
        if decision.node:
            self.snapshot.add_pod(pod, decision.node)
            found.nodes[pod.uid] = decision.node
        else:
            found.failed[pod.uid] = decision.message()

    def _group(self, name: str, first: PodInfo, found: Placement) -> None:
        def same(pod: PodInfo) -> bool:
            return pod.namespace == first.namespace and gang.group_of(pod.object) == name

        members = {uid: pod for uid, pod in found.pods.items() if same(pod)}
        placed = [(pod, node) for pod, node in self.snapshot.pods({first.namespace}) if same(pod)]
        group = self.snapshot.get(POD_GROUPS, name, first.namespace)
        known = len(placed) + len(members)
        if refused := gang.gate(first.object, group, known):
            found.failed.update(dict.fromkeys(members, refused.message))
            return
        assert group is not None

        def attempt(pod: Object, nodes: frozenset[str] | None) -> Attempt:
            return self._attempt(members[_uid(pod)], nodes)

        objects = [pod.object for pod in members.values()]
        domains = gang.domains(
            group, (n.object for n in self.snapshot.nodes.values()), (node.name for _, node in placed)
        )
        outcome = gang.place_group(group, objects, len(placed), attempt, self._take_back, domains)
        found.nodes.update(outcome.placed)
        for uid in members:
            if uid not in outcome.placed:
                own = outcome.attempts.get(uid)
                failed = own is not None and not own.node
                found.failed[uid] = own.status.message if own and failed else gang.message(outcome.status)

    def _attempt(self, pod: PodInfo, nodes: frozenset[str] | None) -> Attempt:
        if nodes is None:
            decision = self.decide(pod)
        else:
            profile = self.profile(pod)
            decision = decide(replace(profile, filter=(Within(nodes), *profile.filter)), self.snapshot, pod)
        if not decision.node:
            return Attempt("", unschedulable(decision.message()))
        self.snapshot.add_pod(pod, decision.node)
        return Attempt(decision.node)

    def _take_back(self, pod: Object) -> None:
        self.snapshot.remove_pod(_uid(pod))


def _uid(pod: Object) -> str:
    return PodInfo(pod).uid
