"""Where pods go, and in which words they are told that they cannot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.simulation import node

from sampan.machinery.objects import Key, Object
from sampan.scheduler.place import Binding, Failure, place
from sampan.scheduler.simple_snapshot import Snapshot

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def cluster(*nodes: Object) -> Snapshot:
    snapshot = Snapshot()
    for one in nodes:
        snapshot.set_node(one)
    return snapshot


def pod(name: str, cpu: str = "", labels: dict[str, str] | None = None, **spec: Any) -> Object:
    requests = {"resources": {"requests": {"cpu": cpu}}} if cpu else {}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels or {}},
        "spec": {"containers": [{"name": "c", **requests}], **spec},
    }


def outcome(snapshot: Snapshot, *pods: Object) -> list[str]:
    """For each pod its node, or why there is none."""
    return [o.node if isinstance(o, Binding) else o.message for o in place(snapshot, pods)]


def test_the_emptier_node_is_taken() -> None:
    snapshot = cluster(node("n1", cpu="4"), node("n2", cpu="4"))
    assert outcome(snapshot, pod("a", "2"), pod("b", "1"), pod("c", "1")) == ["n1", "n2", "n2"]


def test_higher_priority_comes_first() -> None:
    snapshot = cluster(node("n1", cpu="1"))
    low, high = pod("low", "1"), pod("urgent", "1", priority=1000)
    found = {o.pod["metadata"]["name"]: o for o in place(snapshot, [low, high])}
    assert isinstance(found["urgent"], Binding)
    assert isinstance(found["low"], Failure)


def test_every_node_says_why_not() -> None:
    full = node("n1", cpu="1", memory="1Gi")
    tainted = node("n2")
    tainted["spec"] = {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}
    cordoned = node("n3")
    cordoned["spec"] = {"unschedulable": True}
    crowded = node("n4", pods="0")
    wrong = pod("a", "2")
    assert outcome(cluster(full, tainted, cordoned, crowded), wrong) == [
        "0/4 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) had untolerated taint {gpu: yes}, "
        "1 node(s) were unschedulable."
    ]


def test_no_nodes() -> None:
    assert outcome(cluster(), pod("a")) == ["no nodes available to schedule pods"]


def test_tolerations_let_a_pod_on_a_tainted_node() -> None:
    tainted = node("n1")
    tainted["spec"] = {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}
    bears = [{"key": "gpu", "operator": "Exists"}]
    assert outcome(cluster(tainted), pod("a", tolerations=bears)) == ["n1"]


def test_node_selector_and_affinity() -> None:
    snapshot = cluster(node("n1", disk="ssd"), node("n2", disk="hdd"))
    terms = [{"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["ssd"]}]}]
    away = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}
    nowhere = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    assert outcome(snapshot, pod("a", nodeSelector={"disk": "ssd"})) == ["n1"]
    assert outcome(snapshot, pod("b", affinity=away)) == ["n2"]
    assert outcome(snapshot, pod("c", nodeSelector={"disk": "tape"})) == [nowhere]


def test_a_preferred_node_is_taken_though_it_is_fuller() -> None:
    snapshot = cluster(node("n1", cpu="4", disk="ssd"), node("n2", cpu="4"))
    place(snapshot, [pod("load", "1", nodeSelector={"disk": "ssd"})])
    preference = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    likes = {"nodeAffinity": {PREFERRED: [{"weight": 100, "preference": preference}]}}
    assert outcome(snapshot, pod("a", affinity=likes)) == ["n1"]


def test_host_ports_do_not_clash() -> None:
    def on(name: str, ip: str, protocol: str = "TCP") -> Object:
        port = {"containerPort": 80, "hostPort": 80, "hostIP": ip, "protocol": protocol}
        made = pod(name)
        made["spec"]["containers"][0]["ports"] = [port]
        return made

    snapshot = cluster(node("n1"))
    taken = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    assert outcome(snapshot, on("a", "10.0.0.1"), on("b", "10.0.0.2"), on("c", "", "UDP")) == ["n1"] * 3
    assert outcome(snapshot, on("d", "")) == [taken]


def test_pods_spread_over_zones() -> None:
    nodes = [node(f"n{i}", **{"topology.kubernetes.io__zone": f"z{i % 2}"}) for i in range(3)]
    rule = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    snapshot = cluster(*nodes)
    made = [pod(f"p{i}", labels={"app": "web"}, topologySpreadConstraints=[rule]) for i in range(4)]
    zones = [snapshot.nodes[name].labels[ZONE] for name in outcome(snapshot, *made)]
    assert sorted(zones) == ["z0", "z0", "z1", "z1"]
    unlabelled = cluster(node("n1"))
    assert outcome(unlabelled, made[0]) == [
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)."
    ]


def test_affinity_between_pods() -> None:
    def term(app: str) -> Object:
        return {"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": app}}}

    snapshot = cluster(node("n1"), node("n2"))
    apart = {"podAntiAffinity": {REQUIRED: [term("db")]}}
    near = {"podAffinity": {REQUIRED: [term("db")]}}
    first, second, third = (pod(f"db{i}", labels={"app": "db"}, affinity=apart) for i in range(3))
    assert sorted(outcome(snapshot, first, second)) == ["n1", "n2"]
    assert outcome(snapshot, third) == [
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."
    ]
    # What others refuse counts too, though the pod itself asks for nothing.
    assert outcome(snapshot, pod("plain", labels={"app": "db"})) == [
        "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules."
    ]
    snapshot.remove_pod(second)
    where = snapshot.node_of("db0")
    assert where
    assert outcome(snapshot, pod("cache", affinity=near)) == [where.name]


def test_the_first_of_a_group_that_wants_to_be_together_may_go_anywhere() -> None:
    term = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"app": "web"}}}
    together = {"podAffinity": {REQUIRED: [term]}}
    snapshot = cluster(node("n1"), node("n2"))
    made = [pod(f"p{i}", labels={"app": "web"}, affinity=together) for i in range(3)]
    assert len(set(outcome(snapshot, *made))) == 1
    alone = pod("other", affinity=together)
    assert outcome(cluster(node("n1")), alone) == [
        "0/1 nodes are available: 1 node(s) didn't match pod affinity rules."
    ]


class TestVolumes:
    """Claims that are bound tie a pod to a node; those that wait for their first consumer follow it."""

    def snapshot(self) -> Snapshot:
        snapshot = cluster(node("n1"), node("n2"))
        wait = {"provisioner": "sampan.io/local-path", "volumeBindingMode": "WaitForFirstConsumer"}
        snapshot.volumes.classes["local-path"] = wait
        snapshot.volumes.classes["at-once"] = {"provisioner": "x", "volumeBindingMode": "Immediate"}
        return snapshot

    def claim(self, snapshot: Snapshot, storage_class: str, volume: str = "") -> Object:
        spec = {"storageClassName": storage_class, "volumeName": volume}
        made = {"metadata": {"name": "data", "namespace": "default"}, "spec": spec}
        snapshot.volumes.claims[Key("default", "data")] = made
        return made

    @property
    def pod(self) -> Object:
        return pod("db", volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}])

    def test_a_waiting_claim_comes_with_the_binding(self) -> None:
        snapshot = self.snapshot()
        claim = self.claim(snapshot, "local-path")
        (found,) = place(snapshot, [self.pod])
        assert isinstance(found, Binding)
        assert found.claims == (claim,)

    def test_a_bound_volume_is_only_on_its_node(self) -> None:
        snapshot = self.snapshot()
        self.claim(snapshot, "local-path", "pv")
        terms = [{"matchExpressions": [{"key": HOST, "operator": "In", "values": ["n2"]}]}]
        snapshot.volumes.volumes["pv"] = {
            "metadata": {"name": "pv"},
            "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}},
        }
        assert outcome(snapshot, self.pod) == ["n2"]
        snapshot.remove_node("n2")
        snapshot.remove_pod(self.pod)
        assert outcome(snapshot, self.pod) == [
            "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity."
        ]

    @pytest.mark.parametrize(
        ("storage_class", "said"),
        [
            ("at-once", "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
            ("", 'persistentvolumeclaim "data" not found.'),
        ],
    )
    def test_what_no_node_can_help(self, storage_class: str, said: str) -> None:
        snapshot = self.snapshot()
        if storage_class:
            self.claim(snapshot, storage_class)
        assert outcome(snapshot, self.pod)[0].endswith(said)


requests = st.integers(1, 3000).map(lambda milli: f"{milli}m")


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.lists(requests, max_size=20), st.data())
def test_no_node_is_ever_overcommitted(sizes: list[int], wanted: list[str], data: st.DataObject) -> None:
    """However pods come and go, what a node has given never exceeds what it has, and counts are exact."""
    snapshot = cluster(*(node(f"n{i}", cpu=str(size)) for i, size in enumerate(sizes)))
    placed: list[Object] = []
    for i, cpu in enumerate(wanted):
        remove: bool = data.draw(st.booleans()) if placed else False
        if remove:
            assert snapshot.remove_pod(placed.pop(data.draw(st.integers(0, len(placed) - 1))))
        found = place(snapshot, [pod(f"p{i}", cpu)])
        placed += [o.pod for o in found if isinstance(o, Binding)]
    for one in snapshot.nodes.values():
        assert one.taken.get("cpu", 0) <= one.allocatable["cpu"]
        cpus = [p["spec"]["containers"][0]["resources"]["requests"]["cpu"] for p in one.pods.values()]
        assert one.taken.get("cpu", 0) == sum(int(cpu[:-1]) for cpu in cpus)


def test_pods_of_a_node_that_is_not_known_yet_count_when_it_comes() -> None:
    snapshot = Snapshot()
    bound = pod("a", "3", nodeName="n1")
    snapshot.add_pod(bound)
    snapshot.set_node(node("n1", cpu="4"))
    assert snapshot.nodes["n1"].taken["cpu"] == 3000
    snapshot.remove_node("n1")
    snapshot.set_node(node("n1", cpu="4"))
    assert outcome(snapshot, pod("b", "2")) == ["0/1 nodes are available: 1 Insufficient cpu."]
