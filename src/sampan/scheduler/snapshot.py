"""The cluster as the scheduler sees it: nodes with the pods on them, and what else a placement depends on.

Kept up to date by single changes. Pods that were placed but are not yet seen as bound (assumed) are added with
the node that they go to, and count like bound ones. `generation` grows with every change, so that what was
worked out from a snapshot can be kept as long as it stays; who must follow every change registers an `Observer`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

from sampan.machinery.objects import Key, Object, key
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.terms import Labels

# Objects other than nodes and pods are kept by their resource, as informers name them.
NAMESPACES = "namespaces"
SERVICES = "services"
REPLICATION_CONTROLLERS = "replicationcontrollers"
REPLICA_SETS = "replicasets.apps"
STATEFUL_SETS = "statefulsets.apps"
CLAIMS = "persistentvolumeclaims"
VOLUMES = "persistentvolumes"
STORAGE_CLASSES = "storageclasses.storage.k8s.io"
CSI_NODES = "csinodes.storage.k8s.io"
CSI_DRIVERS = "csidrivers.storage.k8s.io"
CAPACITIES = "csistoragecapacities.storage.k8s.io"
ATTACHMENTS = "volumeattachments.storage.k8s.io"
POD_GROUPS = "podgroups.scheduling.k8s.io"
DEVICE_CLASSES = "deviceclasses.resource.k8s.io"
DEVICE_TAINT_RULES = "devicetaintrules.resource.k8s.io"
RESOURCE_CLAIMS = "resourceclaims.resource.k8s.io"
RESOURCE_SLICES = "resourceslices.resource.k8s.io"
BUDGETS = "poddisruptionbudgets.policy"


class Observer(Protocol):
    """Told of each change after it was made."""

    def node_changed(self, node: NodeInfo) -> None:
        """A node came or its object changed; a new one comes with the pods already on it."""

    def node_removed(self, node: NodeInfo) -> None: ...

    def pod_added(self, pod: PodInfo, node: NodeInfo) -> None: ...

    def pod_removed(self, pod: PodInfo, node: NodeInfo) -> None: ...

    def object_changed(self, resource: str, old: Object | None, new: Object | None) -> None: ...


class Snapshot:
    """The cluster. Changed only through its methods; a pod is known by its uid."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.generation = 0
        # Nodes that hold pods with any affinity, and with required anti-affinity: the few that all pods look at.
        self.with_affinity: dict[str, NodeInfo] = {}
        self.with_anti_affinity: dict[str, NodeInfo] = {}
        # Pods that preemption makes room for, by node and uid.
        self.nominated: dict[str, dict[str, PodInfo]] = {}
        # Which nodes hold an image, by each of its names.
        self.images: dict[str, set[str]] = {}
        self._objects: dict[str, dict[Key, Object]] = {}
        self._where: dict[str, str] = {}
        # Pods of nodes that are not known (yet).
        self._homeless: dict[str, dict[str, PodInfo]] = {}
        self._observers: list[Observer] = []

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of every change from now on."""
        self._observers.append(observer)

    def set_node(self, obj: Object) -> None:
        """Add a node, or replace its object."""
        name = obj["metadata"]["name"]
        node = self.nodes.get(name)
        if node is None:
            node = self.nodes[name] = NodeInfo(obj)
            for pod in self._homeless.pop(name, {}).values():
                node.add_pod(pod)
            self._index(node)
        else:
            self._forget_images(node)
            node.set_object(obj)
        self._note_images(node)
        self._changed(node)
        for observer in self._observers:
            observer.node_changed(node)

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods are kept for when it comes back, or until they go."""
        if (node := self.nodes.pop(name, None)) is None:
            return
        self._homeless[name] = dict(node.pods)
        self.with_affinity.pop(name, None)
        self.with_anti_affinity.pop(name, None)
        self._forget_images(node)
        self.generation += 1
        for observer in self._observers:
            observer.node_removed(node)

    def add_pod(self, pod: PodInfo, node: str = "") -> None:
        """Count a pod on `node`, or on the one its spec names; replaces what was known of the same uid."""
        if pod.uid in self._where:
            self.remove_pod(pod.uid)
        name = node or pod.node
        self._where[pod.uid] = name
        if (found := self.nodes.get(name)) is None:
            self._homeless.setdefault(name, {})[pod.uid] = pod
            return
        found.add_pod(pod)
        if pod.has_affinity:
            self._index(found)
        self._changed(found)
        for observer in self._observers:
            observer.pod_added(pod, found)

    def replace_pod(self, pod: PodInfo) -> None:
        """A counted pod has changed; where it takes as much as before, nothing is counted anew."""
        node = self.node_of(pod.uid)
        old = node.pods.get(pod.uid) if node else None
        if node is None or old is None or node.name != pod.node or not pod.takes_as(old):
            self.add_pod(pod)
            return
        for pods in (node.pods, node.with_affinity, node.with_anti_affinity):
            if pod.uid in pods:
                pods[pod.uid] = pod

    def remove_pod(self, uid: str) -> bool:
        """Forget a pod; False where it was not counted."""
        name = self._where.pop(uid, None)
        if name is None:
            return False
        if (node := self.nodes.get(name)) is None:
            self._homeless.get(name, {}).pop(uid, None)
            return True
        pod = node.remove_pod(uid)
        if pod.has_affinity:
            self._index(node)
        self._changed(node)
        for observer in self._observers:
            observer.pod_removed(pod, node)
        return True

    def node_of(self, uid: str) -> NodeInfo | None:
        """The node that a pod is counted on."""
        return self.nodes.get(self._where.get(uid, ""))

    def holds(self, uid: str) -> bool:
        """Whether a pod is counted, be its node known or not."""
        return uid in self._where

    def pods(self, namespaces: Collection[str] | None = None) -> Iterator[tuple[PodInfo, NodeInfo]]:
        """Every counted pod with its node, in these namespaces or in all."""
        for node in self.nodes.values():
            for pod in node.pods.values():
                if namespaces is None or pod.namespace in namespaces:
                    yield pod, node

    def nominate(self, pod: PodInfo, node: str) -> None:
        """Keep a place for the pod: others of lower priority must fit beside it."""
        self.withdraw(pod.uid)
        self.nominated.setdefault(node, {})[pod.uid] = pod
        self.generation += 1

    def withdraw(self, uid: str) -> None:
        """Forget that a pod was nominated."""
        for node, pods in list(self.nominated.items()):
            if pods.pop(uid, None) is not None:
                self.generation += 1
            if not pods:
                del self.nominated[node]

    def nominated_node(self, uid: str) -> str:
        """The node that a pod is nominated for, empty where there is none."""
        return next((node for node, pods in self.nominated.items() if uid in pods), "")

    def set(self, resource: str, obj: Object) -> None:
        """Add or replace an object that is neither node nor pod."""
        objects, name = self._objects.setdefault(resource, {}), key(obj)
        old, objects[name] = objects.get(name), obj
        self._object_changed(resource, old, obj)

    def remove(self, resource: str, name: Key) -> None:
        if (old := self._objects.get(resource, {}).pop(name, None)) is not None:
            self._object_changed(resource, old, None)

    def get(self, resource: str, name: str, namespace: str = "") -> Object | None:
        return self._objects.get(resource, {}).get(Key(namespace, name))

    def has(self, resource: str) -> bool:
        """Whether there is any object of a resource."""
        return bool(self._objects.get(resource))

    def list(self, resource: str, namespace: str | None = None) -> Iterable[Object]:
        """All objects of a resource, of one namespace or of all."""
        objects = self._objects.get(resource, {})
        if namespace is None:
            return objects.values()
        return [obj for name, obj in objects.items() if name.namespace == namespace]

    def namespace_labels(self, name: str) -> Labels:
        """A namespace's labels, none where it is not known."""
        found = self.get(NAMESPACES, name)
        return (found["metadata"].get("labels") or {}) if found else {}

    def all_namespaces(self) -> dict[str, Labels]:
        """The labels of each known namespace."""
        return {ns["metadata"]["name"]: ns["metadata"].get("labels") or {} for ns in self.list(NAMESPACES)}

    def _object_changed(self, resource: str, old: Object | None, new: Object | None) -> None:
        self.generation += 1
        for observer in self._observers:
            observer.object_changed(resource, old, new)

    def _changed(self, node: NodeInfo) -> None:
        self.generation += 1
        node.generation = self.generation

    def _index(self, node: NodeInfo) -> None:
        for index, pods in (
            (self.with_affinity, node.with_affinity),
            (self.with_anti_affinity, node.with_anti_affinity),
        ):
            if pods:
                index[node.name] = node
            else:
                index.pop(node.name, None)

    def _note_images(self, node: NodeInfo) -> None:
        for name in node.images:
            self.images.setdefault(name, set()).add(node.name)

    def _forget_images(self, node: NodeInfo) -> None:
        for name in node.images:
            self.images[name].discard(node.name)
            if not self.images[name]:
                del self.images[name]
