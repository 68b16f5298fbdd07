"""A node as the scheduler sees it: what it offers, the pods on it, and what they take.

Source: pkg/scheduler/framework (NodeInfo in types.go) of 1.37.
"""

from __future__ import annotations

from collections import Counter

from sampan.machinery.objects import Key, Object
from sampan.scheduler import resources
from sampan.scheduler.pods import ALL_ADDRESSES, PodInfo, Port
from sampan.scheduler.resources import PODS, Resources
from sampan.scheduler.terms import Labels


class NodeInfo:
    """One node with its pods by uid. `requested` and `non_zero_*` sum up what they take."""

    def __init__(self, obj: Object) -> None:
        self.pods: dict[str, PodInfo] = {}
        # Pods with any affinity to pods, and with required anti-affinity.
        self.with_affinity: dict[str, PodInfo] = {}
        self.with_anti_affinity: dict[str, PodInfo] = {}
        self.requested: Resources = {}
        self.non_zero_cpu = 0
        self.non_zero_memory = 0
        self.ports: Counter[Port] = Counter()
        # How many pods here use each claim.
        self.claims: Counter[Key] = Counter()
        self.generation = 0
        self.set_object(obj)

    def __repr__(self) -> str:
        return f"NodeInfo({self.name}, {len(self.pods)} pods)"

    def set_object(self, obj: Object) -> None:
        """Take what the node offers from its object; the pods stay."""
        meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
        self.object = obj
        self.name: str = meta["name"]
        self.labels: Labels = meta.get("labels") or {}
        self.taints: list[Object] = spec.get("taints") or []
        self.unschedulable = bool(spec.get("unschedulable"))
        self.allocatable: Resources = resources.resources(status.get("allocatable"))
        self.allowed_pods = self.allocatable.pop(PODS, 0)
        self.images: dict[str, int] = {
            name: image.get("sizeBytes") or 0
            for image in status.get("images") or ()
            for name in image.get("names") or ()
        }
        self.declared_features = frozenset(status.get("declaredFeatures") or ())

    def add_pod(self, pod: PodInfo) -> None:
        self.pods[pod.uid] = pod
        if pod.has_affinity:
            self.with_affinity[pod.uid] = pod
            if pod.required_anti_affinity:
                self.with_anti_affinity[pod.uid] = pod
        self._count(pod, 1)

    def remove_pod(self, uid: str) -> PodInfo:
        """Take a pod off. Raises KeyError where it is not here."""
        pod = self.pods.pop(uid)
        self.with_affinity.pop(uid, None)
        self.with_anti_affinity.pop(uid, None)
        self._count(pod, -1)
        return pod

    def _count(self, pod: PodInfo, sign: int) -> None:
        for name, amount in pod.requests.items():
            self.requested[name] = self.requested.get(name, 0) + sign * amount
        cpu, memory = pod.non_zero
        self.non_zero_cpu += sign * cpu
        self.non_zero_memory += sign * memory
        for port in pod.host_ports:
            self.ports[port] += sign
        for claim in pod.claims:
            self.claims[claim] += sign

    def conflicts(self, port: Port) -> bool:
        """Whether a pod here has the port, at the same address or at all."""
        protocol, address, number = port
        return any(
            count > 0
            and taken[0] == protocol
            and taken[2] == number
            and (taken[1] == address or ALL_ADDRESSES in (taken[1], address))
            for taken, count in self.ports.items()
        )

    def clone(self) -> NodeInfo:
        """A copy whose pods may be changed, to see what would be."""
        copy = NodeInfo.__new__(NodeInfo)
        copy.__dict__.update(self.__dict__)
        for name in ("pods", "with_affinity", "with_anti_affinity", "requested", "ports", "claims"):
            setattr(copy, name, getattr(self, name).copy())
        return copy
