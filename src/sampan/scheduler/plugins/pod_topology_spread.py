"""PodTopologySpread: spreads pods that match a selector evenly over the values of a node label.

Hard constraints (DoNotSchedule) keep a pod off nodes where a domain would have more than `maxSkew` pods above the
least; soft ones (ScheduleAnyway) prefer nodes in emptier domains.

Arguments: `defaultConstraints` for pods without constraints of their own, with `defaultingType` List; System, the
default, prefers to spread over hosts and zones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from sampan.machinery.objects import Object
from sampan.machinery.selectors import SelectorError
from sampan.scheduler.framework import (
    MAX_SCORE,
    SKIP,
    Handle,
    Plugin,
    PreFiltered,
    Status,
    failed,
    unresolvable,
    unschedulable,
)
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins.normal import rounded
from sampan.scheduler.plugins.spread_constraints import SYSTEM, Constraint, constraints_of, has_all_keys
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.terms import HOSTNAME

HARD, SOFT = "DoNotSchedule", "ScheduleAnyway"
MISMATCH = "node(s) didn't match pod topology spread constraints"


@dataclass(slots=True)
class Counts:
    """For each hard constraint, how many matching pods each domain has, and the least of these."""

    constraints: tuple[Constraint, ...]
    by_domain: list[dict[str, int]]
    least: list[int] = field(default_factory=list)

    def clone(self) -> Counts:
        return Counts(self.constraints, [dict(counts) for counts in self.by_domain], list(self.least))

    def settle(self) -> None:
        """Find the least again; too few domains count as an empty one more."""
        self.least = [
            min(counts.values()) if counts and len(counts) >= constraint.min_domains else 0
            for constraint, counts in zip(self.constraints, self.by_domain, strict=True)
        ]


@dataclass(slots=True)
class Preferences:
    """For each soft constraint, how many matching pods each domain has, and what each of them weighs."""

    constraints: tuple[Constraint, ...]
    # Feasible nodes that lack one of the labels: they score 0.
    ignored: set[str]
    by_domain: list[dict[str, int]]
    weights: list[float]


class PodTopologySpread(Plugin):
    name = "PodTopologySpread"

    def __init__(self, arguments: Object | None = None, handle: Handle | None = None) -> None:
        super().__init__(arguments, handle)
        self.by_system = self.arguments.get("defaultingType", "System") == "System"
        listed = self.arguments.get("defaultConstraints") or ()
        self.defaults: Sequence[Object] = SYSTEM if self.by_system else listed

    def constraints(self, pod: PodInfo, snapshot: Snapshot, action: str) -> tuple[Constraint, ...]:
        """The pod's constraints of one kind, or the defaults. Raises SelectorError."""
        return constraints_of(pod, snapshot, self.defaults, action)

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        try:
            constraints = self.constraints(pod, snapshot, HARD)
        except SelectorError as e:
            return failed(f"get constraints from pod: {e}")
        if not constraints:
            return SKIP
        counts = Counts(constraints, [{} for _ in constraints])
        for node in snapshot.nodes.values():
            if has_all_keys(node, constraints):
                _count_node(counts.by_domain, constraints, pod, node)
        counts.settle()
        return PreFiltered(counts)

    def add_pod(self, state: Counts, pod: PodInfo, other: PodInfo, node: NodeInfo) -> None:
        self._update(state, pod, other, node, 1)

    def remove_pod(self, state: Counts, pod: PodInfo, other: PodInfo, node: NodeInfo) -> None:
        self._update(state, pod, other, node, -1)

    def _update(self, state: Counts, pod: PodInfo, other: PodInfo, node: NodeInfo, change: int) -> None:
        if other.namespace != pod.namespace or not has_all_keys(node, state.constraints):
            return
        for constraint, counts in zip(state.constraints, state.by_domain, strict=True):
            if constraint.selector.matches(other.labels) and constraint.includes(pod, node):
                domain = node.labels[constraint.topology_key]
                counts[domain] = counts.get(domain, 0) + change
        state.settle()

    def filter(self, state: Counts, pod: PodInfo, node: NodeInfo) -> Status | None:
        for constraint, counts, least in zip(state.constraints, state.by_domain, state.least, strict=True):
            domain = node.labels.get(constraint.topology_key)
            if domain is None:
                return unresolvable(f"{MISMATCH} (missing required label)")
            itself = int(constraint.selector.matches(pod.labels))
            if counts.get(domain, 0) + itself - least > constraint.max_skew:
                return unschedulable(MISMATCH)
        return None

    def pre_score(
        self, state: Counts | None, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> Preferences | Status:
        try:
            constraints = self.constraints(pod, snapshot, SOFT)
        except SelectorError as e:
            return failed(f"calculating preScoreState: {e}")
        if not constraints:
            return SKIP
        strict = bool(pod.spec.get("topologySpreadConstraints")) or not self.by_system
        found = _domains(constraints, nodes, strict)
        for node in snapshot.nodes.values():
            if not strict or has_all_keys(node, constraints):
                _count_node(found.by_domain, constraints, pod, node, known_only=True)
        return found

    def score(self, state: Preferences, pod: PodInfo, node: NodeInfo) -> int:
        if node.name in state.ignored:
            return 0
        total = 0.0
        for constraint, counts, weight in zip(state.constraints, state.by_domain, state.weights, strict=True):
            domain = node.labels.get(constraint.topology_key)
            if domain is not None:
                host = constraint.topology_key == HOSTNAME
                count = constraint.count(node, pod.namespace) if host else counts[domain]
                total += float(count) * weight + float(constraint.max_skew - 1)
        return rounded(total)

    def normalize(
        self, state: Preferences, pod: PodInfo, nodes: Sequence[NodeInfo], scores: list[int]
    ) -> list[int]:
        """Turn the scores around: the fewest pods are best."""
        counted = [s for s, node in zip(scores, nodes, strict=True) if node.name not in state.ignored]
        least, most = min(counted, default=0), max(counted, default=0)
        if most == 0:
            return [0 if node.name in state.ignored else MAX_SCORE for node in nodes]
        return [
            0 if node.name in state.ignored else MAX_SCORE * (most + least - s) // most
            for s, node in zip(scores, nodes, strict=True)
        ]


def _domains(constraints: tuple[Constraint, ...], nodes: Sequence[NodeInfo], strict: bool) -> Preferences:
    """The domains of the feasible nodes, still without pods. The more there are, the more a pod in one weighs."""
    ignored = {node.name for node in nodes if strict and not has_all_keys(node, constraints)}
    by_domain: list[dict[str, int]] = []
    weights = []
    for constraint in constraints:
        key = constraint.topology_key
        counts: dict[str, int] = {}
        if key != HOSTNAME:
            counts = dict.fromkeys((n.labels.get(key, "") for n in nodes if n.name not in ignored), 0)
        by_domain.append(counts)
        size = len(nodes) - len(ignored) if key == HOSTNAME else len(counts)
        weights.append(math.log(float(size + 2)))
    return Preferences(constraints, ignored, by_domain, weights)


def _count_node(
    by_domain: list[dict[str, int]],
    constraints: tuple[Constraint, ...],
    pod: PodInfo,
    node: NodeInfo,
    *,
    known_only: bool = False,
) -> None:
    """Add a node's matching pods to its domains, or only to those that are there already."""
    for constraint, counts in zip(constraints, by_domain, strict=True):
        domain = node.labels.get(constraint.topology_key, "")
        if (not known_only or domain in counts) and constraint.includes(pod, node):
            counts[domain] = counts.get(domain, 0) + constraint.count(node, pod.namespace)
