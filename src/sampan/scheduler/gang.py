"""Gangs: pods of one PodGroup that are placed together, as one transaction on the snapshot, or not at all.

The queue holds a gang's pods back until there are enough of them (`gate`), then hands them over together. `place_group`
places one after another; each that finds a node counts there for the next. Where fewer than `minCount` can be placed,
all are taken off again before anything else is decided, so no gang holds a part of what another needs, and two that fit
only alone cannot block each other. Whatever touches the cluster is the caller's: it gives two functions.

Source: KEP-4671 (gang scheduling), KEP-5732 (topology-aware workload scheduling); kube-scheduler 1.37,
schedule_one_podgroup.go and the plugins GangScheduling, PodGroupPodsCount and TopologyPlacement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sampan.machinery.objects import Object
from sampan.scheduler.framework import Code, Status, failed, unresolvable, unschedulable
from sampan.scheduler.pods import PodInfo

NAME = "GangScheduling"
INITIALLY_SCHEDULED = "PodGroupInitiallyScheduled"
SUCCESS = Status(Code.SUCCESS, plugin=NAME)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one pod: the node that it now counts on, or why there is none."""

    node: str = ""
    status: Status = SUCCESS


@dataclass(slots=True)
class Outcome:
    """What became of a group: `status` of the whole, `attempts` by the pods' uids (of those that were tried).

    Only where `status` is a success do the placed pods count on their nodes, and may be bound.
    """

    status: Status
    attempts: dict[str, Attempt] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        return self.status.code is Code.SUCCESS

    @property
    def placed(self) -> dict[str, str]:
        """The node of each pod that has one, by uid; empty where the group failed."""
        return {uid: a.node for uid, a in self.attempts.items() if a.node} if self.succeeded else {}


# Finds a node for a pod, of these or of all (None), and counts the pod there.
Attempting = Callable[[Object, frozenset[str] | None], Attempt]
# Takes a pod that was counted off its node.
TakeBack = Callable[[Object], None]


class Members:
    """Who belongs to which group: the uids of all known pods that have not ended."""

    def __init__(self) -> None:
        self._uids: dict[tuple[str, str], set[str]] = {}

    def of(self, namespace: str, name: str) -> frozenset[str]:
        return frozenset(self._uids.get((namespace, name), ()))

    def note(self, pod: PodInfo, gone: bool = False) -> None:
        """A pod came or changed, or is gone."""
        name = group_of(pod.object) if pod.spec else None
        if name is None:
            return
        key = (pod.namespace, name)
        uids = self._uids.setdefault(key, set())
        if gone or pod.finished:
            uids.discard(pod.uid)
        else:
            uids.add(pod.uid)
        if not uids:
            del self._uids[key]


def group_of(pod: Object) -> str | None:
    """The name of the PodGroup that a pod is scheduled with, in its own namespace."""
    name: str | None = (pod["spec"].get("schedulingGroup") or {}).get("podGroupName")
    return name


def min_count(group: Object) -> int:
    """How many pods must have a node before any gets one; 1 for a group that is no gang."""
    gang = group["spec"]["schedulingPolicy"].get("gang")
    return int(gang["minCount"]) if gang is not None else 1


def gate(pod: Object, group: Object | None, known: int) -> Status | None:
    """Why a pod may not enter the queue yet. `known` counts all pods of its group, scheduled or not."""
    name = group_of(pod)
    if name is None:
        return None
    if group is None:
        text = f'waiting for pods\'s pod group "{name}" to appear in scheduling queue'
        return unresolvable(text).of(NAME)
    if "gang" in group["spec"]["schedulingPolicy"] and known < min_count(group):
        return unresolvable("waiting for minCount pods from a gang to appear in scheduling queue").of(NAME)
    return None


def fault(group: Object, pods: Iterable[Object]) -> Status | None:
    """Why these pods cannot be one group: they must agree with it and one another on what decides who goes first."""
    priority = int(group["spec"].get("priority") or 0)
    scheduler = policy = None
    for pod in pods:
        spec = pod["spec"]
        name, own = spec.get("schedulerName", ""), int(spec.get("priority") or 0)
        preempts = spec.get("preemptionPolicy") or "PreemptLowerPriority"
        scheduler, policy = scheduler or name, policy or preempts
        if name != scheduler:
            return _fault(f'have the same .spec.schedulerName set, got: "{name}" and "{scheduler}"')
        if own != priority:
            same = f"have the same priority as the pod group's priority, got {own} and {priority}"
            return _fault(same)
        if preempts != policy:
            return _fault(f"have the same preemption policy, got {preempts} and {policy}")
    return None


def _fault(what: str) -> Status:
    return failed(f"all pods in a single pod group should {what}").of(NAME)


def feasible(least: int, scheduled: int, remaining: int) -> Status:
    """Whether a group has what it needs: a success, WAIT while it may still come, or never."""
    if scheduled + remaining < least:
        why = f"minCount ({least}) cannot be satisfied: {scheduled} scheduled, {remaining} remaining"
        return unschedulable(why).of(NAME)
    if scheduled < least:
        why = f"minCount ({least}) is not yet satisfied: {scheduled} scheduled, {remaining} remaining"
        return Status(Code.WAIT, (why,), NAME)
    return SUCCESS


def place_group(
    group: Object, pods: Sequence[Object], scheduled: int, attempt: Attempting, take_back: TakeBack,
    domains: Mapping[str, frozenset[str]] | None = None,
) -> Outcome:  # fmt: skip
    """Place a group's waiting pods in their order; `scheduled` of its pods have a node already.

    `domains` are sets of nodes of which one must hold the whole group (see the function); None: all nodes.
    """
    if wrong := fault(group, pods):
        return Outcome(wrong)
    if domains is None:
        return _place(group, pods, scheduled, attempt, take_back, None)
    tried = []
    for name in sorted(domains):
        outcome = _place(group, pods, scheduled, attempt, take_back, domains[name])
        for pod in pods:
            if pod["metadata"]["uid"] in outcome.placed:
                take_back(pod)
        if outcome.status.code is Code.ERROR:
            return outcome
        tried.append((name, outcome))
    best = max((t for t in tried if t[1].succeeded), key=lambda t: len(t[1].placed), default=None)
    if best is not None:
        return _place(group, pods, scheduled, attempt, take_back, domains[best[0]])
    return _nowhere(tried)


def _nowhere(tried: list[tuple[str, Outcome]]) -> Outcome:
    if not tried:
        return Outcome(unschedulable("0/0 placements are available").of(NAME))
    first = tried[0][1]
    why = f"0/{len(tried)} placements are available, first placement status: {first.status.message}"
    return Outcome(unschedulable(why).of(NAME), first.attempts)


def _place(
    group: Object, pods: Sequence[Object], scheduled: int, attempt: Attempting, take_back: TakeBack,
    nodes: frozenset[str] | None,
) -> Outcome:  # fmt: skip
    least, remaining = min_count(group), len(pods)
    outcome = Outcome(feasible(least, scheduled, remaining))
    assumed: list[Object] = []
    for pod in pods:
        if outcome.status.code not in (Code.WAIT, Code.SUCCESS):
            break
        found = attempt(pod, nodes)
        outcome.attempts[pod["metadata"]["uid"]] = found
        remaining -= 1
        if found.node:
            assumed.append(pod)
            scheduled += 1
        elif not found.status.rejected:
            why = f"failed to schedule other pod from a pod group: {found.status.message}"
            outcome.status = failed(why).of(NAME)
            break
        outcome.status = feasible(least, scheduled, remaining)
    if outcome.succeeded and assumed:
        return outcome
    for pod in reversed(assumed):
        take_back(pod)
    if outcome.status.code is not Code.ERROR:
        outcome.status = unschedulable(*(outcome.status.reasons or ("pod group is unschedulable",))).of(NAME)
    return outcome


def domains(
    group: Object, nodes: Iterable[Object], scheduled_on: Iterable[str]
) -> dict[str, frozenset[str]] | None:
    """The nodes of each domain that may hold a whole group, by its topology constraint; None without one.

    Where pods of the group run already (`scheduled_on`, names of nodes), only their domain is left.
    """
    constraints = (group["spec"].get("schedulingConstraints") or {}).get("topology")
    if not constraints:
        return None
    key = constraints[0]["key"]
    found: dict[str, set[str]] = {}
    for node in nodes:
        domain = (node["metadata"].get("labels") or {}).get(key)
        if domain is not None:
            found.setdefault(domain, set()).add(node["metadata"]["name"])
    taken = set(scheduled_on)
    return {d: frozenset(names) for d, names in found.items() if taken <= names}


def message(status: Status) -> str:
    """A group's status as its condition and the events of its pods say it."""
    return ", ".join(status.reasons)


def condition(group: Object, status: Status, now: str) -> Object | None:
    """The condition PodGroupInitiallyScheduled to write; None where it stands so, or was true before."""
    old = next(
        (c for c in (group.get("status") or {}).get("conditions") or () if c["type"] == INITIALLY_SCHEDULED),
        None,
    )
    truth = status.code is Code.SUCCESS
    if old is not None and old["status"] == "True":
        return None
    reason = "Scheduled" if truth else "SchedulerError" if status.code is Code.ERROR else "Unschedulable"
    new = {
        "type": INITIALLY_SCHEDULED,
        "status": "True" if truth else "False",
        "reason": reason,
        "message": message(status),
        "observedGeneration": group["metadata"].get("generation", 0),
        "lastTransitionTime": old["lastTransitionTime"] if old and not truth else now,
    }
    return None if new == old else new
