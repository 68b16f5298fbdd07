"""Room for a gang: the fewest pods of lower priority whose end lets the whole gang be placed, if any do.

All pods of lower priority are taken off, the gang is placed, and then one pod after another is put back, the most
important first and those whose budget is used up before all, as long as every pod of the gang can stay where it is.
What cannot be put back are the victims. The snapshot ends as it began; nobody is evicted here.

Source: kube-scheduler 1.37, framework/preemption/podgrouppreemption.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sampan.scheduler import preemption
from sampan.scheduler.decide import Cycle
from sampan.scheduler.gang import Outcome, group_of
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.snapshot import BUDGETS, POD_GROUPS, Snapshot

# All of them are taken off and put back in one go, while nothing else is scheduled.
MOST_PODS = 2000


@dataclass(frozen=True, slots=True)
class Room:
    """Who would have to go from which node, and where the gang's pods would be then, by uid; or why nothing helps."""

    victims: Sequence[tuple[PodInfo, str]] = ()
    nodes: Mapping[str, str] | None = None
    why: str = ""

    def nominated(self, uid: str) -> str | None:
        """The node that is kept for a pod; "" gives up an earlier one, None leaves it."""
        if self.nodes:
            return self.nodes.get(uid)
        return "" if self.why in (preemption.NO_VICTIMS, preemption.NOT_HELPFUL) else None


def make_room(
    profile: Profile,
    snapshot: Snapshot,
    pods: Mapping[str, PodInfo],
    place: Callable[[], Outcome],
    take_back: Callable[[str], None],
) -> Room:
    """Find the victims for a gang's waiting `pods` (by uid). `place` tries the gang, `take_back` takes one pod off."""
    if reason := _eligible(pods.values(), snapshot):
        return Room(why=reason)
    priority = max(pod.priority for pod in pods.values())
    lower = [(pod, node) for pod, node in snapshot.pods() if pod.priority < priority]
    if not lower:
        return Room(why=preemption.NO_VICTIMS)
    if len(lower) > MOST_PODS:
        return Room(why=f"{len(lower)} pods of lower priority are too many to try")
    where = {pod.uid: node.name for pod, node in lower}
    try:
        for uid in where:
            snapshot.remove_pod(uid)
        found = place()
        if not found.succeeded:
            return Room(why=preemption.NOT_HELPFUL)
        victims = _victims(profile, snapshot, pods, found.placed, [(pod, where[pod.uid]) for pod, _ in lower])
        for uid in found.placed:
            take_back(uid)
        return Room([(pod, where[pod.uid]) for pod in victims], found.placed)
    finally:
        for pod, _ in lower:
            if not snapshot.holds(pod.uid):
                snapshot.add_pod(pod, where[pod.uid])


def _victims(
    profile: Profile,
    snapshot: Snapshot,
    pods: Mapping[str, PodInfo],
    placed: Mapping[str, str],
    lower: Sequence[tuple[PodInfo, str]],
) -> list[PodInfo]:
    """Put back who can stay beside the gang; those who cannot."""
    where = {pod.uid: node for pod, node in lower}
    ordered = sorted((pod for pod, _ in lower), key=preemption.importance)
    violating, others = preemption.split_by_budgets(ordered, list(snapshot.list(BUDGETS)))
    victims: list[PodInfo] = []
    for unit in _units(snapshot, [*violating, *others]):
        for pod in unit:
            snapshot.add_pod(pod, where[pod.uid])
        if not all(_all_stay(profile, snapshot, pods, placed, pod) for pod in unit):
            for pod in unit:
                snapshot.remove_pod(pod.uid)
            victims += unit
    return victims


def _units(snapshot: Snapshot, ordered: Sequence[PodInfo]) -> list[list[PodInfo]]:
    """The pods that can only end together: those of a group whose disruptionMode is `all`; every other one alone."""
    units: dict[object, list[PodInfo]] = {}
    for pod in ordered:
        name = group_of(pod.object)
        group = snapshot.get(POD_GROUPS, name, pod.namespace) if name else None
        together = group is not None and "all" in (group["spec"].get("disruptionMode") or {})
        units.setdefault((pod.namespace, name) if together else pod.uid, []).append(pod)
    return list(units.values())


def _eligible(pods: Iterable[PodInfo], snapshot: Snapshot) -> str:
    """Why the gang may not make room; also while room that was made is not free yet."""
    for pod in pods:
        if pod.spec.get("preemptionPolicy") == "Never":
            return "not eligible due to preemptionPolicy=Never."
        node = snapshot.nodes.get(pod.nominated)
        if node and any(
            p.priority < pod.priority and preemption.is_going_by_preemption(p) for p in node.pods.values()
        ):
            return "not eligible due to a terminating pod on the nominated node."
    return ""


def _all_stay(
    profile: Profile,
    snapshot: Snapshot,
    pods: Mapping[str, PodInfo],
    placed: Mapping[str, str],
    back: PodInfo,
) -> bool:
    """Whether the gang's pods may stay on their nodes although `back` is there again."""
    node = snapshot.node_of(back.uid)
    near = bool(back.has_affinity or _looks_around(pods))
    for uid, at in placed.items():
        if (near or (node and at == node.name)) and not _stays(profile, snapshot, pods[uid], at):
            return False
    return True


def _looks_around(pods: Mapping[str, PodInfo]) -> bool:
    """Whether pods elsewhere matter for any of the gang."""
    return any(p.has_affinity or p.spec.get("topologySpreadConstraints") for p in pods.values())


def _stays(profile: Profile, snapshot: Snapshot, pod: PodInfo, at: str) -> bool:
    snapshot.remove_pod(pod.uid)
    cycle = Cycle(profile, snapshot, pod)
    node: NodeInfo = snapshot.nodes[at]
    refused = cycle.pre_filter() or cycle.filter(node)
    snapshot.add_pod(pod, at)
    return refused is None
