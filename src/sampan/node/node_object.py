"""The Node object: what this machine offers and how it fares. Plain functions.

Sources: the Kubernetes documentation's pages on nodes, node status and node-pressure eviction (whose default
thresholds are used here).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.node.machine import Machine, Pressure

VERSION = "v1.37.2"
MOST_PODS = 110
RESERVED_MEMORY = 100 << 20  # the hard eviction threshold memory.available
LEAST_DISK = 0.10
LEAST_INODES = 0.05
LEAST_PIDS = 0.02
MOST_IMAGES = 50
# A condition is written at least this often (seconds), even if nothing changes.
REPORT = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """What the node says of itself once and for all."""

    name: str
    address: str
    port: int
    machine: Machine
    runtime: str
    pod_cidr: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Object] = ()


def capacity(machine: Machine) -> dict[str, str]:
    return {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory // 1024}Ki",
        "ephemeral-storage": f"{machine.disk // 1024}Ki",
        "pods": str(MOST_PODS),
    }


def allocatable(machine: Machine) -> dict[str, str]:
    """Capacity without what evictions would keep free."""
    return {
        "cpu": str(machine.cpus),
        "memory": f"{max(0, machine.memory - RESERVED_MEMORY) // 1024}Ki",
        "ephemeral-storage": str(int(machine.disk * (1 - LEAST_DISK))),
        "pods": str(MOST_PODS),
    }


def labels(me: Self) -> dict[str, str]:
    arch = me.machine.architecture
    return {
        "kubernetes.io/hostname": me.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        **me.labels,
    }


def node(me: Self, status: Object) -> Object:
    """The object with which a node registers itself."""
    spec: Object = {"podCIDR": me.pod_cidr, "podCIDRs": [me.pod_cidr]} if me.pod_cidr else {}
    if me.taints:
        spec["taints"] = list(me.taints)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": me.name,
            "labels": labels(me),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": spec,
        "status": status,
    }


def status(
    me: Self, pressure: Pressure, faults: Sequence[str], images: Sequence[Any], old: Object, now: float
) -> Object:
    """`faults` say why the node is not ready, `images` are CRI Images, `old` is the status before."""
    machine = me.machine
    runtime = me.runtime
    return {
        "capacity": capacity(machine),
        "allocatable": allocatable(machine),
        "conditions": conditions(pressure, faults, old, now),
        "addresses": [
            {"type": "InternalIP", "address": me.address},
            {"type": "Hostname", "address": me.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": me.port}},
        "nodeInfo": {
            "machineID": machine.machine_id,
            "systemUUID": machine.system_uuid,
            "bootID": machine.boot_id,
            "kernelVersion": machine.kernel,
            "osImage": machine.system,
            "containerRuntimeVersion": runtime,
            "kubeletVersion": VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": machine.architecture,
        },
        "images": [_image(i) for i in sorted(images, key=lambda i: -i.size)[:MOST_IMAGES]],
        "runtimeHandlers": [
            {"name": "", "features": {"recursiveReadOnlyMounts": False, "userNamespaces": False}}
        ],
    }


def _image(image: Any) -> Object:
    return {"names": [*image.repo_digests, *image.repo_tags][:5], "sizeBytes": int(image.size)}


def conditions(pressure: Pressure, faults: Sequence[str], old: Object, now: float) -> list[Object]:
    """MemoryPressure, DiskPressure, PIDPressure and Ready; a heartbeat alone is no change until it is due."""
    full = pressure.disk < LEAST_DISK or pressure.inodes < LEAST_INODES
    table = [
        (
            "MemoryPressure",
            pressure.memory < RESERVED_MEMORY,
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
        ),
        ("DiskPressure", full, "KubeletHasDiskPressure", "kubelet has disk pressure"),
        (
            "PIDPressure",
            pressure.pids < LEAST_PIDS,
            "KubeletHasInsufficientPID",
            "kubelet has insufficient PID available",
        ),
    ]
    well = {
        "MemoryPressure": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        "DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        "PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    }
    made = [
        _condition(kind, holds, *((reason, message) if holds else well[kind]), old=old, now=now)
        for kind, holds, reason, message in table
    ]
    if faults:
        ready = _condition("Ready", False, "KubeletNotReady", ", ".join(faults), old=old, now=now)
    else:
        ready = _condition("Ready", True, "KubeletReady", "kubelet is posting ready status", old=old, now=now)
    return [*made, ready]


def _condition(kind: str, holds: bool, reason: str, message: str, *, old: Object, now: float) -> Object:
    before: Object = next((c for c in old.get("conditions") or () if c["type"] == kind), {})
    value = "True" if holds else "False"
    same = before.get("status") == value
    beat = before.get("lastHeartbeatTime")
    fresh = same and before.get("reason") == reason and beat and now - times.seconds(beat) < REPORT
    return {
        "type": kind,
        "status": value,
        "lastHeartbeatTime": beat if fresh else times.time(now),
        "lastTransitionTime": before["lastTransitionTime"]
        if same and "lastTransitionTime" in before
        else times.time(now),
        "reason": reason,
        "message": message,
    }


def difference(old: Object, new: Object) -> Object:
    """The strategic merge patch for the node's status; conditions that others set stay."""
    patch: Object = {}
    for name, value in new.items():
        if name == "conditions":
            before = {c["type"]: c for c in old.get("conditions") or ()}
            if late := [c for c in value if before.get(c["type"]) != c]:
                patch[name] = late
        elif name == "addresses":
            if old.get(name) != value:
                patch[name] = [{"$patch": "replace"}, *value] if old.get(name) else value
        elif old.get(name) != value:
            patch[name] = value
    return patch


def lease(me: Self, uid: str, now: float) -> Object:
    """The Lease by which a node shows that it lives."""
    found: Object = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": me.name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": me.name, "leaseDurationSeconds": 40, "renewTime": times.micro_time(now)},
    }
    if uid:
        owner = {"apiVersion": "v1", "kind": "Node", "name": me.name, "uid": uid}
        found["metadata"]["ownerReferences"] = [owner]
    return found
