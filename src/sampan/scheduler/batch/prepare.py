"""From a snapshot and pods to a `Problem`, and from a `Packing` back to pods and nodes.

What filters say of a node whatever else is placed there (affinity to nodes, taints, cordons, ...) is asked of the
plain plugins, once for each class of pods and group of nodes. Pods whose place depends on where others go in ways that
numbers do not tell (spread, affinity to pods, volumes, devices, gangs) are *tied*: they are left to the scheduler, one
by one.
Host ports and anti-affinity by host become "may not share a node".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sampan.machinery.objects import owner
from sampan.scheduler import gang
from sampan.scheduler.batch.problem import Ints, Packing, Problem
from sampan.scheduler.decide import Cycle
from sampan.scheduler.framework import Code, FilterPlugin
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo, Port
from sampan.scheduler.profiles import Profile
from sampan.scheduler.resources import CPU, MEMORY, PODS, STORAGE
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.terms import HOSTNAME, AffinityTerm

# Filters that depend on what else is placed; the problem's numbers stand for them.
COUNTED = frozenset({"NodeResourcesFit", "NodePorts"})


@dataclass(frozen=True, slots=True)
class Prepared:
    """`classes[p]` are the pods of class p and `nodes[b]` the nodes of class b, both in order; `order` is the class of
    each pod in the order given. `tied` pods are not in the problem.
    """

    problem: Problem
    classes: Sequence[Sequence[PodInfo]]
    nodes: Sequence[Sequence[NodeInfo]]
    order: Ints
    tied: Sequence[PodInfo]


def prepare(profile: Profile, snapshot: Snapshot, pods: Iterable[PodInfo]) -> Prepared:
    """The numbers of a placement; the snapshot is only read."""
    waiting = list(pods)
    repelled = _Repelled(waiting)
    by_class: dict[object, list[PodInfo]] = {}
    cycles: dict[object, Cycle | None] = {}
    tied: list[PodInfo] = []
    order: list[object] = []
    for pod in waiting:
        key = alike(pod)
        if key not in cycles:
            cycles[key] = _independent(profile, snapshot, pod)
        if cycles[key] is None or repelled.beyond_its_node(pod):
            tied.append(pod)
            continue
        by_class.setdefault(key, []).append(pod)
        order.append(key)
    keys = list(by_class)
    grouped = _Nodes(snapshot, [c for k in keys if (c := cycles[k])])
    classes = [by_class[k] for k in keys]
    problem = _problem(classes, grouped, repelled)
    index = {k: i for i, k in enumerate(keys)}
    numbers = np.array([index[k] for k in order], dtype=np.int64)
    return Prepared(problem, classes, list(grouped.groups.values()), numbers, tied)


def alike(pod: PodInfo) -> tuple[object, ...]:
    """What pods of one class have in common: all that filters and requests look at, and who goes first."""
    spec = pod.spec
    seen = (
        "affinity",
        "nodeSelector",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
        "resourceClaims",
    )
    return (
        pod.namespace,
        pod.priority,
        pod.scheduler,
        frozenset(pod.labels.items()),
        frozenset(pod.requests.items()),
        pod.host_ports,
        gang.group_of(pod.object),
        repr([spec.get(name) for name in seen]),
    )


def _independent(profile: Profile, snapshot: Snapshot, pod: PodInfo) -> Cycle | None:
    """The pod's cycle after pre_filter; None for a pod whose place depends on more than its own node."""
    spec = pod.spec
    if spec.get("resourceClaims") or pod.claims or gang.group_of(pod.object) or pod.required_affinity:
        return None
    if any(v.get("ephemeral") for v in spec.get("volumes") or ()):
        return None
    if any(term.topology_key != HOSTNAME for term in pod.required_anti_affinity):
        return None
    cycle = Cycle(profile, snapshot, pod)
    if cycle.pre_filter() is not None or "PodTopologySpread" not in cycle.skipped_filters:
        return None
    return cycle


class _Repelled:
    """Which of the waiting pods keep which others off, by required anti-affinity."""

    def __init__(self, pods: Sequence[PodInfo]) -> None:
        self.terms = {(term, pod.namespace): pod for pod in pods for term in pod.required_anti_affinity}

    def beyond_its_node(self, pod: PodInfo) -> bool:
        """Whether one of them keeps the pod off more than its own node."""
        return any(t.topology_key != HOSTNAME and matches(t, pod) for t, _ in self.terms)

    def apart(self, one: PodInfo, other: PodInfo) -> bool:
        """Whether two pods may not share a node."""
        return (
            any(matches(t, other) for t in one.required_anti_affinity)
            or any(matches(t, one) for t in other.required_anti_affinity)
            or any(_clash(a, b) for a in one.host_ports for b in other.host_ports)
        )

    def concerns(self, pod: PodInfo) -> bool:
        """Whether the pod is apart from any."""
        return (
            bool(pod.host_ports)
            or any(matches(t, pod) for t, _ in self.terms)
            or bool(pod.required_anti_affinity)
        )


def matches(term: AffinityTerm, pod: PodInfo) -> bool:
    """Whether a term means the pod, its namespace known by name; one by labels is taken to mean it."""
    named = pod.namespace in term.namespaces or not term.namespace_selector.nothing
    return named and term.selector.matches(pod.labels)


def _clash(a: Port, b: Port) -> bool:
    same_address = a[1] == b[1] or "0.0.0.0" in (a[1], b[1])
    return same_address and a[0] == b[0] and a[2] == b[2]


class _Nodes:
    """Nodes in classes: alike in what they offer, have left, hold, and whom they let in."""

    def __init__(self, snapshot: Snapshot, cycles: Sequence[Cycle]) -> None:
        self.names = _resources(snapshot, cycles)
        self.groups: dict[object, list[NodeInfo]] = {}
        verdicts: dict[object, tuple[bool, ...]] = {}
        for node in snapshot.nodes.values():
            static = _static(node)
            if static is None or static not in verdicts:
                found = tuple(_allows(cycle, node) for cycle in cycles)
                if static is not None:
                    verdicts[static] = found
            else:
                found = verdicts[static]
            found = tuple(ok and _allows_here(cycle, node) for ok, cycle in zip(found, cycles, strict=True))
            key = (found, self.free(node), self.total(node), in_use(node))
            self.groups.setdefault(key, []).append(node)

    def free(self, node: NodeInfo) -> tuple[int, ...]:
        taken = {**node.requested, PODS: len(node.pods)}
        return tuple(t - taken.get(n, 0) for n, t in zip(self.names, self.total(node), strict=True))

    def total(self, node: NodeInfo) -> tuple[int, ...]:
        offered = {**node.allocatable, PODS: node.allowed_pods}
        return tuple(offered.get(name, 0) for name in self.names)

    @property
    def allowed(self) -> list[tuple[bool, ...]]:
        return [key[0] for key in self.groups]  # type: ignore[index]


def in_use(node: NodeInfo) -> bool:
    """Whether a node runs pods of its own; those of DaemonSets and of the node itself run on every node."""
    return any((owner(p.object) or {}).get("kind") not in ("DaemonSet", "Node") for p in node.pods.values())


def _resources(snapshot: Snapshot, cycles: Sequence[Cycle]) -> list[str]:
    """The resources that count: cpu and memory first, and what any of the pods asks."""
    asked = {name for cycle in cycles for name, n in cycle.pod.requests.items() if n > 0}
    return [CPU, MEMORY, PODS, *sorted(asked - {CPU, MEMORY, PODS} | ({STORAGE} & asked))]


def _static(node: NodeInfo) -> object:
    """What filters see of a node besides its pods and name."""
    labels = frozenset((k, v) for k, v in node.labels.items() if k != HOSTNAME)
    taints = tuple((t["key"], t.get("value"), t.get("effect")) for t in node.taints)
    return labels, taints, node.unschedulable, node.declared_features


def _by_host(cycle: Cycle) -> bool:
    """Whether a pod's verdict depends on which node it is, by name or by the pods there."""
    return (
        cycle.candidates is not None
        or HOSTNAME in repr(cycle.pod.spec.get("nodeSelector"))
        or HOSTNAME in repr((cycle.pod.spec.get("affinity") or {}).get("nodeAffinity"))
        or "InterPodAffinity" not in cycle.skipped_filters
        or bool(cycle.pod.host_ports)
    )


def _allows(cycle: Cycle, node: NodeInfo) -> bool:
    """The verdict that nodes alike share; True where it is asked of each."""
    return True if _by_host(cycle) else _passes(cycle, node, COUNTED)


def _allows_here(cycle: Cycle, node: NodeInfo) -> bool:
    """The verdict on this very node, its own pods and ports included."""
    return not _by_host(cycle) or _passes(cycle, node, frozenset({"NodeResourcesFit"}))


def _passes(cycle: Cycle, node: NodeInfo, without: frozenset[str]) -> bool:
    if cycle.candidates is not None and node.name not in cycle.candidates:
        return False
    asked: Iterable[FilterPlugin] = cycle.profile.filter
    return all(
        plugin.name in without
        or plugin.name in cycle.skipped_filters
        or (found := cycle.verdict(plugin, node)) is None
        or found.code is Code.SUCCESS
        for plugin in asked
    )


def _problem(classes: Sequence[Sequence[PodInfo]], nodes: _Nodes, repelled: _Repelled) -> Problem:
    names, groups = nodes.names, list(nodes.groups.values())
    size = [{**pods[0].requests, PODS: 1} for pods in classes]
    shape = (len(classes), len(names))
    concerned = [i for i, pods in enumerate(classes) if repelled.concerns(pods[0])]
    apart = {
        i: np.array([j for j in concerned if repelled.apart(classes[i][0], classes[j][0])], dtype=np.int64)
        for i in concerned
    }
    allowed = np.array(nodes.allowed, dtype=np.bool_).reshape(len(groups), len(classes)).T
    return Problem(
        sizes=np.array([[s.get(n, 0) for n in names] for s in size], dtype=np.int64).reshape(shape),
        counts=np.array([len(pods) for pods in classes], dtype=np.int64),
        free=np.array([nodes.free(g[0]) for g in groups], dtype=np.int64).reshape(-1, len(names)),
        total=np.array([nodes.total(g[0]) for g in groups], dtype=np.int64).reshape(-1, len(names)),
        nodes=np.array([len(g) for g in groups], dtype=np.int64),
        used=np.array([in_use(g[0]) for g in groups], dtype=np.bool_),
        allowed=allowed,
        apart={i: others for i, others in apart.items() if len(others)},
    )


def assign(prepared: Prepared, packing: Packing) -> list[tuple[PodInfo, NodeInfo]]:
    """Single pods and nodes of a packing: of each class the first pods to the first nodes."""
    pods = [iter(found) for found in prepared.classes]
    nodes = [iter(found) for found in prepared.nodes]
    listed = []
    for b, pattern in packing.bins:
        node = next(nodes[b])
        listed += [(next(pods[p]), node) for p, n in pattern for _ in range(n)]
    return listed
