"""One pod's scheduling: find a node, count the pod there, and let plugins reserve and permit; then it may be bound.

    choose ──> assume ──> reserve ──> permit ──> pre-bind ──> bind ──> post-bind
       │          └─────────┴──────────┴───────────┴──────────┴──> unreserve, forget
       └──> post-filter (make room)

The first half (`choose`, `Reservation`) runs for one pod after the other, since each must see where the last one
went; what waits for the API (`bind`) runs beside the others.

Source: kube-scheduler 1.37, pkg/scheduler/schedule_one.go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sampan.scheduler.decide import Cycle, Decision, SchedulingError
from sampan.scheduler.framework import Code, NodeScore, Status
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.waiting import WaitingPod, WaitingPods

if TYPE_CHECKING:
    from sampan.scheduler.extenders import Extender

# Where not all nodes are looked at, at least so many are.
FEWEST = 100


async def choose(
    profile: Profile, snapshot: Snapshot, pod: PodInfo, extenders: Iterable[Extender] = (), start: int = 0
) -> Decision:
    """Where the pod should go, in single steps: for pods that extenders look at, that have a nominated node, and for
    profiles that look at a part of the nodes (from the `start`th on). Raises SchedulingError.
    """
    cycle = Cycle(profile, snapshot, pod)
    decision = Decision(pod, len(snapshot.nodes))
    if rejected := cycle.pre_filter():
        decision.rejected = rejected
        decision.plugins.update({rejected.plugin} if rejected.plugin else cycle.narrowed)
        return decision
    asked = [extender for extender in extenders if extender.is_interested(pod)]
    if (kept := snapshot.nodes.get(pod.nominated)) and await _feasible(
        cycle, [kept], asked, Decision(pod, 1)
    ):
        # Room was made for it there.
        decision.node = kept.name
        return decision
    decision.absent = cycle.absent
    decision.plugins.update(cycle.narrowed)
    nodes = list(cycle.nodes())
    offset = start % len(nodes) if nodes else 0
    found = await _feasible(cycle, nodes[offset:] + nodes[:offset], asked, decision)
    if found:
        decision.scores = await _scored(cycle, found, asked)
        decision.node = min(decision.best)
    return decision


async def _feasible(
    cycle: Cycle, nodes: list[NodeInfo], extenders: list[Extender], decision: Decision
) -> list[NodeInfo]:
    """The nodes that pass filters and extenders, as many as are wanted; the others' verdicts go into `decision`."""
    wanted = enough(len(nodes), cycle.profile.percentage_of_nodes_to_score)
    found: list[NodeInfo] = []
    for node in nodes:
        if len(found) == wanted:
            break
        if (status := cycle.filter_with_nominated(node)) is None:
            found.append(node)
        elif status.code is Code.ERROR:
            raise SchedulingError(status.message)
        else:
            decision.statuses[node.name] = status
            decision.plugins.add(status.plugin)
    for extender in extenders:
        if not found:
            break
        kept, refused = await extender.filter(cycle.pod, found)
        decision.statuses.update(refused)
        if len(kept) != len(found):
            decision.plugins.add(extender.plugin)
        found = kept
    return found


def enough(nodes: int, percentage: int | None) -> int:
    """How many feasible nodes are looked for; all of them where no percentage is asked for (None or 0)."""
    if nodes < FEWEST or not percentage:
        return nodes
    return max(FEWEST, nodes * percentage // 100)


async def _scored(cycle: Cycle, nodes: list[NodeInfo], extenders: list[Extender]) -> list[NodeScore]:
    if len(nodes) == 1:
        return [NodeScore(nodes[0].name)]
    scores = cycle.score(nodes)
    bonuses = await asyncio.gather(*(e.prioritize(cycle.pod, nodes) for e in extenders if e.is_prioritizer))
    for bonus in bonuses:
        for score in scores:
            score.total += bonus.get(score.node, 0)
    return scores


@dataclass(slots=True)
class Reservation:
    """A pod that counts on a node, with what its plugins worked out for it there."""

    profile: Profile
    pod: PodInfo
    node: str
    states: dict[str, Any] = field(default_factory=dict)

    def unreserve(self) -> None:
        """Let all plugins take back what they did, the last first."""
        for plugin in reversed(self.profile.reserve):
            plugin.unreserve(self.states.get(plugin.name), self.pod, self.node)


def reserve(reservation: Reservation, snapshot: Snapshot, short: Profile) -> Status | None:
    """Let the plugins reserve what the pod needs; None where all could. What failed is taken back.

    `short` is `later(profile)`.
    """
    profile, pod = reservation.profile, reservation.pod
    if not (profile.reserve or profile.permit or profile.pre_bind):
        return None
    cycle = Cycle(short, snapshot, pod)
    node = snapshot.nodes[reservation.node]
    refused = cycle.pre_filter() or cycle.filter(node)
    reservation.states = cycle.states
    if refused:
        return refused
    for plugin in profile.reserve:
        if found := plugin.reserve(cycle.states.get(plugin.name), pod, reservation.node):
            reservation.unreserve()
            if found.rejected:
                return found.of(plugin.name)
            text = f'running Reserve plugin "{plugin.name}": {found.message}'
            return Status(Code.ERROR, (text,), plugin.name)
    return None


def later(profile: Profile) -> Profile:
    """The profile with only those pre_filters and filters whose states reserve, permit and pre_bind want."""
    names = {p.name for p in (*profile.reserve, *profile.permit, *profile.pre_bind)}
    return replace(
        profile,
        pre_filter=tuple(p for p in profile.pre_filter if p.name in names),
        filter=tuple(p for p in profile.filter if p.name in names),
    )


def permit(reservation: Reservation, waiting: WaitingPods, now: float) -> Status | None:
    """Ask the permit plugins: None where none refuses. Those that want to wait put the pod among `waiting`."""
    patience: dict[str, float] = {}
    pod, node = reservation.pod, reservation.node
    for plugin in reservation.profile.permit:
        found, seconds = plugin.permit(reservation.states.get(plugin.name), pod, node)
        if found is None or found.code is Code.SUCCESS:
            continue
        if found.rejected:
            return found.of(plugin.name)
        if found.code is not Code.WAIT:
            text = f'running Permit plugin "{plugin.name}": {found.message}'
            return Status(Code.ERROR, (text,), plugin.name)
        patience[plugin.name] = seconds
    if patience:
        waiting.add(WaitingPod(pod, node, patience, now))
    return None


Observe = Callable[[str, Status | None, str, float], None]
"""Told of each extension point that was passed: its name, the outcome, the profile, when it began."""


async def bind(reservation: Reservation, extenders: Iterable[Extender], observe: Observe) -> Status | None:
    """Prepare, bind, and tell all of it; None where the pod is bound."""
    profile, began = reservation.profile, time.perf_counter()
    found = await _pre_bind(reservation)
    observe("PreBind", found, profile.name, began)
    if found is not None:
        return found
    began = time.perf_counter()
    found = await _bind(reservation, extenders)
    observe("Bind", found, profile.name, began)
    if found is not None:
        return found
    began = time.perf_counter()
    for after in profile.post_bind:
        after.post_bind(reservation.states.get(after.name), reservation.pod, reservation.node)
    observe("PostBind", None, profile.name, began)
    return None


async def _pre_bind(reservation: Reservation) -> Status | None:
    for plugin in reservation.profile.pre_bind:
        state = reservation.states.get(plugin.name)
        if found := await plugin.pre_bind(state, reservation.pod, reservation.node):
            return _wrong("PreBind", plugin.name, found)
    return None


async def _bind(reservation: Reservation, extenders: Iterable[Extender]) -> Status | None:
    for extender in extenders:
        if extender.is_binder and extender.is_interested(reservation.pod):
            bound, found = await extender.bind(reservation.pod, reservation.node)
            if bound:
                return found
    for plugin in reservation.profile.bind:
        found = await plugin.bind(reservation.states.get(plugin.name), reservation.pod, reservation.node)
        if found is None or found.code is Code.SUCCESS:
            return None
        if found.code is not Code.SKIP:
            return _wrong("Bind", plugin.name, found)
    return Status(Code.ERROR, ("no bind plugin bound the pod",))


def _wrong(point: str, plugin: str, found: Status) -> Status:
    if found.rejected:
        return found.of(plugin)
    return Status(Code.ERROR, (f'running {point} plugin "{plugin}": {found.message}',), plugin)
