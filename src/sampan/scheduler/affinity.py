"""Affinity between pods: which nodes share a topology with pods that are wanted near, or not wanted near.

Source: the concepts' page on assigning pods to nodes (inter-pod affinity and anti-affinity).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sampan.machinery import selectors
from sampan.machinery.objects import Object
from sampan.scheduler.simple_snapshot import Node, Snapshot

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
NEAR = "node(s) didn't match pod affinity rules"
APART = "node(s) didn't match pod anti-affinity rules"
REPELLED = "node(s) didn't satisfy existing pods anti-affinity rules"

Topology = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Affinity:
    """What one pod's and the others' terms come to, as topologies (label key and value).

    `near` has, for each required affinity term, its key and where matching pods are; None where no pod
    matches but the pod itself would, so that anywhere with the key will do. `scores` adds up the
    preferences.
    """

    near: tuple[tuple[str, frozenset[Topology] | None], ...]
    apart: frozenset[Topology]
    repelled: frozenset[Topology]
    scores: Counter[Topology]

    def reason(self, node: Node) -> str | None:
        """Why the pod must not be on `node`, or None."""
        labels = node.labels.items()
        for name, where in self.near:
            if name not in node.labels or (where is not None and (name, node.labels[name]) not in where):
                return NEAR
        if self.apart and not self.apart.isdisjoint(labels):
            return APART
        if self.repelled and not self.repelled.isdisjoint(labels):
            return REPELLED
        return None

    def score(self, node: Node) -> int:
        return sum(self.scores[t] for t in node.labels.items()) if self.scores else 0


def of(pod: Object, snapshot: Snapshot) -> Affinity:
    """Work out all terms once; then each node is looked up."""
    near = tuple(_near(term, pod, snapshot) for term in _terms(pod, "podAffinity"))
    apart: set[Topology] = set()
    for term in _terms(pod, "podAntiAffinity"):
        apart |= set(_where(term, pod, snapshot))
    repelled = {
        place
        for uid, other in snapshot.repelling.items()
        for term in _terms(other, "podAntiAffinity")
        if selects(term, other, pod, snapshot)
        for place in _places(term, [snapshot.node_of(uid)])
    }
    return Affinity(near, frozenset(apart), frozenset(repelled), _scores(pod, snapshot))


def _terms(pod: Object, kind: str) -> list[Object]:
    affinity = (pod["spec"].get("affinity") or {}).get(kind) or {}
    return list(affinity.get(REQUIRED) or ())


def _near(term: Object, pod: Object, snapshot: Snapshot) -> tuple[str, frozenset[Topology] | None]:
    where = frozenset(_where(term, pod, snapshot))
    alone = not where and selects(term, pod, pod, snapshot)
    return term["topologyKey"], None if alone else where


def _where(term: Object, pod: Object, snapshot: Snapshot) -> Iterable[Topology]:
    """The topologies of the pods that a term of `pod` selects."""
    everywhere = term.get("namespaces") or term.get("namespaceSelector") is not None
    namespaces = None if everywhere else [pod["metadata"]["namespace"]]
    nodes = [node for other, node in snapshot.pods(namespaces) if selects(term, pod, other, snapshot)]
    return _places(term, nodes)


def _places(term: Object, nodes: Iterable[Node | None]) -> Iterable[Topology]:
    name = term["topologyKey"]
    return [(name, node.labels[name]) for node in nodes if node and name in node.labels]


def selects(term: Object, holder: Object, other: Object, snapshot: Snapshot) -> bool:
    """Whether a term of `holder` is about `other`: by namespace, and by labels."""
    namespace = other["metadata"]["namespace"]
    named = term.get("namespaces") or []
    by_selector = term.get("namespaceSelector")
    if not named and by_selector is None:
        named = [holder["metadata"]["namespace"]]
    if namespace not in named and not (
        by_selector is not None and selectors.of(by_selector).matches(snapshot.namespaces.get(namespace, {}))
    ):
        return False
    return selectors.of(term.get("labelSelector")).matches(other["metadata"].get("labels"))


def _scores(pod: Object, snapshot: Snapshot) -> Counter[Topology]:
    """Preferences of the pod for the others, and of the others for the pod."""
    scores: Counter[Topology] = Counter()
    for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
        for weighted in ((pod["spec"].get("affinity") or {}).get(kind) or {}).get(PREFERRED) or ():
            for place in _where(weighted["podAffinityTerm"], pod, snapshot):
                scores[place] += sign * weighted["weight"]
        for uid, other in snapshot.attracted.items():
            for weighted in ((other["spec"].get("affinity") or {}).get(kind) or {}).get(PREFERRED) or ():
                term = weighted["podAffinityTerm"]
                if selects(term, other, pod, snapshot):
                    for place in _places(term, [snapshot.node_of(uid)]):
                        scores[place] += sign * weighted["weight"]
    return scores
