"""Clusters and pods drawn at random from a seed: small, and full of what makes scheduling hard.

Few names, labels and sizes, so that terms meet pods, domains tie and nodes fill up.
"""

from __future__ import annotations

from random import Random
from typing import Any

from sampan.machinery.objects import Object
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import NAMESPACES, SERVICES, Snapshot

HOST, ZONE, RACK = "kubernetes.io/hostname", "topology.kubernetes.io/zone", "rack"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
GPU = "example.com/gpu"


def node(rng: Random, name: str) -> Object:
    """A node of one of a few sizes; some lack a label or a resource, some are tainted or cordoned."""
    labels = {HOST: name}
    if rng.random() < 0.9:
        labels[ZONE] = rng.choice(["a", "b", "c"])
    if rng.random() < 0.6:
        labels[RACK] = rng.choice(["1", "2", "3"])
    if rng.random() < 0.5:
        labels["disk"] = rng.choice(["ssd", "hdd"])
    effects = ["NoSchedule", "PreferNoSchedule", "PreferNoSchedule", "NoExecute"]
    taints = [
        {"key": rng.choice(["a", "b"]), "value": rng.choice(["1", "2"]), "effect": rng.choice(effects)}
        for _ in range(rng.choice([0, 0, 0, 1, 2]))
    ]
    offers = {
        "cpu": rng.choice(["2", "4", "3900m"]),
        "memory": rng.choice(["4Gi", "7654321Ki"]),
        "pods": rng.choice(["3", "110"]),
    }
    if rng.random() < 0.3:
        offers[GPU] = rng.choice(["0", "2"])
    if rng.random() < 0.05:
        del offers[rng.choice(["cpu", "memory"])]
    images = [
        {"names": [f"app:{n}"], "sizeBytes": rng.choice([50, 400, 1500]) << 20}
        for n in (1, 2)
        if rng.random() < 0.4
    ]
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints, "unschedulable": rng.random() < 0.05},
        "status": {"allocatable": offers, "images": images},
    }


def pod(rng: Random, name: str, **more: Any) -> Object:
    """A pod with some of all the wishes that a pod may have."""
    spec: Object = {"containers": [_container(rng) for _ in range(rng.choice([1, 1, 2]))]}
    if rng.random() < 0.1:
        spec["initContainers"] = [{**_container(rng), **rng.choice([{}, {"restartPolicy": "Always"}])}]
    if rng.random() < 0.05:
        spec["overhead"] = {"cpu": "50m"}
    if rng.random() < 0.3:
        spec["tolerations"] = [_toleration(rng) for _ in range(rng.choice([1, 2]))]
    if rng.random() < 0.15:
        spec["nodeSelector"] = {"disk": rng.choice(["ssd", "hdd"])}
    if affinity := _affinity(rng):
        spec["affinity"] = affinity
    if rng.random() < 0.4:
        spec["topologySpreadConstraints"] = [_constraint(rng) for _ in range(rng.choice([1, 1, 2]))]
    meta = {"name": name, "uid": name, "namespace": rng.choice(["one", "one", "two"]), "labels": _labels(rng)}
    return {"metadata": {**meta, **more}, "spec": spec, "status": {"phase": "Pending"}}


def _container(rng: Random) -> Object:
    requests = {}
    if rng.random() < 0.8:
        requests["cpu"] = rng.choice(["100m", "250m", "1", "1700m"])
    if rng.random() < 0.8:
        requests["memory"] = rng.choice(["64Mi", "500Mi", "1Gi", "3000000k"])
    if rng.random() < 0.1:
        requests[GPU] = "1"
    ports = [{"containerPort": 80, "hostPort": rng.choice([80, 81])}] if rng.random() < 0.08 else []
    if ports and rng.random() < 0.4:
        ports[0]["hostIP"] = rng.choice(["10.0.0.1", "10.0.0.2"])  # type: ignore[assignment]
    return {
        "name": "c",
        "image": rng.choice(["app:1", "app:2", "other"]),
        "resources": {"requests": requests},
        "ports": ports,
    }


def _labels(rng: Random) -> dict[str, str]:
    labels = {"app": rng.choice(["x", "y", "z"])}
    if rng.random() < 0.5:
        labels["tier"] = rng.choice(["1", "2"])
    return labels


def _selector(rng: Random) -> Object | None:
    return rng.choice(
        [
            {"matchLabels": {"app": "x"}},
            {"matchLabels": {"app": "y"}},
            {"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "z"]}]},
            {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]},
            {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["z"]}]},
            {},
            None,
        ]
    )


def _term(rng: Random) -> Object:
    term: Object = {"topologyKey": rng.choice([HOST, ZONE, ZONE, RACK]), "labelSelector": _selector(rng)}
    if rng.random() < 0.15:
        term["namespaces"] = ["two"]
    elif rng.random() < 0.15:
        term["namespaceSelector"] = rng.choice([{}, {"matchLabels": {"team": "t"}}])
    return term


def _affinity(rng: Random) -> Object:
    found: Object = {}
    for kind in ("podAffinity", "podAntiAffinity"):
        if rng.random() < 0.15:
            found.setdefault(kind, {})[REQUIRED] = [_term(rng) for _ in range(rng.choice([1, 1, 2]))]
        if rng.random() < 0.2:
            terms = [_term(rng) for _ in range(rng.choice([1, 2]))]
            found.setdefault(kind, {})[PREFERRED] = [
                {"weight": rng.choice([1, 10, 50]), "podAffinityTerm": t} for t in terms
            ]
    if rng.random() < 0.15:
        found.setdefault("nodeAffinity", {})[REQUIRED] = {
            "nodeSelectorTerms": [_node_term(rng) for _ in range(2)]
        }
    if rng.random() < 0.2:
        preferred = [{"weight": rng.choice([1, 7, 30]), "preference": _node_term(rng)} for _ in range(2)]
        found.setdefault("nodeAffinity", {})[PREFERRED] = preferred
    return found


def _node_term(rng: Random) -> Object:
    return {
        "matchExpressions": [
            rng.choice(
                [
                    {"key": ZONE, "operator": "In", "values": ["a", "b"]},
                    {"key": "disk", "operator": "Exists"},
                    {"key": "disk", "operator": "NotIn", "values": ["hdd"]},
                    {"key": RACK, "operator": "Gt", "values": ["1"]},
                    {"key": RACK, "operator": "DoesNotExist"},
                ]
            )
        ]
    }


def _constraint(rng: Random) -> Object:
    found: Object = {
        "topologyKey": rng.choice([HOST, ZONE, ZONE, RACK]),
        "maxSkew": rng.choice([1, 2]),
        "whenUnsatisfiable": rng.choice(["DoNotSchedule", "ScheduleAnyway"]),
        "labelSelector": _selector(rng),
    }
    if found["whenUnsatisfiable"] == "DoNotSchedule" and rng.random() < 0.3:
        found["minDomains"] = rng.choice([2, 4])
    if rng.random() < 0.3:
        found["nodeAffinityPolicy"] = rng.choice(["Honor", "Ignore"])
    if rng.random() < 0.3:
        found["nodeTaintsPolicy"] = rng.choice(["Honor", "Ignore"])
    if rng.random() < 0.2:
        found["matchLabelKeys"] = ["tier"]
    return found


def _toleration(rng: Random) -> Object:
    return rng.choice(
        [
            {"operator": "Exists"},
            {"key": "a", "operator": "Exists"},
            {"key": "a", "operator": "Equal", "value": "1", "effect": "PreferNoSchedule"},
            {"key": "b", "value": "2"},
        ]
    )


def cluster(rng: Random, nodes: int, pods: int) -> Snapshot:
    """Nodes with pods on them, two namespaces, and a service that gives pods their default spreading."""
    snapshot = Snapshot()
    for name in ("one", "two"):
        labels = {"team": "t"} if rng.random() < 0.5 else {}
        snapshot.set(NAMESPACES, {"metadata": {"name": name, "labels": labels}})
    if rng.random() < 0.5:
        service = {"metadata": {"name": "s", "namespace": "one"}, "spec": {"selector": {"app": "x"}}}
        snapshot.set(SERVICES, service)
    for i in range(nodes):
        snapshot.set_node(node(rng, f"n{i}"))
    for i in range(pods):
        more = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if rng.random() < 0.1 else {}
        snapshot.add_pod(PodInfo(pod(rng, f"e{i}", **more)), f"n{rng.randrange(nodes)}")
    return snapshot
