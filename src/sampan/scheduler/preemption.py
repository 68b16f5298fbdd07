"""Preemption: which pods would have to go from which node, so that a more important pod can take their place.

For each candidate node all pods of lower priority are taken away (in a copy); if the pod fits then, as many as possible
are taken back (reprieved), those first whose disruption budgets would be violated, and in each group the most important
first. Of the candidates the one that hurts least is chosen. Nothing here touches the cluster; see
`plugins/default_preemption`.

Source: kube-scheduler 1.37, pkg/scheduler/framework/preemption; KEP-564 (pod priority and preemption).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sampan.machinery import conditions, selectors, times
from sampan.machinery.objects import Object
from sampan.scheduler.decide import Cycle, SchedulingError, histogram
from sampan.scheduler.framework import Code, Status, unresolvable, unschedulable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import BUDGETS

if TYPE_CHECKING:
    from sampan.scheduler.extenders import Extender

DISRUPTED = "DisruptionTarget"
BY_SCHEDULER = "PreemptionByScheduler"
SUCCESS = Status(Code.SUCCESS)
NO_VICTIMS = "No preemption victims found for incoming pod"
# How many nodes are looked at before others on the loop get their turn.
TURN = 16
NOT_HELPFUL = "Preemption is not helpful for scheduling"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node and the pods that would have to go, the most important first; how many violate a disruption budget."""

    node: str
    victims: tuple[PodInfo, ...]
    violations: int = 0


@dataclass(frozen=True, slots=True)
class Enough:
    """How many candidates are looked for: a percentage of the nodes, at least so many."""

    percentage: int = 10
    absolute: int = 100

    def of(self, nodes: int) -> int:
        return min(nodes, max(nodes * self.percentage // 100, self.absolute))


async def choose(
    cycle: Cycle,
    statuses: Mapping[str, Status],
    enough: Enough = Enough(),
    offset: int = 0,
    extenders: Iterable[Extender] = (),
) -> tuple[Candidate | None, Status, str | None]:
    """The best node to make room on, by why each of them refused the pod; else why there is none.

    Then comes also what to do with an earlier nomination: "" gives it up, None leaves it. Where not all nodes are
    looked at, it begins with the `offset`th. Raises SchedulingError.
    """
    pod, nodes = cycle.pod, cycle.snapshot.nodes
    if reason := is_eligible(pod, statuses.get(pod.nominated), nodes):
        return None, unschedulable(reason), None
    hopeful = [nodes[n] for n, status in statuses.items() if status.code is Code.UNSCHEDULABLE and n in nodes]
    first = offset % len(hopeful) if hopeful else 0
    budgets = list(cycle.snapshot.list(BUDGETS))
    found, refused = await candidates(
        cycle, [*hopeful[first:], *hopeful[:first]], budgets, enough.of(len(hopeful))
    )
    if not found:
        others = unresolvable(NOT_HELPFUL)
        why = histogram(refused.values(), others, len(nodes) - len(refused))
        return None, unschedulable(f"0/{len(nodes)} nodes are available: {why}."), ""
    kept = {c.node: (list(c.victims), c.violations) for c in found}
    for extender in extenders:
        if kept and extender.supports_preemption and extender.is_interested(pod):
            kept = await extender.preempt(pod, kept, nodes)
    if not kept:
        return None, unschedulable("no candidate node for preemption"), None
    return best([Candidate(n, tuple(v), violated) for n, (v, violated) in kept.items()]), SUCCESS, None


def is_eligible(pod: PodInfo, nominated: Status | None, nodes: Mapping[str, NodeInfo]) -> str:
    """Why the pod may not make room for itself, empty where it may; `nominated` is its nominated node's verdict."""
    if pod.spec.get("preemptionPolicy") == "Never":
        return "not eligible due to preemptionPolicy=Never."
    if not pod.nominated or (nominated is not None and nominated.code is Code.UNRESOLVABLE):
        return ""
    node = nodes.get(pod.nominated)
    going = (p for p in node.pods.values() if p.priority < pod.priority) if node else ()
    if any(is_going_by_preemption(p) for p in going):
        return "not eligible due to a terminating pod on the nominated node."
    return ""


def is_going_by_preemption(pod: PodInfo) -> bool:
    """Whether a pod ends because a scheduler wanted its place."""
    if not pod.terminating:
        return False
    found = conditions.find(pod.object, DISRUPTED)
    return found is not None and found.get("status") == "True" and found.get("reason") == BY_SCHEDULER


async def candidates(
    cycle: Cycle, nodes: Sequence[NodeInfo], budgets: Sequence[Object], wanted: int
) -> tuple[list[Candidate], dict[str, Status]]:
    """Candidates among these nodes, those without violations first, until there are `wanted`; the others' verdicts.

    Raises SchedulingError.
    """
    clean: list[Candidate] = []
    violating: list[Candidate] = []
    statuses: dict[str, Status] = {}
    for i, node in enumerate(nodes):
        if i % TURN == TURN - 1:
            await asyncio.sleep(0)
        found = victims_on(cycle, node, budgets)
        if isinstance(found, Status):
            if found.code is Code.ERROR:
                raise SchedulingError(found.message)
            statuses[node.name] = found
            continue
        (violating if found.violations else clean).append(found)
        if clean and len(clean) + len(violating) >= wanted:
            break
    return [*clean, *violating], statuses


def victims_on(cycle: Cycle, node: NodeInfo, budgets: Sequence[Object]) -> Candidate | Status:
    """The fewest pods that must leave the node; a Status where that does not help."""
    lower = [other for other in node.pods.values() if other.priority < cycle.pod.priority]
    if not lower:
        return unresolvable(NO_VICTIMS)
    states, copy = cycle.clone_states(), node.clone()
    for other in lower:
        cycle.remove_pod(states, other, copy)
    if (found := _fits(cycle, copy, states)) is not None:
        return found
    violating, others = split_by_budgets(sorted(lower, key=importance), budgets)
    victims: list[PodInfo] = []
    violations = 0
    for other in (*violating, *others):
        cycle.add_pod(states, other, copy)
        if _fits(cycle, copy, states) is not None:
            cycle.remove_pod(states, other, copy)
            victims.append(other)
            violations += other in violating
    if not victims:
        return Status(Code.ERROR, (f'expected at least one victim pod on node "{node.name}"',))
    return Candidate(node.name, tuple(sorted(victims, key=importance)), violations)


def _fits(cycle: Cycle, node: NodeInfo, states: dict[str, object]) -> Status | None:
    return cycle.filter_with_nominated(node, states)


def importance(pod: PodInfo) -> tuple[int, float]:
    """What pods are ordered by, the most important first: priority, then who has run longest."""
    return -pod.priority, started(pod)


def started(pod: PodInfo) -> float:
    """When the pod began to run, in seconds; what has not begun is the latest."""
    text = pod.status.get("startTime")
    return times.seconds(text) if text else float("inf")


def split_by_budgets(
    pods: Iterable[PodInfo], budgets: Sequence[Object]
) -> tuple[list[PodInfo], list[PodInfo]]:
    """Those whose loss would violate a PodDisruptionBudget, and the others, each in the order given."""
    allowed = [(b.get("status") or {}).get("disruptionsAllowed") or 0 for b in budgets]
    violating: list[PodInfo] = []
    others: list[PodInfo] = []
    for pod in pods:
        (violating if _violates(pod, budgets, allowed) else others).append(pod)
    return violating, others


def _violates(pod: PodInfo, budgets: Sequence[Object], allowed: list[int]) -> bool:
    """Take the pod's loss off the budgets that it falls under; True where one had nothing left."""
    if not pod.labels:
        return False
    for i, budget in enumerate(budgets):
        if budget["metadata"].get("namespace", "") != pod.namespace:
            continue
        selector = selectors.of(budget["spec"].get("selector"))
        if not selector or not selector.matches(pod.labels):
            continue
        if pod.name in ((budget.get("status") or {}).get("disruptedPods") or {}):
            continue
        allowed[i] -= 1
        if allowed[i] < 0:
            return True
    return False


def best(found: Sequence[Candidate]) -> Candidate:
    """The candidate that hurts least.

    The fewest violated budgets; then the lowest highest priority; the lowest sum of priorities; the fewest pods; and
    the one whose most important pods started latest.
    """
    return min(found, key=_harm)


def _harm(candidate: Candidate) -> tuple[float, ...]:
    victims = candidate.victims
    highest = victims[0].priority
    # Raised above zero, so that fewer pods of a negative priority are less harm than more.
    total = sum(p.priority + 2**31 for p in victims)
    earliest = min(started(p) for p in victims if p.priority == highest)
    return candidate.violations, highest, total, len(victims), -earliest
