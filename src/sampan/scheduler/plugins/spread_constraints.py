"""Topology spread constraints, read: a pod's own, or the defaults with the selector of what the pod belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.machinery import selectors
from sampan.machinery.objects import Object, owner
from sampan.machinery.selectors import EQUAL, Requirement, Selector, SelectorError
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICES, STATEFUL_SETS, Snapshot
from sampan.scheduler.terms import HOSTNAME, ZONE, Labels, untolerated

# What holds for pods without constraints of their own, unless the configuration lists others.
SYSTEM: tuple[Object, ...] = (
    {"topologyKey": HOSTNAME, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 3},
    {"topologyKey": ZONE, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 5},
)
HONOR, IGNORE = "Honor", "Ignore"
_OWNERS = {("apps/v1", "ReplicaSet"): REPLICA_SETS, ("apps/v1", "StatefulSet"): STATEFUL_SETS}


@dataclass(frozen=True, slots=True)
class Constraint:
    """One TopologySpreadConstraint; the policies say which nodes count."""

    max_skew: int
    topology_key: str
    selector: Selector
    min_domains: int
    affinity_policy: str
    taints_policy: str

    def includes(self, pod: PodInfo, node: NodeInfo) -> bool:
        """Whether the node counts for the pod."""
        if self.affinity_policy == HONOR and not pod.required_nodes.matches(node.name, node.labels):
            return False
        return self.taints_policy != HONOR or untolerated(node.taints, pod.tolerations) is None

    def count(self, node: NodeInfo, namespace: str) -> int:
        """The node's matching pods that are not going; an empty selector counts none."""
        if not self.selector:
            return 0
        return sum(
            1
            for pod in node.pods.values()
            if pod.namespace == namespace and not pod.terminating and self.selector.matches(pod.labels)
        )


def has_all_keys(node: NodeInfo, constraints: tuple[Constraint, ...]) -> bool:
    return all(constraint.topology_key in node.labels for constraint in constraints)


def constraints_of(
    pod: PodInfo, snapshot: Snapshot, defaults: Sequence[Object], action: str
) -> tuple[Constraint, ...]:
    """The constraints of one kind (`whenUnsatisfiable`) that hold for the pod. Raises SelectorError."""
    if own := pod.spec.get("topologySpreadConstraints"):
        return tuple(
            _constraint(c, _own_selector(c, pod)) for c in own if c.get("whenUnsatisfiable") == action
        )
    wanted = [c for c in defaults if c.get("whenUnsatisfiable") == action]
    if not wanted or not (selector := default_selector(pod, snapshot)):
        return ()
    return tuple(_constraint(c, selector) for c in wanted)


def _constraint(constraint: Object, selector: Selector) -> Constraint:
    least = constraint.get("minDomains")
    return Constraint(
        constraint.get("maxSkew") or 0,
        constraint.get("topologyKey") or "",
        selector,
        1 if least is None else least,
        constraint.get("nodeAffinityPolicy") or HONOR,
        constraint.get("nodeTaintsPolicy") or IGNORE,
    )


def _own_selector(constraint: Object, pod: PodInfo) -> Selector:
    """The constraint's selector, with the pod's own values of the labels in matchLabelKeys."""
    selector = selectors.of(constraint.get("labelSelector"))
    keys = [k for k in constraint.get("matchLabelKeys") or () if k in pod.labels]
    if selector.nothing or not keys:
        return selector
    own = tuple(Requirement(k, EQUAL, (pod.labels[k],)) for k in keys)
    return Selector(own + selector.requirements)


def default_selector(pod: PodInfo, snapshot: Snapshot) -> Selector:
    """What selects the pod's like: the selectors of its services and of its controller together."""
    labels: dict[str, str] = {}
    for service in snapshot.list(SERVICES, pod.namespace):
        wanted: Labels = (service.get("spec") or {}).get("selector") or {}
        if all(pod.labels.get(k) == v for k, v in wanted.items()):
            labels.update(wanted)
    more: tuple[Requirement, ...] = ()
    if (ref := owner(pod.object)) is not None:
        kind = (ref.get("apiVersion", ""), ref.get("kind", ""))
        if kind == ("v1", "ReplicationController"):
            found = snapshot.get(REPLICATION_CONTROLLERS, ref["name"], pod.namespace) or {}
            labels.update((found.get("spec") or {}).get("selector") or {})
        elif kind in _OWNERS:
            more = _selector_of(snapshot.get(_OWNERS[kind], ref["name"], pod.namespace))
    return Selector(tuple(Requirement(k, EQUAL, (v,)) for k, v in sorted(labels.items())) + more)


def _selector_of(controller: Object | None) -> tuple[Requirement, ...]:
    if controller is None:
        return ()
    try:
        return selectors.of((controller.get("spec") or {}).get("selector")).requirements
    except SelectorError:
        return ()
