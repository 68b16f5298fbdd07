"""Extended resources that device classes provide: a pod's requests for them become a claim of the scheduler's own.

Source: KEP-5004; pkg/scheduler/framework/plugins/dynamicresources (extendeddynamicresources) of 1.37.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sampan.machinery import quantities
from sampan.machinery.objects import Object, owner
from sampan.scheduler import resources
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.resources import Resources
from sampan.scheduler.snapshot import DEVICE_CLASSES, RESOURCE_CLAIMS, Snapshot

# A class can be asked for by this and its name, whatever else it is called.
IMPLICIT = "deviceclass.resource.kubernetes.io/"
ANNOTATION = "resource.kubernetes.io/extended-resource-claim"


def classes_by_resource(snapshot: Snapshot) -> dict[str, str]:
    """The device class behind each extended resource; the newest one where several have the name."""
    found: dict[str, str] = {}

    def rank(device_class: Object) -> tuple[str, str]:
        return device_class["metadata"].get("creationTimestamp") or "", device_class["metadata"]["name"]

    by_name = sorted(snapshot.list(DEVICE_CLASSES), key=lambda c: rank(c)[1], reverse=True)
    for device_class in sorted(by_name, key=lambda c: rank(c)[0]):
        name = device_class["metadata"]["name"]
        found[f"{IMPLICIT}{name}"] = name
        if own := (device_class.get("spec") or {}).get("extendedResourceName"):
            found[own] = name
    return found


class Claimed(NamedTuple):
    """The claim as a node would need it, and which container's request each of its requests is for."""

    claim: Object
    mappings: list[Object]


@dataclass(slots=True)
class Extended:
    """A pod's extended resources with their classes, and the claim for them, which may exist only here."""

    pod: PodInfo
    claim: Object
    amounts: Resources
    classes: Mapping[str, str]
    by_node: dict[str, Claimed] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Whether an earlier try left the claim behind."""
        return "resourceVersion" in self.claim["metadata"]

    def lacking(self, node: NodeInfo) -> Resources | None:
        """What devices must provide because the node itself does not; None where the node has no such resource."""
        found: Resources = {}
        for name, amount in self.amounts.items():
            if name in self.classes and not node.allocatable.get(name):
                found[name] = amount
            elif name not in node.allocatable:
                return None
        return found

    def of_node(self, node: NodeInfo, lacking: Resources) -> Claimed:
        """The claim with requests for what the node lacks."""
        requests, mappings = _requests(self.pod, sorted(lacking), self.classes)
        claim = {**self.claim, "spec": {"devices": {"requests": requests}}}
        self.by_node[node.name] = Claimed(claim, mappings)
        return self.by_node[node.name]


def of_pod(pod: PodInfo, snapshot: Snapshot) -> Extended | None:
    """The pod's extended resources, where a device class provides one of them."""
    classes = classes_by_resource(snapshot)
    asked = resources.requests(pod.object, status=False)
    amounts = {
        name: amount
        for name, amount in asked.items()
        if amount and (resources.is_extended(name) or name.startswith(IMPLICIT))
    }
    if not any(name in classes for name in amounts):
        return None
    for claim in snapshot.list(RESOURCE_CLAIMS, pod.namespace):
        marked = (claim["metadata"].get("annotations") or {}).get(ANNOTATION) == "true"
        if marked and (owner(claim) or {}).get("uid") == pod.uid:
            return Extended(pod, claim, amounts, classes)
    return Extended(pod, _claim(pod), amounts, classes)


def _claim(pod: PodInfo) -> Object:
    ref = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid, "controller": True}
    meta = {
        "name": f"{pod.name}-extended-resources",
        "generateName": f"{pod.name}-extended-resources-",
        "namespace": pod.namespace,
        "ownerReferences": [ref],
        "annotations": {ANNOTATION: "true"},
    }
    return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": meta, "spec": {}}


def to_create(claim: Object) -> Object:
    """The claim as it is sent to the API server, which names it."""
    meta = {k: v for k, v in claim["metadata"].items() if k != "name"}
    return {**claim, "metadata": meta}


def _requests(
    pod: PodInfo, names: list[str], classes: Mapping[str, str]
) -> tuple[list[Object], list[Object]]:
    """Requests for devices, one for each container that needs some, and what each is for.

    Init containers run one after the other and before the rest, so they share one request, and use what containers
    that start later will have.
    """
    inits = pod.spec.get("initContainers") or []
    containers = [*inits, *(pod.spec.get("containers") or ())]
    short = [i for i, c in enumerate(inits) if c.get("restartPolicy") != "Always"]
    requests: list[Object] = []
    mappings: list[Object] = []
    for name in names:
        lasting: list[Object | None] = [None] * len(containers)
        for i, container in enumerate(containers):
            if i not in short:
                lasting[i], found = _request(i, container, name, classes[name], [])
                mappings += found
        passing, found = _of_inits(short, containers, name, classes[name], lasting)
        mappings += found
        requests += [one for one in (passing, *lasting) if one is not None]
    return sorted(requests, key=lambda request: str(request["name"])), mappings


def _of_inits(
    short: list[int], containers: list[Object], name: str, device_class: str, lasting: list[Object | None]
) -> tuple[Object | None, list[Object]]:
    """The largest of the init containers' requests stands for all of them."""
    largest: Object | None = None
    names: set[str] = set()
    mappings: list[Object] = []
    for i in short:
        request, found = _request(i, containers[i], name, device_class, lasting[i:])
        mappings += found
        if request is not None:
            names.add(request["name"])
            if largest is None or largest["exactly"]["count"] < request["exactly"]["count"]:
                largest = request
    if largest is None:
        return None, mappings
    shared = [{**m, "requestName": largest["name"]} if m["requestName"] in names else m for m in mappings]
    return largest, shared


def _request(
    index: int, container: Object, name: str, device_class: str, reusable: list[Object | None]
) -> tuple[Object | None, list[Object]]:
    """A container's request for what it cannot use of others', and what it is for."""
    asked = (container.get("resources") or {}).get("requests") or {}
    wanted = quantities.parse(asked.get(name) or "0")
    if not wanted or wanted.nano % 10**9:
        return None, []
    mappings: list[Object] = []
    have = 0

    def note(request: str) -> None:
        mappings.append({"containerName": container["name"], "resourceName": name, "requestName": request})

    for other in reusable:
        if other is not None:
            have += other["exactly"]["count"]
            note(other["name"])
            if have >= wanted.value:
                return None, mappings
    own = f"container-{index}-request-{sorted(asked).index(name)}"
    note(own)
    exactly = {"deviceClassName": device_class, "allocationMode": "ExactCount", "count": wanted.value - have}
    return {"name": own, "exactly": exactly}, mappings
