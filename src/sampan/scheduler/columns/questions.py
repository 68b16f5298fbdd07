"""A kind of pods as a question to all nodes: which columns, rules and terms decide, without the pod's own amounts.

Pods that differ only in how much they request share one `Question`. Both the kernel (`frames`) and `twin` answer it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sampan.machinery.objects import Object
from sampan.scheduler import resources
from sampan.scheduler.columns.counters import APART, AVOIDED, PREFERRED, REQUIRED, Census, Counter, Group
from sampan.scheduler.columns.kinds import Kind
from sampan.scheduler.columns.rules import Rules
from sampan.scheduler.columns.statics import Statics
from sampan.scheduler.columns.table import Column, Domain, Flags, Ints, Longs, Table
from sampan.scheduler.plugins.inter_pod_affinity import matches_all
from sampan.scheduler.plugins.node_affinity import PREFERRED as PREFERRED_NODES
from sampan.scheduler.plugins.node_affinity import preferences
from sampan.scheduler.plugins.pod_topology_spread import HARD, SOFT
from sampan.scheduler.plugins.spread_constraints import HONOR, Constraint
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.resources import Resources
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.terms import HOSTNAME, AffinityTerm


@dataclass(frozen=True, slots=True)
class Share:
    """A resource: what nodes offer and what is taken, and its weight in the score."""

    name: str
    limit: Column
    used: Column
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Spread:
    """A spread constraint. `present` are the domains that count for the least; without a `counter.domain`, by row."""

    domain: Domain
    counter: Counter
    max_skew: int
    own: int
    min_domains: int
    present: Flags


@dataclass(frozen=True, slots=True)
class Near:
    """Pods counted by domain, that must be there, must not, or weigh so much each."""

    domain: Domain
    counter: Counter
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """See the module. `refused` is 0 where cordons, taints and node affinity let the pods pass, -1 elsewhere."""

    cordoned: Flags
    tainted: Flags
    # Rows that the profile's and the pods' own node affinity allow.
    added: Flags | None
    allowed: Flags
    # Whether anything is required of nodes.
    requires: bool
    refused: Ints
    needs: tuple[Share, ...]
    fit: tuple[Share, ...]
    balance: tuple[Share, ...]
    # Whether the pods request any resource that balance looks at; those that do not are not scored by it.
    balances: bool
    # All that they take of a node.
    takes: tuple[Share, ...]
    # Whether a second one cannot be on the same node, for its host ports.
    exclusive: bool
    hard: tuple[Spread, ...]
    near: tuple[Near, ...]
    near_self: bool
    apart: tuple[Near, ...]
    unwanted: tuple[Near, ...]
    softs: tuple[Spread, ...]
    soft_all: bool
    terms: tuple[Near, ...]
    taints: Ints | None
    affinity: Ints | None
    # Whether there are preferences for nodes, even if no node meets one.
    prefers: bool
    images: Longs | None

    @property
    def counters(self) -> set[int]:
        """The counters that decide, by identity."""
        listed: tuple[Any, ...] = (
            *self.hard,
            *self.near,
            *self.apart,
            *self.unwanted,
            *self.softs,
            *self.terms,
        )
        return {id(one.counter) for one in listed}


class Asker:
    """Makes questions of one profile; what it counts by is shared with the others."""

    def __init__(
        self, rules: Rules, snapshot: Snapshot, table: Table, statics: Statics, census: Census
    ) -> None:
        self._rules, self._snapshot, self._table = rules, snapshot, table
        self._statics, self._census = statics, census

    def question(self, pod: PodInfo, group: Group, kind: Kind) -> Question:
        """The question for pods like this one, that request the same resources. Raises SelectorError, NodeTermError."""
        rules, statics = self._rules, self._statics
        tainted = statics.tainted(pod.tolerations)
        added = rules.affinity.added
        terms = self._terms(pod, group)
        strict = bool(pod.spec.get("topologySpreadConstraints")) or not rules.spread.by_system
        return Question(
            tainted.cordoned,
            tainted.refused,
            None if added is None else statics.any_of(added),
            statics.allowed(pod.required_nodes),
            added is not None or _requires(pod),
            statics.refused(pod.tolerations, pod.required_nodes, added),
            tuple(
                self._share(n)
                for n, amount in kind.needs.items()
                if amount > 0 and not rules.fit.is_ignored(n)
            ),
            tuple(self._scored(n, w) for n, w in rules.fit.weights if _is_scored(n, kind.fit)),
            tuple(self._share(n) for n in rules.balance.resources if _is_scored(n, kind.takes)),
            any(kind.takes.get(name) for name in rules.balance.resources),
            tuple(self._share(name) for name, amount in kind.takes.items() if amount),
            bool(pod.host_ports),
            self._hard(pod),
            self._near(pod, pod.required_affinity, together=True),
            matches_all([self._resolved(t) for t in pod.required_affinity], pod),
            self._near(pod, pod.required_anti_affinity, together=False),
            tuple(Near(_domain(c.counter), c.counter) for c in self._census.wanted(group) if c.kind == APART),
            self._soft(pod, strict),
            strict,
            terms,
            _unless_zero(tainted.soft) if rules.weights["TaintToleration"] else None,
            self._preferred(pod),
            _preferences(pod) is not None or rules.affinity.added_preferred is not None,
            self._images(kind),
        )

    # Resources

    def _share(self, name: str) -> Share:
        return Share(name, self._table.limit_of(name), self._table.used_of(name))

    def _scored(self, name: str, weight: int) -> Share:
        used = self._table.non_zero.get(name) or self._table.used_of(name)
        return Share(name, self._table.limit_of(name), used, weight)

    # Nodes

    def _preferred(self, pod: PodInfo) -> Ints | None:
        if not self._rules.weights["NodeAffinity"]:
            return None
        terms = (self._rules.affinity.added_preferred or ()) + preferences(_preferences(pod) or ())
        return _unless_zero(self._statics.preferred(terms)) if terms else None

    def _images(self, kind: Kind) -> Longs | None:
        if not self._rules.weights["ImageLocality"]:
            return None
        found = self._statics.images(kind.images)
        return found if found.any() else None

    # Spreading

    def _hard(self, pod: PodInfo) -> tuple[Spread, ...]:
        constraints = self._rules.spread.constraints(pod, self._snapshot, HARD)
        keys = tuple(c.topology_key for c in constraints)
        return tuple(self._spread(c, pod, keys) for c in constraints)

    def _soft(self, pod: PodInfo, strict: bool) -> tuple[Spread, ...]:
        if not self._rules.weights["PodTopologySpread"]:
            return ()
        constraints = self._rules.spread.constraints(pod, self._snapshot, SOFT)
        keys = tuple(c.topology_key for c in constraints) if strict else ()
        return tuple(
            self._by_row(c, pod) if c.topology_key == HOSTNAME else self._spread(c, pod, keys)
            for c in constraints
        )

    def _spread(self, constraint: Constraint, pod: PodInfo, keys: tuple[str, ...]) -> Spread:
        """A constraint counted by domain, over the rows that its policies include and that have all `keys`."""
        domain = self._table.domain(constraint.topology_key)
        honours_affinity = constraint.affinity_policy == HONOR and bool(
            pod.required_nodes.selector or pod.required_nodes.terms is not None
        )
        tolerations = pod.tolerations if constraint.taints_policy == HONOR else None
        nodes = (
            pod.required_nodes if honours_affinity else None,
            None if tolerations is None else repr(tolerations),
            frozenset(keys) - {constraint.topology_key},
        )

        def eligible() -> Flags:
            found = self._statics.keyed(keys)
            if honours_affinity:
                found &= self._statics.allowed(pod.required_nodes)
            if tolerations is not None:
                found &= ~self._statics.tainted(tolerations).refused
            return found

        everywhere = nodes == (None, None, frozenset())
        counter = self._census.spreading(
            pod.namespace, constraint.selector, domain, nodes, None if everywhere else eligible
        )
        return self._made(constraint, pod, domain, counter, counter.present())

    def _by_row(self, constraint: Constraint, pod: PodInfo) -> Spread:
        counter = self._census.spreading(pod.namespace, constraint.selector, None, None, None)
        domain = self._table.domain(constraint.topology_key)
        return self._made(constraint, pod, domain, counter, np.zeros(0, np.bool_))

    def _made(self, c: Constraint, pod: PodInfo, domain: Domain, counter: Counter, present: Flags) -> Spread:
        return Spread(
            domain, counter, c.max_skew, int(c.selector.matches(pod.labels)), c.min_domains, present
        )

    # Affinity between pods

    def _resolved(self, term: AffinityTerm) -> AffinityTerm:
        return term.resolved(self._census.namespaces())

    def _near(self, pod: PodInfo, terms: tuple[AffinityTerm, ...], *, together: bool) -> tuple[Near, ...]:
        """Where pods are that each term means, or that all mean `together`."""
        return tuple(self._matching(terms if together else (term,), term) for term in terms)

    def _matching(self, terms: tuple[AffinityTerm, ...], term: AffinityTerm, weight: int = 0) -> Near:
        domain = self._table.domain(term.topology_key)
        unweighted = tuple(replace(t, weight=0) if t.weight else t for t in terms)
        return Near(domain, self._census.matching(unweighted, domain), weight)

    def _terms(self, pod: PodInfo, group: Group) -> tuple[Near, ...]:
        """What is preferred of this pod, by itself and by those that stand already."""
        near = self._rules.near
        if not self._rules.weights["InterPodAffinity"]:
            return ()
        found = [self._matching((t,), t, t.weight) for t in pod.preferred_affinity]
        found += [self._matching((t,), t, -t.weight) for t in pod.preferred_anti_affinity]
        if near.own_terms_only and not found:
            return ()
        for c in self._census.wanted(group):
            weights = {PREFERRED: c.term.weight, AVOIDED: -c.term.weight, REQUIRED: near.hard_weight}
            if weight := weights.get(c.kind, 0):
                found.append(Near(_domain(c.counter), c.counter, weight))
        return tuple(found)


def _requires(pod: PodInfo) -> bool:
    affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is not None or pod.spec.get("nodeSelector") is not None


def _preferences(pod: PodInfo) -> list[Object] | None:
    affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    found: list[Object] | None = affinity.get(PREFERRED_NODES)
    return found


def _domain(counter: Counter) -> Domain:
    assert counter.domain is not None
    return counter.domain


def _is_scored(name: str, requested: Resources) -> bool:
    """Resources besides those that every node has are scored for pods that request them."""
    return bool(requested.get(name)) or not resources.is_scalar(name)


def _unless_zero(numbers: Ints) -> Ints | None:
    return numbers if numbers.any() else None
