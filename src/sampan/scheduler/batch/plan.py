"""A plan for many pods: who goes where, checked pod by pod with the plain plugins before anyone acts on it.

    plan = await make(profile, snapshot, pods, Wish(FEWEST_NODES, seconds=5.0))

The snapshot is used to try things on, so it must be the caller's own, or be told of what was bound afterwards: with
`keep`, placed pods stay counted on their nodes; without, the snapshot is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sampan.scheduler import gang
from sampan.scheduler.batch import process
from sampan.scheduler.batch.prepare import assign, in_use, prepare
from sampan.scheduler.batch.problem import BALANCE, FEWEST_NODES, least_nodes
from sampan.scheduler.cluster import GROUPS, order
from sampan.scheduler.decide import Cycle, decide
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins.node_resources_fit import NodeResourcesFit
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.snapshot import Snapshot

OBJECTIVES = (FEWEST_NODES, BALANCE)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is best, and how many seconds the solver may think."""

    objective: str = FEWEST_NODES
    seconds: float = 5.0


@dataclass(slots=True)
class Plan:
    """`nodes` by the pods' uids; `failed` says why a pod has none. `used` counts nodes in use, before and after."""

    nodes: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)
    used: tuple[int, int] = (0, 0)
    # Empty nodes that the pods of the solver need at the very least; how many pods it was given.
    least: int = 0
    solved: int = 0
    trouble: str = ""


async def make(
    profile: Profile, snapshot: Snapshot, pods: Iterable[PodInfo], wish: Wish, *, keep: bool = False
) -> Plan:
    """Place the pods together: those that the solver cannot take before it, those that it left after, in sequence."""
    waiting = sorted(pods, key=order)
    plan = Plan(pods={p.uid: p for p in waiting})
    before = _in_use(snapshot)
    one_by_one = sequential(profile, wish.objective)
    first = prepare(profile, snapshot, waiting)
    for pod in first.tied:
        _try(one_by_one, snapshot, pod, plan)
    await _solve(
        profile, snapshot, [p for p in waiting if p.uid not in {t.uid for t in first.tied}], wish, plan
    )
    for pod in waiting:
        if pod.uid not in plan.nodes and pod.uid not in plan.failed:
            _try(one_by_one, snapshot, pod, plan)
    _whole_gangs(snapshot, plan)
    plan.used = before, _in_use(snapshot)
    if not keep:
        for uid in plan.nodes:
            snapshot.remove_pod(uid)
    return plan


async def _solve(profile: Profile, snapshot: Snapshot, pods: list[PodInfo], wish: Wish, plan: Plan) -> None:
    """Let the solver place pods, the more important first where not all have room."""
    remaining = pods
    ranks = sorted({p.priority for p in pods}, reverse=True)
    for attempt in [None] if len(ranks) < 2 else [None, *ranks]:
        chosen = [p for p in remaining if attempt is None or p.priority == attempt]
        prepared = prepare(profile, snapshot, chosen)
        if not prepared.problem.pods or not snapshot.nodes:
            continue
        try:
            packing = await process.solve(
                prepared.problem, wish.objective, wish.seconds / (1 if attempt is None else len(ranks)),
                prepared.order,
            )  # fmt: skip
        except process.SolverFailed as e:
            plan.trouble = str(e)
            return
        if attempt is None and packing.left and len(ranks) > 1:
            continue
        plan.least += least_nodes(prepared.problem)
        plan.solved += prepared.problem.pods
        for pod, node in assign(prepared, packing):
            if allows(profile, snapshot, pod, node):
                _assume(snapshot, pod, node.name, plan)
        if attempt is None:
            return
        remaining = [p for p in remaining if p.uid not in plan.nodes]


def allows(profile: Profile, snapshot: Snapshot, pod: PodInfo, node: NodeInfo) -> bool:
    """Whether the scheduler itself would let the pod onto the node now."""
    cycle = Cycle(profile, snapshot, pod)
    if cycle.pre_filter() is not None:
        return False
    if cycle.candidates is not None and node.name not in cycle.candidates:
        return False
    return cycle.filter_with_nominated(node) is None


def sequential(profile: Profile, objective: str) -> Profile:
    """The profile for pods one by one: all its filters, and only the score that serves the objective."""
    kind = "LeastAllocated" if objective == BALANCE else "MostAllocated"
    resources = [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]
    fit = NodeResourcesFit({"scoringStrategy": {"type": kind, "resources": resources}})
    return replace(profile, pre_score=(fit,), score=(fit,), weights={fit.name: 1})


def _try(profile: Profile, snapshot: Snapshot, pod: PodInfo, plan: Plan) -> None:
    decision = decide(profile, snapshot, pod)
    if decision.node:
        _assume(snapshot, pod, decision.node, plan)
    else:
        plan.failed[pod.uid] = decision.message()


def _assume(snapshot: Snapshot, pod: PodInfo, node: str, plan: Plan) -> None:
    snapshot.add_pod(pod, node)
    plan.nodes[pod.uid] = node


def _whole_gangs(snapshot: Snapshot, plan: Plan) -> None:
    """Take gangs off again of which too few pods have a node."""
    members: dict[tuple[str, str], list[PodInfo]] = {}
    for pod in plan.pods.values():
        if name := gang.group_of(pod.object):
            members.setdefault((pod.namespace, name), []).append(pod)
    for (namespace, name), pods in members.items():
        group = snapshot.get(GROUPS, name, namespace)
        placed = [p for p in pods if p.uid in plan.nodes]
        there = sum(1 for p, _ in snapshot.pods({namespace}) if gang.group_of(p.object) == name)
        if group is None or (placed and there < gang.min_count(group)):
            for pod in placed:
                snapshot.remove_pod(pod.uid)
                del plan.nodes[pod.uid]
                plan.failed[pod.uid] = f"too few pods of its group {name!r} have room"


def _in_use(snapshot: Snapshot) -> int:
    return sum(1 for node in snapshot.nodes.values() if in_use(node))
