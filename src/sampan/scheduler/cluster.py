"""A cluster held still: all objects that scheduling depends on, read from a live cluster or from a file.

What explains, plans and asks what-if works on one of these: a snapshot that may be changed freely, the pods that wait,
and the rest. Nothing here writes to a cluster.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sampan.client.api import ApiError, Client
from sampan.kinds import registry
from sampan.machinery.objects import Key, Object, get
from sampan.scheduler import snapshot as resources
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot

NODES, PODS = "nodes", "pods"
BUDGETS = resources.BUDGETS
GROUPS = resources.POD_GROUPS
# What a snapshot is made of, by kind in a file; a cluster that does not serve one of the rest has none of them.
KINDS: dict[str, str] = {
    "Node": NODES,
    "Pod": PODS,
    "Namespace": resources.NAMESPACES,
    "Service": resources.SERVICES,
    "ReplicationController": resources.REPLICATION_CONTROLLERS,
    "ReplicaSet": resources.REPLICA_SETS,
    "StatefulSet": resources.STATEFUL_SETS,
    "PersistentVolumeClaim": resources.CLAIMS,
    "PersistentVolume": resources.VOLUMES,
    "StorageClass": resources.STORAGE_CLASSES,
    "CSINode": resources.CSI_NODES,
    "CSIDriver": resources.CSI_DRIVERS,
    "CSIStorageCapacity": resources.CAPACITIES,
    "VolumeAttachment": resources.ATTACHMENTS,
    "PodDisruptionBudget": BUDGETS,
    "PodGroup": GROUPS,
    "ResourceClaim": "resourceclaims.resource.k8s.io",
    "ResourceSlice": "resourceslices.resource.k8s.io",
    "DeviceClass": "deviceclasses.resource.k8s.io",
    "DeviceTaintRule": resources.DEVICE_TAINT_RULES,
}
# Objects that stand for pods: where their template is, and where the number of them.
_TEMPLATES = {
    "Deployment": ("spec.template", "spec.replicas"),
    "ReplicaSet": ("spec.template", "spec.replicas"),
    "StatefulSet": ("spec.template", "spec.replicas"),
    "ReplicationController": ("spec.template", "spec.replicas"),
    "Job": ("spec.template", "spec.parallelism"),
}
_CLUSTER_WIDE = {"Node", "Namespace", "PersistentVolume", "StorageClass", "CSINode", "CSIDriver", "VolumeAttachment",
                 "ResourceSlice", "DeviceClass", "DeviceTaintRule"}  # fmt: skip


class Unreadable(ValueError):
    """A file does not hold what it should; the message says which and why."""


@dataclass(slots=True)
class ClusterState:
    """`snapshot` holds nodes and the pods on them; `waiting` are pods without a node, the first to be tried first."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    waiting: dict[Key, PodInfo] = field(default_factory=dict)
    # What could not be read, with why: an answer may depend on it.
    missing: list[str] = field(default_factory=list)

    def pod(self, name: Key) -> PodInfo | None:
        """A pod, waiting or on a node."""
        if found := self.waiting.get(name):
            return found
        return next((pod for pod, _ in self.snapshot.pods({name.namespace}) if pod.name == name.name), None)


def of(objects: Iterable[Object]) -> ClusterState:
    """A state from objects of any order; lists are taken apart, kinds that do not matter left out."""
    state = ClusterState()
    pods: list[PodInfo] = []
    for obj in flat(objects):
        resource = KINDS.get(obj.get("kind", ""))
        if resource == NODES:
            state.snapshot.set_node(obj)
        elif resource == PODS:
            pods.append(PodInfo(_whole(_placed(obj))))
        elif resource:
            state.snapshot.set(resource, obj if obj["kind"] in _CLUSTER_WIDE else _placed(obj))
    for pod in pods:
        if pod.finished:
            continue
        if pod.node:
            state.snapshot.add_pod(pod)
        else:
            state.waiting[pod.key] = pod
    state.waiting = {pod.key: pod for pod in sorted(state.waiting.values(), key=order)}
    return state


def order(pod: PodInfo) -> tuple[int, str]:
    """The order in which pods are tried: by priority, then by age; what is not made yet is the youngest."""
    return -pod.priority, pod.object["metadata"].get("creationTimestamp") or "later"


def flat(objects: Iterable[Object]) -> Iterator[Object]:
    for obj in objects:
        if "items" in obj and str(obj.get("kind", "List")).endswith("List"):
            kind = str(obj.get("kind", "List")).removesuffix("List")
            yield from flat({"kind": kind, **item} if kind else item for item in obj["items"] or ())
        else:
            yield obj


def pods_of(objects: Iterable[Object]) -> list[PodInfo]:
    """The pods that manifests stand for: pods themselves, and as many of each template as its owner wants."""
    found: list[PodInfo] = []
    for obj in flat(objects):
        kind = obj.get("kind", "")
        if kind == "Pod":
            found.append(PodInfo(_whole(_placed(obj))))
        elif kind in _TEMPLATES:
            found.extend(_copies(_placed(obj), *_TEMPLATES[kind]))
    return found


def _copies(obj: Object, template: str, replicas: str) -> Iterator[PodInfo]:
    """The pods that a workload's controller would make."""
    meta, pod = obj["metadata"], get(obj, template) or {}
    many = get(obj, replicas, 1)
    owner = {
        "kind": obj["kind"],
        "name": meta["name"],
        "uid": meta.get("uid", meta["name"]),
        "controller": True,
    }
    for i in range(int(many)):
        own = {**(pod.get("metadata") or {}), "name": f"{meta['name']}-{i}", "namespace": meta["namespace"]}
        own["ownerReferences"] = [owner]
        yield PodInfo(_whole({"kind": "Pod", "metadata": own, "spec": pod.get("spec") or {}}))


def _whole(pod: Object) -> Object:
    """A pod with what its writer left out, as an API server would fill it in; one that came from there is whole."""
    if "status" in pod:
        return pod
    made: Object = copy.deepcopy(pod)
    made.setdefault("spec", {})
    registry.of("v1", "Pod").default(made)
    return made


def _placed(obj: Object) -> Object:
    """An object in a namespace; `default` where it names none."""
    meta = obj.get("metadata") or {}
    if "name" not in meta:
        raise Unreadable(f"an object of kind {obj.get('kind')!r} has no name")
    return obj if meta.get("namespace") else {**obj, "metadata": {**meta, "namespace": "default"}}


def parse(text: bytes, name: str = "") -> list[Object]:
    """The objects in a file of YAML documents or JSON. Raises Unreadable."""
    from sampan.machinery import yaml

    try:
        found = list(yaml.load_all(text))
    except yaml.YamlError as e:
        raise Unreadable(f"{name or 'the file'} is neither YAML nor JSON: {e}") from e
    for obj in found:
        if not isinstance(obj, dict) or ("kind" not in obj and "items" not in obj):
            raise Unreadable(f"{name or 'the file'} holds something that is no Kubernetes object")
    return found


def read_file(path: Path) -> list[Object]:
    """The objects in a file. Raises Unreadable."""
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as e:
        raise Unreadable(str(e)) from e


async def read_cluster(client: Client) -> ClusterState:
    """A live cluster as it is now. Raises ApiError where nodes or pods may not be read."""
    found: list[Object] = []
    missing: list[str] = []

    async def read(kind: str, resource: str) -> None:
        try:
            listed = await client.list(resource)
        except ApiError as e:
            if resource in (NODES, PODS):
                raise
            if e.code != 404:
                missing.append(str(e))
            return
        found.extend({"kind": kind, **item} for item in listed.items)

    async with asyncio.TaskGroup() as tasks:
        for kind, resource in KINDS.items():
            tasks.create_task(read(kind, resource), name=f"read {resource}")
    state = of(found)
    state.missing = sorted(missing)
    return state
