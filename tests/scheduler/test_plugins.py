"""What each default plugin decides, by small examples. That every word and point is upstream's: test_oracle.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tests.scheduler.objects import node, pod

from sampan.machinery.objects import Object
from sampan.scheduler.decide import Cycle, Decision, decide
from sampan.scheduler.evaluate import snapshot_of
from sampan.scheduler.framework import Plugin, Status, unschedulable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins import REGISTRY, default_profile
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile, multi_point
from sampan.scheduler.snapshot import Snapshot

ZONE = "topology.kubernetes.io/zone"


def cluster(nodes: Iterable[Object], pods: Iterable[Object] = (), **more: Any) -> Snapshot:
    return snapshot_of({"nodes": list(nodes), "pods": list(pods), **more})


def placed(wanted: Object, nodes: Iterable[Object], pods: Iterable[Object] = (), **more: Any) -> Decision:
    return decide(default_profile(), cluster(nodes, pods, **more), PodInfo(wanted))


def reasons(decision: Decision) -> dict[str, str]:
    """Why not, by node."""
    return {name: status.message for name, status in sorted(decision.statuses.items())}


def scores(plugin: str, decision: Decision) -> dict[str, int]:
    """A plugin's scores before weights, by node."""
    weight = default_profile().weights[plugin]
    return {s.node: s.scores[plugin] // weight for s in sorted(decision.scores, key=lambda s: s.node)}


def zones(*names: str) -> list[Object]:
    """A node in each zone."""
    return [node(f"n{i}", labels={ZONE: name}) for i, name in enumerate(names)]


def affinity(kind: str, app: str, key: str = "kubernetes.io/hostname") -> Object:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def labelled(name: str, on: str = "", app: str = "web", **spec: Any) -> Object:
    return pod(name, on, meta={"labels": {"app": app}}, **spec)


def test_a_pod_that_names_its_node_goes_there_only() -> None:
    decision = placed(pod("p", nodeName="b"), [node("a"), node("b")])
    assert decision.node == "b"
    # Not looked at: the plugin named the only node before.
    assert not decision.statuses


def test_a_cordoned_node_takes_who_tolerates_that() -> None:
    nodes = [node("a", unschedulable=True)]
    assert reasons(placed(pod("p"), nodes)) == {"a": "node(s) were unschedulable"}
    tolerant = pod("p", tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}])
    assert placed(tolerant, nodes).node == "a"


def test_taints_keep_away_and_soft_taints_ask_to() -> None:
    nodes = [node("a", taints=["db=1:NoSchedule"]), node("b", taints=["old=1:PreferNoSchedule"]), node("c")]
    decision = placed(pod("p"), nodes)
    assert reasons(decision) == {"a": "node(s) had untolerated taint(s)"}
    assert scores("TaintToleration", decision) == {"b": 0, "c": 100}


def test_node_affinity_requires_and_prefers() -> None:
    labels = {"a": {"disk": "ssd"}, "b": {"disk": "hdd"}, "c": {"disk": "hdd", "gen": "7"}}
    nodes = [node(name, labels=own) for name, own in labels.items()]
    newer = {"matchExpressions": [{"key": "gen", "operator": "Gt", "values": ["5"]}]}
    preferred = [{"weight": 50, "preference": newer}]
    wanted = pod(
        "p",
        nodeSelector={"disk": "hdd"},
        affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}},
    )
    decision = placed(wanted, nodes)
    assert reasons(decision) == {"a": "node(s) didn't match Pod's node affinity/selector"}
    assert scores("NodeAffinity", decision) == {"b": 0, "c": 100}


def test_a_term_with_a_fault_matches_nothing() -> None:
    """A label's value cannot begin with a dash, so the requirement cannot be met."""
    older = {"matchExpressions": [{"key": "gen", "operator": "Gt", "values": ["-1"]}]}
    required = {"nodeSelectorTerms": [older]}
    wanted = pod("p", affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}})
    assert not placed(wanted, [node("a", labels={"gen": "3"})]).node


def test_host_ports_are_taken_once_per_address() -> None:
    web = {"containerPort": 80, "hostPort": 80, "protocol": "TCP"}
    running = pod("r", "a", ports=[{**web, "hostIP": "10.0.0.1"}])
    full = "node(s) didn't have free ports for the requested pod ports"
    assert reasons(placed(pod("p", ports=[web]), [node("a")], [running])) == {"a": full}
    assert placed(pod("p", ports=[{**web, "hostIP": "10.0.0.2"}]), [node("a")], [running]).node == "a"
    assert placed(pod("p", ports=[{**web, "protocol": "UDP"}]), [node("a")], [running]).node == "a"


def test_all_that_is_missing_is_named() -> None:
    full = node("a", pods=1, memory="2Gi")
    decision = placed(pod("p", cpu="8", memory="1Gi"), [full], [pod("r", "a", memory="1536Mi")])
    assert reasons(decision) == {"a": "Too many pods, Insufficient cpu, Insufficient memory"}
    assert (
        decision.message()
        == "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Too many pods."
    )


def test_the_emptier_node_is_better_and_the_more_even_one() -> None:
    nodes = [node("a"), node("b")]
    decision = placed(pod("p", cpu="1", memory="2Gi"), nodes, [pod("r", "b", cpu="2", memory="1Gi")])
    assert scores("NodeResourcesFit", decision) == {"a": 75, "b": 43}
    assert scores("NodeResourcesBalancedAllocation", decision) == {"a": 75, "b": 75}


def spread(action: str, key: str = ZONE, **more: Any) -> Object:
    selector = {"matchLabels": {"app": "web"}}
    return {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": action, "labelSelector": selector, **more}


def test_spread_keeps_a_pod_out_of_the_fullest_zone() -> None:
    nodes, running = zones("z0", "z0", "z1"), [labelled("r0", "n0"), labelled("r1", "n1")]
    decision = placed(labelled("p", topologySpreadConstraints=[spread("DoNotSchedule")]), nodes, running)
    assert reasons(decision) == dict.fromkeys(
        ("n0", "n1"), "node(s) didn't match pod topology spread constraints"
    )
    assert decision.node == "n2"


def test_too_few_domains_count_as_an_empty_one() -> None:
    nodes, running = zones("z0", "z1"), [labelled("r0", "n0"), labelled("r1", "n1")]
    wanted = labelled("p", topologySpreadConstraints=[spread("DoNotSchedule", minDomains=3)])
    assert not placed(wanted, nodes, running).node
    assert placed(wanted, [*nodes, *zones("", "", "z2")[2:]], running).node == "n2"


def test_spread_without_the_label_is_impossible() -> None:
    decision = placed(labelled("p", topologySpreadConstraints=[spread("DoNotSchedule")]), [node("a")])
    text = "node(s) didn't match pod topology spread constraints (missing required label)"
    assert reasons(decision) == {"a": text}


def test_pods_of_a_service_spread_without_being_asked() -> None:
    service = {"metadata": {"name": "s", "namespace": "default"}, "spec": {"selector": {"app": "web"}}}
    decision = placed(labelled("p"), zones("z0", "z1"), [labelled("r", "n0")], services=[service])
    assert scores("PodTopologySpread", decision)["n1"] > scores("PodTopologySpread", decision)["n0"]


def test_affinity_and_anti_affinity_by_domain() -> None:
    nodes, running = zones("z0", "z0", "z1"), [labelled("r", "n0", app="db")]
    near = placed(labelled("p", affinity=affinity("podAffinity", "db", ZONE)), nodes, running)
    assert reasons(near) == {"n2": "node(s) didn't match pod affinity rules"}
    away = placed(labelled("p", affinity=affinity("podAntiAffinity", "db", ZONE)), nodes, running)
    assert reasons(away) == dict.fromkeys(("n0", "n1"), "node(s) didn't match pod anti-affinity rules")


def test_the_first_of_a_group_may_start_anywhere() -> None:
    """It wants to be near its own kind, of which there is none yet."""
    wanted = labelled("p", affinity=affinity("podAffinity", "web", ZONE))
    assert placed(wanted, zones("z0", "z1")).node == "n0"


def test_who_runs_may_refuse_who_comes() -> None:
    running = [labelled("r", "n0", app="db", affinity=affinity("podAntiAffinity", "web", ZONE))]
    decision = placed(labelled("p"), zones("z0", "z1"), running)
    assert reasons(decision) == {"n0": "node(s) didn't satisfy existing pods anti-affinity rules"}


def test_the_pods_images_are_better_where_they_are() -> None:
    held = node("a")
    held["status"]["images"] = [{"names": ["busybox:latest"], "sizeBytes": 10**9}]
    assert scores("ImageLocality", placed(pod("p"), [held, node("b")])) == {"a": 46, "b": 0}


def test_gates_keep_a_pod_out_of_the_queue() -> None:
    (plugin,) = default_profile().pre_enqueue[:1]
    status = plugin.pre_enqueue(PodInfo(pod("p", schedulingGates=[{"name": "a"}, {"name": "b"}])))
    assert status is not None
    assert status.message == "waiting for scheduling gates: [a b]"


def test_a_nominated_pod_keeps_its_place_from_lesser_ones() -> None:
    snapshot = cluster([node("a", cpu="2")])
    snapshot.nominate(PodInfo(pod("first", cpu="2", priority=10)), "a")
    lesser, greater = PodInfo(pod("lesser", cpu="1")), PodInfo(pod("greater", cpu="1", priority=20))
    assert (
        decide(default_profile(), snapshot, lesser).message()
        == "0/1 nodes are available: 1 Insufficient cpu."
    )
    assert decide(default_profile(), snapshot, greater).node == "a"


class OnlyEven(Plugin):
    """An own plugin: nodes with an even number of pods, and the more the better."""

    name = "OnlyEven"

    def filter(self, state: None, pod: PodInfo, node: NodeInfo) -> Status | None:
        return unschedulable("odd number of pods") if len(node.pods) % 2 else None

    def score(self, state: None, pod: PodInfo, node: NodeInfo) -> int:
        return min(100, len(node.pods))


def test_an_own_plugin_takes_a_few_lines() -> None:
    plugins = [REGISTRY["NodeResourcesFit"]({}, None), OnlyEven()]
    profile = Profile.of("own", multi_point(plugins), {"NodeResourcesFit": 1, "OnlyEven": 50})
    running = [pod("r0", "a"), pod("r1", "b"), pod("r2", "b")]
    decision = decide(profile, cluster([node("a"), node("b"), node("c")], running), PodInfo(pod("p")))
    assert reasons(decision) == {"a": "odd number of pods"}
    assert decision.node == "b"


@pytest.mark.parametrize(
    ("shape", "score"),
    [
        ([(0, 0), (100, 10)], 25),
        ([(0, 10), (100, 0)], 75),
        ([(0, 0), (50, 10), (100, 0)], 50),
        ([(30, 7)], 70),
    ],
)
def test_the_fit_can_be_scored_by_a_shape(shape: list[tuple[int, int]], score: int) -> None:
    points = [{"utilization": x, "score": y} for x, y in shape]
    strategy: Object = {"type": "RequestedToCapacityRatio", "resources": [{"name": "cpu"}]}
    strategy["requestedToCapacityRatio"] = {"shape": points}
    plugin = REGISTRY["NodeResourcesFit"]({"scoringStrategy": strategy}, None)
    cycle = Cycle(
        Profile.of("p", multi_point([plugin]), {}), cluster([node("a")]), PodInfo(pod("p", cpu="1"))
    )
    (found,) = cycle.score(list(cycle.snapshot.nodes.values()))
    assert found.total == score
