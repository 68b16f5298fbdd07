"""Why a pod is, or would be, where it is: for every node the verdict of every filter and the score of every plugin.

The scheduler itself stops at the first filter that refuses a node; here all are asked. A pod that has a node already is
looked at as if it were not there. Nothing is written; the snapshot is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sampan.scheduler import gang, preemption
from sampan.scheduler.cluster import BUDGETS, GROUPS
from sampan.scheduler.decide import Cycle, Decision, SchedulingError, histogram
from sampan.scheduler.framework import Code, NodeScore, PreFiltered, Status, unresolvable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.snapshot import Snapshot

if TYPE_CHECKING:
    from sampan.scheduler.columns.placer import Placer
    from sampan.scheduler.columns.verdicts import Verdicts

# Making room is tried on so many nodes, at most.
MOST_TRIED = 100


@dataclass(slots=True)
class NodeExplanation:
    """One node: who refused it (by plugin, in the order of filters), and where nobody did, its scores."""

    node: str
    refusals: dict[str, Status] = field(default_factory=dict)
    score: NodeScore | None = None

    @property
    def feasible(self) -> bool:
        return not self.refusals


@dataclass(slots=True)
class Explanation:
    """`filters` and `scores` name the plugins that had something to say; the others skipped this pod.

    `refused` are those that refused the pod as a whole, before any node; `held` says why the pod is not even tried.
    """

    pod: PodInfo
    nodes: list[NodeExplanation]
    filters: tuple[str, ...]
    scores: tuple[str, ...]
    weights: dict[str, int]
    refused: dict[str, Status] = field(default_factory=dict)
    held: str = ""
    at: str = ""
    # What making room would come to, where no node fits.
    preemption: str = ""

    @property
    def feasible(self) -> list[str]:
        return [n.node for n in self.nodes if n.feasible]

    @property
    def best(self) -> list[str]:
        """The nodes with the highest total, of which the scheduler takes one."""
        totals = {n.node: n.score.total for n in self.nodes if n.score}
        top = max(totals.values(), default=0)
        return [node for node, total in totals.items() if total == top]

    def message(self) -> str:
        """What the scheduler's event would say: of each node only the first refusal, in upstream's words."""
        decision = Decision(self.pod, len(self.nodes))
        for plugin, status in self.refused.items():
            if decision.rejected is None or status.code is Code.UNRESOLVABLE:
                decision.rejected = status.of(plugin)
        decision.statuses = {n.node: next(iter(n.refusals.values())) for n in self.nodes if n.refusals}
        return decision.message(self.preemption)


def making_room(cycle: Cycle, statuses: Mapping[str, Status]) -> str:
    """What DefaultPreemption would say; nothing of clusters so large that trying takes long."""
    pod, nodes = cycle.pod, cycle.snapshot.nodes
    if reason := preemption.is_eligible(pod, statuses.get(pod.nominated), nodes):
        return f"preemption: {reason}"
    hopeful = [nodes[n] for n, status in statuses.items() if status.code is Code.UNSCHEDULABLE]
    if len(hopeful) > MOST_TRIED or not nodes:
        return ""
    budgets = list(cycle.snapshot.list(BUDGETS))
    tried = {node.name: preemption.victims_on(cycle, node, budgets) for node in hopeful}
    found = [c for c in tried.values() if isinstance(c, preemption.Candidate)]
    if found:
        best = preemption.best(found)
        where = f"found a potential placement for pod on node {best.node}"
        return f"preemption: {where}, preempting {len(best.victims)} victims"
    refused = [s for s in tried.values() if isinstance(s, Status)]
    why = histogram(refused, unresolvable(preemption.NOT_HELPFUL), len(nodes) - len(refused))
    return f"preemption: 0/{len(nodes)} nodes are available: {why}."


@contextmanager
def without(snapshot: Snapshot, pod: PodInfo) -> Iterator[str]:
    """The snapshot as if the pod were not on its node, whose name is given, for as long as the block runs."""
    node = snapshot.node_of(pod.uid)
    if node is None:
        yield ""
        return
    there = node.pods[pod.uid]
    snapshot.remove_pod(pod.uid)
    try:
        yield node.name
    finally:
        snapshot.add_pod(there, node.name)


def unbound(pod: PodInfo) -> PodInfo:
    """The pod as it was before it had a node."""
    if not pod.node:
        return pod
    spec = {k: v for k, v in pod.spec.items() if k != "nodeName"}
    return PodInfo({**pod.object, "spec": spec})


def explain(profile: Profile, snapshot: Snapshot, pod: PodInfo, placer: Placer | None = None) -> Explanation:
    """Ask every plugin about every node, or the columns of who has them. Raises SchedulingError where one fails."""
    with without(snapshot, pod) as at:
        asked = unbound(pod)
        verdicts = placer.verdicts(profile, asked) if placer else None
        if verdicts is None or verdicts.rejected:
            found = _explain(profile, snapshot, asked)
        else:
            found = _of_verdicts(profile, snapshot, verdicts)
    found.at = at
    found.held = "" if at else held(profile, snapshot, pod)
    return found


def _explain(profile: Profile, snapshot: Snapshot, pod: PodInfo) -> Explanation:
    cycle = Cycle(profile, snapshot, pod)
    refused = ask_pre_filters(cycle)
    asked = [p for p in profile.filter if p.name not in cycle.skipped_filters and p.name not in refused]
    nodes = []
    for node in snapshot.nodes.values():
        found = NodeExplanation(node.name, dict(refused))
        if cycle.candidates is not None and node.name not in cycle.candidates:
            found.refusals.update({p: left_out(p) for p in cycle.narrowed})
        for plugin in asked:
            if status := cycle.verdict(plugin, node):
                if status.code is Code.ERROR:
                    raise SchedulingError(status.message)
                found.refusals[plugin.name] = status
        nodes.append(found)
    feasible = [snapshot.nodes[n.node] for n in nodes if n.feasible]
    scores = {s.node: s for s in cycle.score(feasible)} if feasible else {}
    for found in nodes:
        found.score = scores.get(found.node)
    scored = [p.name for p in profile.score if p.name not in cycle.skipped_scores] if feasible else []
    weights = {name: profile.weights.get(name, 1) for name in scored}
    result = Explanation(pod, nodes, tuple(p.name for p in asked), tuple(scored), weights, refused)
    if not feasible:
        result.preemption = making_room(cycle, {n.node: next(iter(n.refusals.values())) for n in nodes})
    return result


def _of_verdicts(profile: Profile, snapshot: Snapshot, verdicts: Verdicts) -> Explanation:
    """The same from columns."""
    by_name = {name: NodeExplanation(name) for name in snapshot.nodes}
    for plugin in verdicts.refusals:
        for name, status in verdicts.refused_by(plugin):
            by_name[name].refusals[plugin] = status
    for score in verdicts.node_scores():
        by_name[score.node].score = score
    scored = tuple(p.name for p in profile.score if p.name in verdicts.scores.raw)
    weights = {name: profile.weights.get(name, 1) for name in scored}
    found = Explanation(verdicts.pod, list(by_name.values()), tuple(verdicts.refusals), scored, weights)
    first = {} if found.feasible else verdicts.statuses()
    if 0 < sum(1 for s in first.values() if s.code is Code.UNSCHEDULABLE) <= MOST_TRIED or not snapshot.nodes:
        cycle = Cycle(profile, snapshot, verdicts.pod)
        cycle.pre_filter()
        found.preemption = making_room(cycle, first)
    elif first:
        found.preemption = making_room(Cycle(profile, snapshot, verdicts.pod), first)
    return found


def ask_pre_filters(cycle: Cycle) -> dict[str, Status]:
    """Every plugin's pre_filter, also after one has refused the pod; who refused it, by name."""
    refused: dict[str, Status] = {}
    candidates: frozenset[str] | None = None
    for plugin in cycle.profile.pre_filter:
        found = plugin.pre_filter(cycle.pod, cycle.snapshot)
        if isinstance(found, Status):
            if found.code is Code.SKIP:
                cycle.skipped_filters.add(plugin.name)
            elif found.rejected:
                refused[plugin.name] = found.of(plugin.name)
            else:
                raise SchedulingError(f'running PreFilter plugin "{plugin.name}": {found.message}')
        elif isinstance(found, PreFiltered):
            cycle.states[plugin.name] = found.state
            if found.nodes is not None:
                cycle.narrowed.add(plugin.name)
                candidates = found.nodes if candidates is None else candidates & found.nodes
    cycle.candidates = candidates
    return refused


def left_out(plugin: str) -> Status:
    """The verdict on a node that a plugin's pre_filter left out."""
    return Status(Code.UNRESOLVABLE, (f"node(s) didn't satisfy plugin(s) [{plugin}]",), plugin)


def held(profile: Profile, snapshot: Snapshot, pod: PodInfo) -> str:
    """Why a waiting pod is not tried at all; empty where it is."""
    if pod.terminating:
        return "It is being deleted."
    if gates := [g["name"] for g in pod.spec.get("schedulingGates") or ()]:
        return f"It waits for its scheduling gates to be removed: {', '.join(gates)}."
    if pod.scheduler != profile.name:
        return f"It waits for the scheduler {pod.scheduler!r}."
    name = gang.group_of(pod.object)
    if name is None:
        return ""
    group = snapshot.get(GROUPS, name, pod.namespace)
    if group is None:
        return f"Its PodGroup {name!r} does not exist."
    return ""


def first_refusals(explanation: Explanation) -> str:
    """Each reason with how many nodes gave it first."""
    return histogram(next(iter(n.refusals.values())) for n in explanation.nodes if n.refusals)


def nodes_of(snapshot: Snapshot, explanation: Explanation) -> list[NodeInfo]:
    return [snapshot.nodes[n.node] for n in explanation.nodes]
