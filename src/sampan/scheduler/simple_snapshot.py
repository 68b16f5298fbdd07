"""The cluster as the scheduler sees it: each node with what its pods take of it, kept up to date by single changes.

Pods that were placed but are not yet seen as bound (assumed) count like bound ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sampan.machinery import placement
from sampan.machinery.objects import Key, Object, owner
from sampan.machinery.placement import Resources

# What a container without a request is taken for when nodes are compared: 100m CPU and 200 MiB, as upstream.
ASSUMED = {"cpu": 100, "memory": 200 * 2**20}
Port = tuple[str, str, int]


@dataclass(slots=True)
class Node:
    """One node. `taken` sums the requests of its pods, `weighed` the same with `ASSUMED` for those that
    request nothing.
    """

    object: Object
    pods: dict[str, Object] = field(default_factory=dict)
    taken: Resources = field(default_factory=dict)
    weighed: Resources = field(default_factory=lambda: dict.fromkeys(ASSUMED, 0))
    ports: Counter[Port] = field(default_factory=Counter)
    owners: Counter[str] = field(default_factory=Counter)
    allocatable: Resources = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def labels(self) -> dict[str, str]:
        return self.object["metadata"].get("labels") or {}

    @property
    def spec(self) -> Object:
        return self.object.get("spec") or {}


@dataclass(slots=True)
class Volumes:
    """Claims, volumes and storage classes by key or name."""

    claims: dict[Key, Object] = field(default_factory=dict)
    volumes: dict[str, Object] = field(default_factory=dict)
    classes: dict[str, Object] = field(default_factory=dict)


class Snapshot:
    """Nodes, the pods on them, and what else a placement depends on. Changed only through its methods."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.volumes = Volumes()
        self.namespaces: dict[str, dict[str, str]] = {}
        # Pods with required anti-affinity, and with any affinity, by uid: few, but everyone must respect
        # them.
        self.repelling: dict[str, Object] = {}
        self.attracted: dict[str, Object] = {}
        self._where: dict[str, str] = {}
        # Pods of nodes that are not known (yet).
        self._homeless: dict[str, dict[str, Object]] = {}

    def set_node(self, obj: Object) -> None:
        name = obj["metadata"]["name"]
        node = self.nodes.get(name)
        if node is None:
            node = self.nodes[name] = Node(obj)
            for pod in self._homeless.pop(name, {}).values():
                self._count(node, pod, 1)
        node.object = obj
        node.allocatable = placement.resources((obj.get("status") or {}).get("allocatable"))

    def remove_node(self, name: str) -> None:
        if node := self.nodes.pop(name, None):
            self._homeless[name] = node.pods

    def add_pod(self, pod: Object, node: str = "") -> None:
        """Count a pod on `node`, or on the one its spec names; replaces what was known of the same uid."""
        self.remove_pod(pod)
        uid, name = pod["metadata"]["uid"], node or pod["spec"]["nodeName"]
        self._where[uid] = name
        affinity = pod["spec"].get("affinity") or {}
        if (affinity.get("podAntiAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution"):
            self.repelling[uid] = pod
        if affinity.get("podAffinity") or affinity.get("podAntiAffinity"):
            self.attracted[uid] = pod
        if name in self.nodes:
            self._count(self.nodes[name], pod, 1)
        else:
            self._homeless.setdefault(name, {})[uid] = pod

    def remove_pod(self, pod: Object) -> bool:
        """Forget the pod; False where it was not counted."""
        uid = pod["metadata"]["uid"]
        name = self._where.pop(uid, None)
        if name is None:
            return False
        self.repelling.pop(uid, None)
        self.attracted.pop(uid, None)
        if node := self.nodes.get(name):
            self._count(node, node.pods[uid], -1)
        else:
            self._homeless.get(name, {}).pop(uid, None)
        return True

    def node_of(self, uid: str) -> Node | None:
        """The node that a pod is counted on."""
        return self.nodes.get(self._where.get(uid, ""))

    def holds(self, uid: str) -> bool:
        return uid in self._where

    def pods(self, namespaces: Iterable[str] | None = None) -> Iterable[tuple[Object, Node]]:
        """Every counted pod with its node, in these namespaces or in all."""
        wanted = None if namespaces is None else set(namespaces)
        for node in self.nodes.values():
            for pod in node.pods.values():
                if wanted is None or pod["metadata"]["namespace"] in wanted:
                    yield pod, node

    def _count(self, node: Node, pod: Object, sign: int) -> None:
        uid = pod["metadata"]["uid"]
        if sign > 0:
            node.pods[uid] = pod
        else:
            node.pods.pop(uid, None)
        requests = placement.requests(pod["spec"])
        for name, amount in requests.items():
            node.taken[name] = node.taken.get(name, 0) + sign * amount
        for name, amount in weight(requests).items():
            node.weighed[name] += sign * amount
        for port in host_ports(pod["spec"]):
            node.ports[port] += sign
        if ref := owner(pod):
            node.owners[ref["uid"]] += sign


def weight(requests: Resources) -> Resources:
    return {name: requests.get(name) or assumed for name, assumed in ASSUMED.items()}


def host_ports(spec: Object) -> list[Port]:
    """The ports of its node that a pod takes: protocol, address, number."""
    sidecars: list[Any] = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return [
        (port.get("protocol", "TCP"), port.get("hostIP") or "0.0.0.0", port["hostPort"])
        for container in [*(spec.get("containers") or ()), *sidecars]
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]
