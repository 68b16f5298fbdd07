"""Topology spread: how evenly a pod's like must lie over zones, nodes or other domains.

Source: the concepts' page on pod topology spread constraints; KEP-3022 (minDomains), KEP-3094 (node
policies), KEP-3243 (matchLabelKeys).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sampan.machinery import placement, selectors
from sampan.machinery.objects import Object
from sampan.machinery.selectors import Requirement, Selector
from sampan.scheduler.simple_snapshot import Node, Snapshot

UNEVEN = "node(s) didn't match pod topology spread constraints"
UNLABELLED = f"{UNEVEN} (missing required label)"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint with the pods it counts in each domain. `adds` is 1 where the pod itself would count."""

    key: str
    max_skew: int
    hard: bool
    adds: int
    counts: Counter[str]
    fewest: int

    def reason(self, node: Node) -> str | None:
        domain = node.labels.get(self.key)
        if domain is None:
            return UNLABELLED
        return UNEVEN if self.counts[domain] + self.adds - self.fewest > self.max_skew else None


def of(pod: Object, snapshot: Snapshot) -> list[Constraint]:
    """The pod's constraints, counted."""
    found = pod["spec"].get("topologySpreadConstraints") or ()
    keys = {c["topologyKey"] for c in found if c.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"}
    return [_counted(c, pod, snapshot, keys) for c in found]


def _counted(constraint: Object, pod: Object, snapshot: Snapshot, keys: set[str]) -> Constraint:
    selector = _selector(constraint, pod)
    key, namespace = constraint["topologyKey"], pod["metadata"]["namespace"]
    counts: Counter[str] = Counter()
    domains = set()
    for node in snapshot.nodes.values():
        if key not in node.labels or not keys <= set(node.labels) or not _counts(constraint, pod, node):
            continue
        domains.add(node.labels[key])
        counts[node.labels[key]] += sum(
            1
            for other in node.pods.values()
            if other["metadata"]["namespace"] == namespace
            and "deletionTimestamp" not in other["metadata"]
            and selector.matches(other["metadata"].get("labels"))
        )
    fewest = min((counts[d] for d in domains), default=0)
    if len(domains) < (constraint.get("minDomains") or 1):
        fewest = 0
    adds = 1 if selector.matches(pod["metadata"].get("labels")) else 0
    hard = constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
    return Constraint(key, constraint["maxSkew"], hard, adds, counts, fewest)


def _selector(constraint: Object, pod: Object) -> Selector:
    labels = pod["metadata"].get("labels") or {}
    more = [
        Requirement(name, selectors.IN, (labels[name],))
        for name in constraint.get("matchLabelKeys") or ()
        if name in labels
    ]
    found = selectors.of(constraint.get("labelSelector"))
    return found if found.nothing else Selector((*found.requirements, *more))


def _counts(constraint: Object, pod: Object, node: Node) -> bool:
    """Whether a node's pods count: by default only on nodes that the pod's affinity allows, tainted or not."""
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not placement.affinity_matches(
        pod["spec"], node.object
    ):
        return False
    if constraint.get("nodeTaintsPolicy", "Ignore") == "Ignore":
        return True
    taints, borne = node.spec.get("taints") or (), pod["spec"].get("tolerations") or ()
    return placement.untolerated(borne, taints, ("NoSchedule", "NoExecute")) is None
