"""Random cases for the oracle: small clusters in which every rule of the default plugins has something to do.

`case(seed)` is always the same case. `python cases.py FIRST COUNT [TOPIC]` writes cases, one JSON a line.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

from tests.scheduler.oracle.device_cases import add_devices
from tests.scheduler.oracle.preemption_cases import add_preemption
from tests.scheduler.oracle.volume_cases import add_volumes

Object = dict[str, Any]

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
GPU, FPGA, PAGES = "example.com/gpu", "fpga.example.org/card", "hugepages-2Mi"
NAMESPACES = ("default", "other", "third", "unlabelled")
MI = 2**20
TOPICS = ("plain", "resources", "affinity", "spread", "nodes", "defaults", "volumes", "mixed")


class Maker:
    """Makes the parts of one case from one source of chance; each case has its own leaning."""

    def __init__(self, seed: int, topic: str = "") -> None:
        self.random = random.Random(seed)
        self.topic = topic or self.pick(*TOPICS)

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def likely(self, *topics: str, then: float = 0.7, other: float = 0.1) -> bool:
        """Chance depends on what the case is about."""
        if self.topic in ("preemption", "devices"):
            return self.chance(0.15 if self.topic == "preemption" else 0.02)
        return self.chance(then if self.topic in topics or self.topic == "mixed" else other)

    # Nodes

    def node(self, name: str) -> Object:
        labels = {HOST: name, ZONE: self.pick("z0", "z1", "z2")}
        if self.chance(0.1):
            del labels[HOST]
        if self.chance(0.15):
            del labels[ZONE]
        labels |= {k: v for k, v in self.labels("rack", "disk", "gen").items() if self.chance(0.7)}
        taints = (
            [self.taint() for _ in range(self.pick(0, 0, 0, 1, 2))] if self.likely("nodes", other=0.2) else []
        )
        spec: Object = {"taints": taints} if taints else {}
        if self.chance(0.06):
            spec["unschedulable"] = True
        status: Object = {
            "allocatable": self.allocatable(),
            "capacity": {"cpu": "64", "memory": "256Gi", "pods": "110"},
        }
        if self.chance(0.4):
            status["images"] = self.images()
        if self.chance(0.3):
            status["declaredFeatures"] = self.random.sample(
                ["UserNamespacesHostNetworkSupport", "RestartAllContainersOnContainerExits", "Unheard"], 2
            )
        return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}

    def labels(self, *keys: str) -> dict[str, str]:
        values = {
            "rack": ("r0", "r1", "r2"), "disk": ("ssd", "hdd", "nvme"), "gen": ("1", "4", "7", "x", ""),
            "app": ("a", "b", "c"), "tier": ("x", "y"), "hash": ("h1", "h2"),
        }  # fmt: skip
        return {key: self.pick(*values[key]) for key in keys}

    def taint(self) -> Object:
        key = self.pick("dedicated", "old", "level", "node.kubernetes.io/unschedulable")
        taint = {
            "key": key,
            "effect": self.pick("NoSchedule", "NoExecute", "PreferNoSchedule", "PreferNoSchedule"),
        }
        if self.chance(0.7):
            taint["value"] = self.pick("gpu", "db", "1", "5")
        return taint

    def allocatable(self) -> Object:
        found = {
            "cpu": self.pick("2", "4", "8", "3900m", "1.5", "7910m"),
            "memory": self.pick("4Gi", "8Gi", "16Gi", "7654321Ki", "6G", "8589934593"),
            "pods": self.pick("110", "110", "110", "6", "3"),
        }
        if self.likely("resources"):
            found["ephemeral-storage"] = self.pick("10Gi", "1Gi", "50G")
            if self.chance(0.6):
                found[GPU] = self.pick("1", "4", "0", "8")
            if self.chance(0.3):
                found[FPGA] = "2"
            if self.chance(0.3):
                found[PAGES] = self.pick("1Gi", "64Mi")
        return found

    def images(self) -> list[Object]:
        names = [f"registry.example.com/{name}:{tag}" for name in ("web", "db") for tag in ("v1", "latest")]
        return [
            {"names": [name, f"{name}@sha256:0123"], "sizeBytes": self.pick(10, 50, 333, 900, 2500) * MI}
            for name in self.random.sample(names, self.pick(1, 2, 3))
        ]

    # Pods

    def pod(self, name: str, node: str = "") -> Object:
        meta: Object = {"name": name, "namespace": self.pick(*NAMESPACES[:3]), "uid": name}
        meta["labels"] = {k: v for k, v in self.labels("app", "tier", "hash").items() if self.chance(0.7)}
        spec: Object = {"schedulerName": "default-scheduler", "containers": self.containers("c")}
        if node:
            spec["nodeName"] = node
            if self.chance(0.06):
                meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if self.chance(0.3):
            spec["priority"] = self.pick(-5, 0, 10, 100)
        self.add_resources(spec)
        pod = {"metadata": meta, "spec": spec}
        if self.likely("resources", then=0.4, other=0.03):
            pod["status"] = self.status(spec)
        affinity = self.affinity(bool(node))
        if affinity:
            spec["affinity"] = affinity
        return pod

    def containers(self, prefix: str, most: int = 2) -> list[Object]:
        return [self.container(f"{prefix}{i}") for i in range(self.pick(1, most))]

    def container(self, name: str) -> Object:
        image = self.pick(
            "i", "registry.example.com/web:v1", "registry.example.com/db", "registry.example.com:5000/db"
        )
        found: Object = {"name": name, "image": image, "resources": {"requests": self.requests()}}
        if self.likely("nodes", then=0.3):
            found["ports"] = [self.port()]
        return found

    def port(self) -> Object:
        port: Object = {"containerPort": 80, "hostPort": self.pick(80, 81, 82, 0)}
        if self.chance(0.8):
            port["protocol"] = self.pick("TCP", "TCP", "UDP", "SCTP")
        if self.chance(0.3):
            port["hostIP"] = self.pick("127.0.0.1", "10.0.0.1", "0.0.0.0")
        return port

    def requests(self) -> Object:
        found: Object = {}
        if self.chance(0.85):
            found["cpu"] = self.pick("50m", "100m", "250m", "333m", "0.5", "1", "1700m", "100u", "0", "1e-1")
        if self.chance(0.85):
            found["memory"] = self.pick(
                "64Mi", "100Mi", "256Mi", "500M", "1Gi", "3000Mi", "1234567", "0.5", "0"
            )
        if self.likely("resources", then=0.4, other=0.02):
            found[self.pick(GPU, GPU, FPGA, PAGES, "ephemeral-storage")] = self.pick("1", "2", "0", "3")
        if self.likely("resources", then=0.15, other=0):
            found["ephemeral-storage"] = self.pick("1Gi", "300Mi", "100")
        return found

    def add_resources(self, spec: Object) -> None:
        if self.likely("resources", then=0.5, other=0.08):
            spec["initContainers"] = self.containers("i", 3)
            for container in spec["initContainers"]:
                if self.chance(0.5):
                    container["restartPolicy"] = "Always"
        if self.likely("resources", then=0.25, other=0.03):
            spec["overhead"] = {"cpu": "120m", "memory": "77Mi"}
        if self.likely("resources", then=0.3, other=0.03):
            own = {
                k: v for k, v in self.requests().items() if k in ("cpu", "memory", PAGES) or self.chance(0.1)
            }
            spec["resources"] = {"requests": own, "limits": {"cpu": "9"}}

    def status(self, spec: Object) -> Object:
        """A resize in some stage."""
        status: Object = {"containerStatuses": [], "initContainerStatuses": []}
        for kind in ("container", "initContainer"):
            for container in spec.get(f"{kind}s") or ():
                one: Object = {
                    "name": container["name"],
                    "image": "i",
                    "imageID": "",
                    "ready": True,
                    "restartCount": 0,
                }
                if self.chance(0.7):
                    one["allocatedResources"] = self.requests()
                if self.chance(0.6):
                    one["resources"] = {"requests": self.requests()} if self.chance(0.8) else {}
                status[f"{kind}Statuses"].append(one)
        if self.chance(0.4):
            reason = self.pick("Infeasible", "Deferred")
            status["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": reason}]
        if self.chance(0.3):
            status["resources"] = {"requests": self.requests()} if self.chance(0.8) else {}
        if self.chance(0.3):
            status["allocatedResources"] = self.requests()
        return status

    def incoming(self, nodes: list[str]) -> Object:
        pod = self.pod("incoming")
        meta, spec = pod["metadata"], pod["spec"]
        meta["namespace"] = self.pick("default", "default", "other", "unlabelled")
        if self.likely("nodes", other=0.3):
            spec["tolerations"] = [self.toleration() for _ in range(self.pick(1, 2, 3))]
        if self.likely("nodes", then=0.3):
            spec["nodeSelector"] = self.labels(self.pick("disk", "rack"))
        if self.likely("spread", then=0.95, other=0.15):
            spec["topologySpreadConstraints"] = [self.constraint() for _ in range(self.pick(1, 1, 2, 3))]
        if self.likely("nodes", then=0.04, other=0.01):
            spec["nodeName"] = self.pick(*nodes)
        if self.likely("nodes", then=0.1, other=0.01):
            spec["hostNetwork"], spec["hostUsers"] = True, False
        return pod

    def toleration(self) -> Object:
        found: Object = {"key": self.pick("dedicated", "old", "level", "node.kubernetes.io/unschedulable")}
        found["operator"] = self.pick("Equal", "Equal", "Exists", "", "Gt", "Lt")
        if self.chance(0.1):
            found = {"operator": self.pick("Exists", "Exists", "Equal")}
        if found["operator"] not in ("Exists",):
            found["value"] = self.pick("gpu", "db", "1", "5", "9")
        if self.chance(0.4):
            found["effect"] = self.pick("NoSchedule", "NoExecute", "PreferNoSchedule")
        return found

    # Selectors and terms

    def affinity(self, running: bool) -> Object:
        found: Object = {}
        share = 0.3 if running else 0.6
        if self.likely("nodes", then=share) and not running:
            found["nodeAffinity"] = self.node_affinity()
        for kind in ("podAffinity", "podAntiAffinity"):
            if self.likely("affinity", then=share, other=0.04):
                found[kind] = self.pod_affinity()
        return found

    def node_affinity(self) -> Object:
        found: Object = {}
        if self.chance(0.5):
            found["requiredDuringSchedulingIgnoredDuringExecution"] = {
                "nodeSelectorTerms": [self.node_term() for _ in range(self.pick(1, 2))]
            }
        if self.chance(0.6):
            found["preferredDuringSchedulingIgnoredDuringExecution"] = [
                {"weight": self.random.randint(1, 100), "preference": self.node_term()}
                for _ in range(self.pick(1, 3))
            ]
        return found

    def node_term(self) -> Object:
        found: Object = {}
        if self.chance(0.9):
            found["matchExpressions"] = [self.node_expression() for _ in range(self.pick(1, 1, 2))]
        if self.chance(0.15):
            operator = self.pick("In", "In", "NotIn")
            found["matchFields"] = [
                {"key": "metadata.name", "operator": operator, "values": [self.pick("n0", "n1", "n2", "nx")]}
            ]
        return found

    def node_expression(self) -> Object:
        key = self.pick("rack", "disk", "gen", "gen", ZONE)
        operator = (
            self.pick("Gt", "Lt", "Exists")
            if key == "gen"
            else self.pick("In", "NotIn", "Exists", "DoesNotExist")
        )
        found = {"key": key, "operator": operator}
        if operator in ("Gt", "Lt"):
            found["values"] = [self.pick("0", "3", "5", "9")]
        elif operator in ("In", "NotIn"):
            found["values"] = self.random.sample(
                ["r0", "r1", "ssd", "hdd", "z0", "z1", "z2"], self.pick(1, 3)
            )
        return found

    def pod_affinity(self) -> Object:
        found: Object = {}
        if self.chance(0.45):
            found["requiredDuringSchedulingIgnoredDuringExecution"] = [
                self.pod_term() for _ in range(self.pick(1, 1, 2))
            ]
        if self.chance(0.6):
            found["preferredDuringSchedulingIgnoredDuringExecution"] = [
                {"weight": self.random.randint(1, 100), "podAffinityTerm": self.pod_term()}
                for _ in range(self.pick(1, 2))
            ]
        return found

    def pod_term(self) -> Object:
        found: Object = {"topologyKey": self.pick(HOST, ZONE, "rack")}
        if self.chance(0.95):
            found["labelSelector"] = self.selector()
        if self.chance(0.2):
            found["namespaces"] = self.random.sample(list(NAMESPACES), self.pick(1, 2))
        if self.chance(0.25):
            found["namespaceSelector"] = self.pick(
                {}, {"matchLabels": {"team": "red"}}, self.namespace_selector()
            )
        if self.chance(0.1):
            found[self.pick("matchLabelKeys", "mismatchLabelKeys")] = ["hash"]
        return found

    def namespace_selector(self) -> Object:
        return {"matchExpressions": [{"key": "team", "operator": self.pick("Exists", "DoesNotExist")}]}

    def selector(self) -> Object:
        if self.chance(0.5):
            return {"matchLabels": self.labels(self.pick("app", "tier"))}
        if self.chance(0.08):
            return {}
        operator = self.pick("In", "NotIn", "Exists", "DoesNotExist")
        expression: Object = {"key": self.pick("app", "tier"), "operator": operator}
        if operator in ("In", "NotIn"):
            expression["values"] = self.random.sample(["a", "b", "x", "y"], 2)
        return {"matchExpressions": [expression]}

    def constraint(self) -> Object:
        found: Object = {
            "maxSkew": self.pick(1, 1, 2, 5),
            "topologyKey": self.pick(ZONE, ZONE, HOST, "rack"),
            "whenUnsatisfiable": self.pick("DoNotSchedule", "ScheduleAnyway"),
        }
        if self.chance(0.93):
            found["labelSelector"] = self.selector()
        if self.chance(0.25) and found["whenUnsatisfiable"] == "DoNotSchedule":
            found["minDomains"] = self.pick(1, 2, 4)
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if self.chance(0.3):
                found[policy] = self.pick("Honor", "Ignore")
        if self.chance(0.25):
            found["matchLabelKeys"] = self.random.sample(["hash", "missing"], self.pick(1, 2))
        return found

    # What the pod belongs to

    def owners(self, case: Object) -> None:
        pod = case["pod"]
        namespace, labels = pod["metadata"]["namespace"], pod["metadata"]["labels"]
        some = dict(self.random.sample(sorted(labels.items()), min(1, len(labels))))
        if self.chance(0.7):
            case["services"] = [
                {
                    "metadata": {"name": f"s{i}", "namespace": self.pick(namespace, "third")},
                    "spec": {"selector": wanted},
                }
                for i, wanted in enumerate([some, self.labels("app"), self.labels("tier"), None])
            ]
        name, kind, version = self.pick(
            ("replicaSets", "ReplicaSet", "apps/v1"),
            ("statefulSets", "StatefulSet", "apps/v1"),
            ("replicationControllers", "ReplicationController", "v1"),
        )
        if self.chance(0.5):
            meta = {"name": "owner", "namespace": namespace}
            selector = some if name == "replicationControllers" else {"matchLabels": some}
            if name != "replicationControllers" and self.chance(0.3):
                selector = self.selector()
            case[name] = [{"metadata": meta, "spec": {"selector": selector}}]
            ref = {"apiVersion": version, "kind": kind, "name": "owner", "uid": "o", "controller": True}
            pod["metadata"]["ownerReferences"] = [ref]

    # Configurations

    def config(self) -> Object:
        arguments = [
            {
                "name": name,
                "args": {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": f"{name}Args", **args},
            }
            for name, args in (
                ("NodeResourcesFit", self.fit_arguments()),
                ("NodeResourcesBalancedAllocation", {"resources": self.weighed(equal=True)}),
                ("InterPodAffinity", self.affinity_arguments()),
                ("PodTopologySpread", self.spread_arguments()),
                ("NodeAffinity", {"addedAffinity": self.node_affinity()} if self.chance(0.5) else {}),
            )
            if self.chance(0.5)
        ]
        profile: Object = {"schedulerName": "default-scheduler", "pluginConfig": arguments}
        if self.chance(0.4):
            profile["plugins"] = self.plugins()
        return {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "profiles": [profile],
        }

    def plugins(self) -> Object:
        if self.chance(0.5):
            score = {
                "enabled": [
                    {"name": self.pick("ImageLocality", "NodeResourcesFit"), "weight": self.pick(1, 5)}
                ]
            }
            return {"score": score}
        name = self.pick("NodeAffinity", "TaintToleration", "PodTopologySpread", "NodePorts")
        return {self.pick("multiPoint", "filter"): {"disabled": [{"name": name}]}}

    def weighed(self, *, equal: bool = False) -> list[Object]:
        names = self.random.sample(["cpu", "memory", "ephemeral-storage", GPU], self.pick(1, 2, 3))
        return [{"name": name, "weight": 1 if equal else self.pick(1, 3, 10)} for name in names]

    def fit_arguments(self) -> Object:
        kind = self.pick("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
        strategy: Object = {"type": kind, "resources": self.weighed()}
        if kind == "RequestedToCapacityRatio":
            steps = sorted(self.random.sample(range(101), self.pick(1, 2, 3)))
            shape = [{"utilization": x, "score": self.random.randint(0, 10)} for x in steps]
            strategy["requestedToCapacityRatio"] = {"shape": shape}
        found: Object = {"scoringStrategy": strategy}
        if self.chance(0.4):
            found["ignoredResources"] = [GPU]
        if self.chance(0.4):
            found["ignoredResourceGroups"] = ["fpga.example.org"]
        return found

    def affinity_arguments(self) -> Object:
        return {
            "hardPodAffinityWeight": self.pick(0, 1, 50),
            "ignorePreferredTermsOfExistingPods": self.chance(0.4),
        }

    def spread_arguments(self) -> Object:
        if self.chance(0.3):
            return {"defaultingType": "System"}
        keys = self.random.sample([HOST, ZONE, "rack"], self.pick(1, 2))
        constraints = [
            {
                "maxSkew": self.pick(1, 2),
                "topologyKey": k,
                "whenUnsatisfiable": self.pick("DoNotSchedule", "ScheduleAnyway"),
            }
            for k in keys
        ]
        return {"defaultingType": "List", "defaultConstraints": constraints}


def case(seed: int, topic: str = "") -> Object:
    """The case of a seed."""
    make = Maker(seed, topic)
    nodes = [make.node(f"n{i}") for i in range(make.random.randint(1, 12))]
    names = [node["metadata"]["name"] for node in nodes]
    found: Object = {
        "id": f"{make.topic}-{seed}",
        "nodes": nodes,
        "pods": [make.pod(f"e{i}", make.pick(*names)) for i in range(make.random.randint(0, 25))],
        "namespaces": [
            {"metadata": {"name": "default", "labels": {"team": "red"}}},
            {"metadata": {"name": "other", "labels": {"team": "blue"}}},
            {"metadata": {"name": "third", "labels": {}}},
            {"metadata": {"name": "unlabelled"}},
        ],
        "pod": make.incoming(names),
    }
    if make.likely("defaults"):
        make.owners(found)
    if make.likely("plain", then=0.1, other=0.4):
        found["config"] = make.config()
    if make.chance(0.1):
        found["nominated"] = [make.pod(f"w{i}") for i in range(2)]
        for pod in found["nominated"]:
            pod.setdefault("status", {})["nominatedNodeName"] = make.pick(*names)
    if make.topic == "volumes":
        add_volumes(make, found)
    if make.topic == "preemption":
        add_preemption(make, found)
    if make.topic == "devices":
        add_devices(make, found)
    return found


def main() -> None:
    first, count = int(sys.argv[1]), int(sys.argv[2])
    topic = sys.argv[3] if len(sys.argv) > 3 else ""
    for seed in range(first, first + count):
        print(json.dumps(case(seed, topic), separators=(",", ":")))


if __name__ == "__main__":
    main()
