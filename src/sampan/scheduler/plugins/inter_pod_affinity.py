"""InterPodAffinity: pods that want to be near others, or away from them, in the domains of a node label.

Required terms filter, preferred ones score. Both are symmetric: what pods that run require of or against others
holds for the incoming pod too (required affinity of theirs counts with `hardPodAffinityWeight`).

Arguments: `hardPodAffinityWeight` (0 to 100, 1 by default), `ignorePreferredTermsOfExistingPods`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.machinery.objects import Object
from sampan.scheduler.framework import (
    MAX_SCORE,
    SKIP,
    Handle,
    Plugin,
    PreFiltered,
    Status,
    unresolvable,
    unschedulable,
)
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.terms import AffinityTerm, Labels

# A domain: a node label and its value.
Domain = tuple[str, str]


@dataclass(slots=True)
class Matches:
    """The incoming pod's terms, and how many pods match in each domain: theirs against it, its own of both kinds."""

    affinity: tuple[AffinityTerm, ...]
    anti_affinity: tuple[AffinityTerm, ...]
    namespace_labels: Labels
    refused: Counter[Domain]
    attracted: Counter[Domain]
    repelled: Counter[Domain]

    def clone(self) -> Matches:
        return Matches(
            self.affinity,
            self.anti_affinity,
            self.namespace_labels,
            self.refused.copy(),
            self.attracted.copy(),
            self.repelled.copy(),
        )

    def refuse(self, pod: PodInfo, other: PodInfo, node: NodeInfo, change: int) -> None:
        """Count the terms by which `other` does not want the pod near it."""
        for term in other.required_anti_affinity:
            if term.matches(pod.namespace, pod.labels, self.namespace_labels):
                _change(self.refused, node, term, change)

    def match(self, other: PodInfo, node: NodeInfo, change: int) -> None:
        """Count `other` where the pod's own terms mean it; affinity wants one that all terms mean."""
        if matches_all(self.affinity, other):
            for term in self.affinity:
                _change(self.attracted, node, term, change)
        for term in self.anti_affinity:
            if term.matches(other.namespace, other.labels, None):
                _change(self.repelled, node, term, change)


@dataclass(slots=True)
class Preferences:
    """The weights of the preferences that pods in a domain meet, by label and value."""

    by_key: dict[str, Counter[str]]

    def add(self, term: AffinityTerm, meant: bool, node: NodeInfo, weight: int) -> None:
        value = node.labels.get(term.topology_key)
        if meant and value is not None:
            self.by_key.setdefault(term.topology_key, Counter())[value] += weight


class InterPodAffinity(Plugin):
    name = "InterPodAffinity"

    def __init__(self, arguments: Object | None = None, handle: Handle | None = None) -> None:
        super().__init__(arguments, handle)
        weight = self.arguments.get("hardPodAffinityWeight")
        self.hard_weight = 1 if weight is None else int(weight)
        self.own_terms_only = bool(self.arguments.get("ignorePreferredTermsOfExistingPods"))

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        if pod.fault:
            return unresolvable(f"parsing pod: {pod.fault}")
        state = Matches(
            _resolved(pod.required_affinity, snapshot),
            _resolved(pod.required_anti_affinity, snapshot),
            snapshot.namespace_labels(pod.namespace),
            Counter(),
            Counter(),
            Counter(),
        )
        for node in snapshot.with_anti_affinity.values():
            for other in node.with_anti_affinity.values():
                state.refuse(pod, other, node, 1)
        if state.affinity or state.anti_affinity:
            for other, node in snapshot.pods():
                state.match(other, node, 1)
        elif not state.refused:
            return SKIP
        return PreFiltered(state)

    def add_pod(self, state: Matches, pod: PodInfo, other: PodInfo, node: NodeInfo) -> None:
        state.refuse(pod, other, node, 1)
        state.match(other, node, 1)

    def remove_pod(self, state: Matches, pod: PodInfo, other: PodInfo, node: NodeInfo) -> None:
        state.refuse(pod, other, node, -1)
        state.match(other, node, -1)

    def filter(self, state: Matches, pod: PodInfo, node: NodeInfo) -> Status | None:
        if not _is_attracted(state, pod, node):
            return unresolvable("node(s) didn't match pod affinity rules")
        if any(state.repelled[d] > 0 for d in _domains(state.anti_affinity, node)):
            return unschedulable("node(s) didn't match pod anti-affinity rules")
        if state.refused and any(state.refused[label] > 0 for label in node.labels.items()):
            return unschedulable("node(s) didn't satisfy existing pods anti-affinity rules")
        return None

    def pre_score(
        self, state: Matches | None, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> Preferences | Status:
        affinity = _resolved(pod.preferred_affinity, snapshot)
        anti_affinity = _resolved(pod.preferred_anti_affinity, snapshot)
        has_own = bool(affinity or anti_affinity)
        if self.own_terms_only and not has_own:
            return SKIP
        found = Preferences({})
        namespace_labels = snapshot.namespace_labels(pod.namespace)
        looked_at = snapshot.nodes if has_own else snapshot.with_affinity
        for node in looked_at.values():
            for other in (node.pods if has_own else node.with_affinity).values():
                for term in affinity:
                    found.add(term, term.matches(other.namespace, other.labels, None), node, term.weight)
                for term in anti_affinity:
                    found.add(term, term.matches(other.namespace, other.labels, None), node, -term.weight)
                self._count_theirs(found, pod, namespace_labels, other, node)
        return found if found.by_key else SKIP

    def _count_theirs(
        self, found: Preferences, pod: PodInfo, namespace_labels: Labels, other: PodInfo, node: NodeInfo
    ) -> None:
        """Count what a running pod wants of pods like the incoming one."""
        if not other.has_affinity:
            return
        theirs = [(term, term.weight) for term in other.preferred_affinity]
        theirs += [(term, -term.weight) for term in other.preferred_anti_affinity]
        if self.hard_weight > 0:
            theirs += [(term, self.hard_weight) for term in other.required_affinity]
        for term, weight in theirs:
            found.add(term, term.matches(pod.namespace, pod.labels, namespace_labels), node, weight)

    def score(self, state: Preferences, pod: PodInfo, node: NodeInfo) -> int:
        return sum(values[node.labels[key]] for key, values in state.by_key.items() if key in node.labels)

    def normalize(
        self, state: Preferences, pod: PodInfo, nodes: Sequence[NodeInfo], scores: list[int]
    ) -> list[int]:
        """The least becomes 0, the most 100; all 0 where all are equal."""
        least, most = min(scores, default=0), max(scores, default=0)
        if most == least:
            return [0 for _ in scores]
        return [int(float(MAX_SCORE) * (float(score - least) / float(most - least))) for score in scores]


def _resolved(terms: Iterable[AffinityTerm], snapshot: Snapshot) -> tuple[AffinityTerm, ...]:
    """The incoming pod's terms with their namespace selectors replaced by the namespaces that there are."""
    found = tuple(terms)
    if not any(term.selects_namespaces for term in found):
        return found
    namespaces = snapshot.all_namespaces()
    return tuple(term.resolved(namespaces) for term in found)


def matches_all(terms: Sequence[AffinityTerm], pod: PodInfo) -> bool:
    """Whether resolved terms, at least one, all mean the pod."""
    return bool(terms) and all(term.matches(pod.namespace, pod.labels, None) for term in terms)


def _change(counts: Counter[Domain], node: NodeInfo, term: AffinityTerm, change: int) -> None:
    value = node.labels.get(term.topology_key)
    if value is not None:
        domain = (term.topology_key, value)
        counts[domain] += change
        if counts[domain] == 0:
            del counts[domain]


def _domains(terms: Iterable[AffinityTerm], node: NodeInfo) -> Iterable[Domain]:
    for term in terms:
        if term.topology_key in node.labels:
            yield term.topology_key, node.labels[term.topology_key]


def _is_attracted(state: Matches, pod: PodInfo, node: NodeInfo) -> bool:
    """Whether pods that all terms mean are in each of the node's domains.

    Where there are none anywhere, the first pod of a group that wants to be near its own kind may start anywhere.
    """
    if any(term.topology_key not in node.labels for term in state.affinity):
        return False
    if all(state.attracted[domain] > 0 for domain in _domains(state.affinity, node)):
        return True
    return not state.attracted and matches_all(state.affinity, pod)
