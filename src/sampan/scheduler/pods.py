"""A pod as the scheduler sees it: its object, and what is worked out from it once, when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from sampan.machinery.objects import Key, Object
from sampan.machinery.selectors import SelectorError
from sampan.scheduler import resources, terms
from sampan.scheduler.resources import Resources
from sampan.scheduler.terms import AffinityTerm, Labels, RequiredNodes

# Protocol, address of the node, number; the address 0.0.0.0 stands for all.
Port = tuple[str, str, int]
ALL_ADDRESSES = "0.0.0.0"
DEFAULT_SCHEDULER = "default-scheduler"
_KINDS = ("podAffinity", "podAntiAffinity")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


T = TypeVar("T")


class lazy(Generic[T]):
    """An attribute that is worked out when first asked for; functools.cached_property takes a lock for that in 3.11."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make, self._name, self.__doc__ = make, make.__name__, make.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object, owner: type) -> T | lazy[T]:
        if instance is None:
            return self
        found = instance.__dict__[self._name] = self._make(instance)
        return found


class PodInfo:
    """One pod. `object` is shared and never changed; a changed pod is another PodInfo with the same `uid`."""

    # What the columns have worked out of the pod (`columns.kinds`).
    kind: Any = None
    group_key: bytes = b""

    def __init__(self, obj: Object) -> None:
        meta = obj["metadata"]
        self.object = obj
        self.spec: Object = obj.get("spec") or {}
        self.status: Object = obj.get("status") or {}
        self.name: str = meta["name"]
        self.namespace: str = meta.get("namespace", "")
        self.uid: str = meta.get("uid") or f"{self.namespace}/{self.name}"
        self.labels: Labels = meta.get("labels") or {}
        self.terminating = meta.get("deletionTimestamp") is not None

    def __repr__(self) -> str:
        return f"PodInfo({self.namespace}/{self.name})"

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def node(self) -> str:
        """The node that the spec names, empty for a pod that waits."""
        return self.spec.get("nodeName") or ""

    @property
    def nominated(self) -> str:
        """The node that preemption makes room on."""
        return self.status.get("nominatedNodeName") or ""

    @property
    def finished(self) -> bool:
        return self.status.get("phase") in ("Succeeded", "Failed")

    @property
    def scheduler(self) -> str:
        return self.spec.get("schedulerName") or DEFAULT_SCHEDULER

    @property
    def priority(self) -> int:
        return self.spec.get("priority") or 0

    @property
    def tolerations(self) -> list[Object]:
        return self.spec.get("tolerations") or []

    @lazy
    def requests(self) -> Resources:
        """What the pod takes of its node: the most of what it asks, was allocated, and has."""
        found, self.__dict__["non_zero"] = resources.taken(self.object)
        return found

    @lazy
    def non_zero(self) -> tuple[int, int]:
        """CPU and memory as `requests`, with defaults where containers request none."""
        return resources.taken(self.object)[1]

    @lazy
    def host_ports(self) -> tuple[Port, ...]:
        """The ports of its node that the pod takes: those of containers, and of sidecars before them."""
        sidecars = [c for c in self.spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
        found = []
        for container in (*sidecars, *(self.spec.get("containers") or ())):
            for port in container.get("ports") or ():
                if number := port.get("hostPort") or 0:
                    found.append((port.get("protocol") or "TCP", port.get("hostIP") or ALL_ADDRESSES, number))
        return tuple(found)

    @lazy
    def claims(self) -> tuple[Key, ...]:
        """The PersistentVolumeClaims that the pod names (those of ephemeral volumes are not among them)."""
        if not self.spec.get("volumes"):
            return ()
        return tuple(
            Key(self.namespace, volume["persistentVolumeClaim"]["claimName"])
            for volume in self.spec.get("volumes") or ()
            if volume.get("persistentVolumeClaim")
        )

    @lazy
    def required_nodes(self) -> RequiredNodes:
        return terms.required_nodes(self.spec)

    @lazy
    def has_affinity(self) -> bool:
        """Whether the pod has affinity or anti-affinity to pods, required or preferred."""
        if not self.spec.get("affinity"):
            return False
        return self._affinity("podAffinity") is not None or self._affinity("podAntiAffinity") is not None

    @lazy
    def required_affinity(self) -> tuple[AffinityTerm, ...]:
        return self._read("podAffinity", _REQUIRED)[0]

    @lazy
    def required_anti_affinity(self) -> tuple[AffinityTerm, ...]:
        return self._read("podAntiAffinity", _REQUIRED)[0]

    @lazy
    def preferred_affinity(self) -> tuple[AffinityTerm, ...]:
        return self._read("podAffinity", _PREFERRED)[0]

    @lazy
    def preferred_anti_affinity(self) -> tuple[AffinityTerm, ...]:
        return self._read("podAntiAffinity", _PREFERRED)[0]

    @lazy
    def fault(self) -> str:
        """What is wrong with the pod's terms on other pods: a list with a fault counts as empty."""
        faults = [
            fault
            for kind in _KINDS
            for when in (_REQUIRED, _PREFERRED)
            if (fault := self._read(kind, when)[1])
        ]
        return faults[0] if faults else ""

    def takes_as(self, other: PodInfo) -> bool:
        """Whether this later form of a pod takes as much of its node as the other one, and means as much to others."""
        if self.labels != other.labels or self.terminating != other.terminating:
            return False
        mine, theirs = ({**p.spec, "nodeName": ""} for p in (self, other))
        return mine == theirs and _resized(self.status) == _resized(other.status)

    def _affinity(self, kind: str) -> Object | None:
        found: Object | None = (self.spec.get("affinity") or {}).get(kind)
        return found

    def _read(self, kind: str, when: str) -> tuple[tuple[AffinityTerm, ...], str]:
        listed = (self._affinity(kind) or {}).get(when) or ()
        try:
            if when == _REQUIRED:
                return terms.required_affinity(listed, self.namespace), ""
            return terms.preferred_affinity(listed, self.namespace), ""
        except SelectorError as e:
            return (), str(e)


def _resized(status: Object) -> list[object]:
    """What a status says of resources."""
    listed = [s for n in ("containerStatuses", "initContainerStatuses") for s in status.get(n) or ()]
    found: list[object] = [(s.get("resources"), s.get("allocatedResources")) for s in listed]
    infeasible = resources.resize_is_infeasible({"status": status})
    return [*(f for f in found if f != (None, None)), status.get("resources"), infeasible]
