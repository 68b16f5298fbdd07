"""Clusters and pods for the scheduler's figures, the same on every run.

Nodes have the shape of upstream's own benchmark (4 CPU, 32 Gi, 110 pods), in three zones; 1,000 pods stand there
already.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from sampan.machinery.objects import Object
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import NAMESPACES, Snapshot

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
PLACED = 1000
SEED = 7


def node(number: int) -> Object:
    labels = {HOST: f"node-{number}", ZONE: f"zone-{number % 3}"}
    offers = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    status = {"capacity": offers, "allocatable": offers}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number}", "labels": labels},
        "spec": {},
        "status": status,
    }


def pod(name: str, cpu: str = "100m", memory: str = "500Mi", app: str = "bench", **spec: Any) -> Object:
    """A pending pod, as it comes from the API server."""
    container = {
        "name": "main", "image": "registry/pause:3", "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": cpu, "memory": memory}},
    }  # fmt: skip
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": app}},
        "spec": {
            "containers": [container], "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "priority": 0, "terminationGracePeriodSeconds": 30, "tolerations": _TOLERATIONS, **spec,
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    }  # fmt: skip


# What admission gives every pod.
_TOLERATIONS = [
    {
        "key": f"node.kubernetes.io/{what}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    for what in ("not-ready", "unreachable")
]


def cluster(nodes: int) -> Snapshot:
    snapshot = Snapshot()
    snapshot.set(NAMESPACES, {"metadata": {"name": "default"}})
    for number in range(nodes):
        snapshot.set_node(node(number))
    rng = Random(SEED)
    for number in range(PLACED):
        snapshot.add_pod(PodInfo(pod(f"placed-{number}", app="placed")), f"node-{rng.randrange(nodes)}")
    return snapshot


def _term(key: str) -> Object:
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"app": "bench"}}}


def _spread(key: str, when: str) -> Object:
    return {**_term(key), "maxSkew": 1, "whenUnsatisfiable": when}


def _different(name: str) -> Object:
    rng = Random(name)
    return pod(name, f"{rng.randrange(20, 200)}m", f"{rng.randrange(50, 900)}Mi")


# Each kind of pods by a word; every pod gets its name.
PODS: dict[str, Callable[[str], Object]] = {
    "identical": pod,
    "different": _different,
    "zone": lambda name: pod(name, topologySpreadConstraints=[_spread(ZONE, "DoNotSchedule")]),
    "zone-host": lambda name: pod(
        name, topologySpreadConstraints=[_spread(ZONE, "DoNotSchedule"), _spread(HOST, "ScheduleAnyway")]
    ),
    "near-zone": lambda name: pod(name, affinity={"podAffinity": {REQUIRED: [_term(ZONE)]}}),
    "apart-host": lambda name: pod(name, affinity={"podAntiAffinity": {REQUIRED: [_term(HOST)]}}),
    "preferred": lambda name: pod(
        name, affinity={"podAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": _term(HOST)}]}}
    ),
}  # fmt: skip
