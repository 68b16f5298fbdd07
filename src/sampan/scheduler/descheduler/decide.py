"""What to evict: candidates of the strategies that may go, and for whom the scheduler itself would find a better place.

The proof is a simulation on the snapshot: without the pod, its scheduler's profile must place its like on a node that
the strategy calls better. What is to go is moved there at once, so later candidates see it. Budgets and limits are
counted down on the way. Nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan.machinery import selectors
from sampan.machinery.objects import Object
from sampan.scheduler.cluster import BUDGETS
from sampan.scheduler.decide import SchedulingError
from sampan.scheduler.descheduler.evictable import why_not
from sampan.scheduler.descheduler.policy import Limits, Policy
from sampan.scheduler.descheduler.strategies import STRATEGIES, Candidate
from sampan.scheduler.explain import unbound
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.simulate import Simulation
from sampan.scheduler.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Move:
    """A pod to be evicted from `node`, by which strategy and why, and where its like would go."""

    pod: PodInfo
    node: str
    strategy: str
    reason: str
    to: str


@dataclass(slots=True)
class Verdict:
    """`moves` in order; `kept` are candidates that stay, with why."""

    moves: list[Move] = field(default_factory=list)
    kept: list[tuple[PodInfo, str, str]] = field(default_factory=list)


def decide(profiles: Mapping[str, Profile], snapshot: Snapshot, policy: Policy, now: float) -> Verdict:
    """What to evict now (`now` in seconds since 1970). The snapshot is left as it was."""
    run = _Run(profiles, snapshot, policy)
    try:
        for name, arguments in policy.strategies:
            for candidate in STRATEGIES[name](snapshot, arguments, now):
                run.consider(name, candidate)
    finally:
        run.put_back()
    return run.verdict


class _Run:
    def __init__(self, profiles: Mapping[str, Profile], snapshot: Snapshot, policy: Policy) -> None:
        self.simulation, self.snapshot, self.policy = Simulation(profiles, snapshot), snapshot, policy
        self.verdict = Verdict()
        self.budgets = _Budgets(snapshot)
        self.counts: Counter[str] = Counter()
        self.moved: dict[str, tuple[PodInfo, str]] = {}
        self.looked: set[str] = set()

    def consider(self, strategy: str, candidate: Candidate) -> None:
        """Decide about one candidate, once."""
        pod = candidate.pod
        if pod.uid in self.looked:
            return
        self.looked.add(pod.uid)
        why = why_not(pod, self.policy.evictor) or self.budgets.why_not(pod) or self._limit(candidate)
        if why:
            self.verdict.kept.append((pod, candidate.node, why))
            return
        to, why = self._better(candidate)
        if not to:
            self.verdict.kept.append((pod, candidate.node, why))
            return
        self.moved[pod.uid] = (pod, candidate.node)
        self.budgets.take(pod)
        for count in (f"node {candidate.node}", f"namespace {pod.namespace}", "total"):
            self.counts[count] += 1
        self.verdict.moves.append(Move(pod, candidate.node, strategy, candidate.reason, to))

    def _better(self, candidate: Candidate) -> tuple[str, str]:
        """The node on which the pod's like would come to be, if that is better; and why not, where it is not."""
        pod = candidate.pod
        self.snapshot.remove_pod(pod.uid)
        like = unbound(pod)
        try:
            decision = self.simulation.decide(like)
        except SchedulingError as e:
            self.snapshot.add_pod(pod, candidate.node)
            return "", str(e)
        to = decision.node
        why = ""
        if not to:
            why = f"it would have no other place: {decision.message()}"
        elif to == candidate.node and not candidate.anew:
            why = f"the scheduler would put it on {to} again"
        elif candidate.onto is not None and not candidate.onto(self.snapshot.nodes[to]):
            why = f"the scheduler would put it on {to}, which is no better"
        if why:
            self.snapshot.add_pod(pod, candidate.node)
            return "", why
        self.snapshot.add_pod(like, to)
        return to, ""

    def _limit(self, candidate: Candidate) -> str:
        limits: Limits = self.policy.limits
        reached = (
            (limits.per_node, f"node {candidate.node}"),
            (limits.per_namespace, f"namespace {candidate.pod.namespace}"),
            (limits.total, "total"),
        )
        for most, of in reached:
            if most is not None and self.counts[of] >= most:
                return f"the limit of {most} evictions ({of}) is reached"
        return ""

    def put_back(self) -> None:
        for pod, node in self.moved.values():
            self.snapshot.add_pod(pod, node)


class _Budgets:
    """PodDisruptionBudgets, counted down."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.budgets = list(snapshot.list(BUDGETS))
        self.allowed = [int((b.get("status") or {}).get("disruptionsAllowed") or 0) for b in self.budgets]

    def why_not(self, pod: PodInfo) -> str:
        for i in self._of(pod):
            if self.allowed[i] <= 0:
                return f"its disruption budget {self.budgets[i]['metadata']['name']} allows no more"
        return ""

    def take(self, pod: PodInfo) -> None:
        for i in self._of(pod):
            self.allowed[i] -= 1

    def _of(self, pod: PodInfo) -> list[int]:
        def covers(budget: Object) -> bool:
            same = budget["metadata"].get("namespace", "") == pod.namespace
            return same and selectors.of((budget.get("spec") or {}).get("selector")).matches(pod.labels)

        return [i for i, budget in enumerate(self.budgets) if covers(budget)]
