"""NodeAffinity: the nodes that a pod's nodeSelector and node affinity allow, and those that it prefers.

Arguments: `addedAffinity`, a NodeAffinity that holds for every pod of the profile besides its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sampan.machinery.objects import Object
from sampan.scheduler.framework import SKIP, Handle, Plugin, PreFiltered, Status, failed, unresolvable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins.normal import most_is_best
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.terms import NodeTerm, NodeTermError, is_empty, node_term, node_terms

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


class NodeAffinity(Plugin):
    name = "NodeAffinity"

    def __init__(self, arguments: Object | None = None, handle: Handle | None = None) -> None:
        super().__init__(arguments, handle)
        added = self.arguments.get("addedAffinity") or {}
        self.added = node_terms(added.get(REQUIRED))
        self.added_preferred = (
            preferences(added[PREFERRED], f"addedAffinity.{PREFERRED}") if added.get(PREFERRED) else None
        )
        for index, term in enumerate((added.get(REQUIRED) or {}).get("nodeSelectorTerms") or ()):
            node_term(term, where=f"addedAffinity.{REQUIRED}.nodeSelectorTerms[{index}]")

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        required = _node_affinity(pod).get(REQUIRED)
        if required is None and self.added is None and pod.spec.get("nodeSelector") is None:
            return SKIP
        names = named_nodes((required or {}).get("nodeSelectorTerms") or ())
        if names is not None and not names:
            return unresolvable("pod affinity terms conflict")
        return PreFiltered(nodes=names)

    def filter(self, state: None, pod: PodInfo, node: NodeInfo) -> Status | None:
        if self.added is not None and not any(t.matches(node.name, node.labels) for t in self.added):
            return unresolvable("node(s) didn't match scheduler-enforced node affinity")
        if not pod.required_nodes.matches(node.name, node.labels):
            return unresolvable("node(s) didn't match Pod's node affinity/selector")
        return None

    def pre_score(
        self, state: None, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> tuple[NodeTerm, ...] | Status:
        """The preferences of the pod and of the profile."""
        listed = _node_affinity(pod).get(PREFERRED)
        if listed is None and self.added_preferred is None:
            return SKIP
        try:
            return (self.added_preferred or ()) + preferences(listed or ())
        except NodeTermError as e:
            return failed(str(e))

    def score(self, state: tuple[NodeTerm, ...], pod: PodInfo, node: NodeInfo) -> int:
        return sum(term.weight for term in state if term.matches(node.name, node.labels))

    def normalize(
        self, state: tuple[NodeTerm, ...], pod: PodInfo, nodes: Sequence[NodeInfo], scores: list[int]
    ) -> list[int]:
        return most_is_best(scores)


def _node_affinity(pod: PodInfo) -> Object:
    return (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}


def named_nodes(terms: Iterable[Object]) -> frozenset[str] | None:
    """The only nodes that terms allow where each of them names its nodes (by metadata.name); None where not."""
    allowed: frozenset[str] | None = None
    for term in terms:
        lists = [
            frozenset(field.get("values") or ())
            for field in term.get("matchFields") or ()
            if field.get("key") == "metadata.name" and field.get("operator") == "In"
        ]
        if not lists:
            return None
        allowed = (allowed or frozenset()) | frozenset.intersection(*lists)
    return allowed


def preferences(terms: Iterable[Object], where: str = "") -> tuple[NodeTerm, ...]:
    """PreferredSchedulingTerms with weight; `where` is their path in faults. Raises NodeTermError."""
    found: list[NodeTerm] = []
    faults: list[str] = []
    for index, term in enumerate(terms):
        if term.get("weight") and not is_empty(term.get("preference") or {}):
            try:
                found.append(node_term(term["preference"], term["weight"], f"{where}[{index}]"))
            except NodeTermError as e:
                faults += e.faults
    if faults:
        raise NodeTermError(faults)
    return tuple(found)
