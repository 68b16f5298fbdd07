"""Explanations: every verdict and score of every node, as the scheduler decides, and nothing is changed by asking."""

from __future__ import annotations

import json

from sampan.machinery.objects import Key
from sampan.scheduler import cluster, plugins
from sampan.scheduler.cluster import ClusterState
from sampan.scheduler.decide import decide
from sampan.scheduler.explain import Explanation, explain, unbound
from sampan.scheduler.explain_text import as_json, rows, sentences

from .objects import anti_affinity, node, pod, spread

PROFILE = plugins.default_profile()


def asked(state: ClusterState, name: str) -> Explanation:
    found = state.pod(Key("default", name))
    assert found
    return explain(PROFILE, state.snapshot, found)


CLUSTER = [
    node("a", cpu="2", labels={"zone": "x"}),
    node("b", taints=["gpu=yes:NoSchedule"], labels={"zone": "y"}),
    node("c", cpu="8", labels={"zone": "y"}),
    pod("first", on="a", cpu="1500m"),
]


def test_every_filter_is_asked_not_only_the_first_that_refuses() -> None:
    state = cluster.of([*CLUSTER, pod("web", cpu="6", nodeSelector={"zone": "x"})])
    found = {n.node: list(n.refusals) for n in asked(state, "web").nodes}
    assert found == {
        "a": ["NodeResourcesFit"],
        "b": ["TaintToleration", "NodeAffinity", "NodeResourcesFit"],
        "c": ["NodeAffinity"],
    }


def test_the_message_is_the_schedulers() -> None:
    state = cluster.of([*CLUSTER, pod("web", cpu="6", nodeSelector={"zone": "x"})])
    found = asked(state, "web")
    waiting = state.waiting[Key("default", "web")]
    assert found.message().startswith(decide(PROFILE, state.snapshot, waiting).message())
    assert "1 node(s) had untolerated taint(s)" in found.message()


def test_scores_are_those_of_the_decision() -> None:
    state = cluster.of([*CLUSTER, pod("web", cpu="500m", memory="1Gi")])
    found = asked(state, "web")
    decision = decide(PROFILE, state.snapshot, state.waiting[Key("default", "web")])
    assert {n.node: n.score for n in found.nodes if n.score} == {s.node: s for s in decision.scores}
    assert found.best == decision.best
    assert set(found.scores) == set(decision.scores[0].scores)


def test_a_placed_pod_is_looked_at_as_if_it_were_not_there() -> None:
    state = cluster.of([node("a", cpu="2"), node("b", cpu="8"), pod("web", on="a", cpu="2")])
    before = state.snapshot.nodes["a"].requested
    found = asked(state, "web")
    assert found.at == "a"
    assert found.feasible == ["a", "b"]
    assert found.best == ["b"]
    assert "today b would be chosen" in sentences(found)[0]
    assert state.snapshot.nodes["a"].requested == before
    assert [p.name for p in state.snapshot.nodes["a"].pods.values()] == ["web"]


def test_a_placed_pod_that_would_not_be_placed_there_today() -> None:
    state = cluster.of([node("a", taints=["gpu=yes:NoSchedule"]), node("b"), pod("web", on="a")])
    told = sentences(asked(state, "web"))[0]
    assert told.startswith("It is on a, where it would not be placed today: TaintToleration")


def test_one_refused_by_its_peers() -> None:
    labels = {"labels": {"app": "web"}}
    others = [pod("w1", on="a", meta=labels), pod("w2", on="c", meta=labels)]
    state = cluster.of([*CLUSTER, *others, pod("w3", meta=labels, affinity=anti_affinity("web"))])
    found = {n.node: list(n.refusals) for n in asked(state, "w3").nodes}
    assert found == {"a": ["InterPodAffinity"], "b": ["TaintToleration"], "c": ["InterPodAffinity"]}
    even = pod(
        "w4",
        meta=labels,
        topologySpreadConstraints=spread("web", "zone"),
        tolerations=[{"operator": "Exists"}],
    )
    state = cluster.of([*CLUSTER[:3], pod("w1", on="a", meta=labels), even])
    assert asked(state, "w4").feasible == ["b", "c"]


def test_a_pod_that_nobody_tries() -> None:
    gated = pod("gated", schedulingGates=[{"name": "example.com/quota"}])
    other = pod("other", schedulerName="mine")
    ganged = pod("ganged", schedulingGroup={"podGroupName": "train"})
    state = cluster.of([*CLUSTER, gated, other, ganged])
    assert "example.com/quota" in sentences(asked(state, "gated"))[0]
    assert "scheduler 'mine'" in sentences(asked(state, "other"))[0]
    assert "PodGroup 'train' does not exist" in sentences(asked(state, "ganged"))[0]


def test_no_nodes() -> None:
    assert sentences(asked(cluster.of([pod("web")]), "web")) == ["no nodes available to schedule pods"]


def test_the_table_and_the_json() -> None:
    found = asked(cluster.of([*CLUSTER, pod("web")]), "web")
    listed = rows(found)
    assert listed[0][:2] == ("NODE", "TOTAL")
    assert [row[0] for row in listed[1:]][-1] == "b"
    told = as_json(found)
    assert json.loads(json.dumps(told)) == told
    by_node = {n["node"]: n for n in told["nodes"]}
    assert by_node["b"]["refusals"] == [
        {
            "plugin": "TaintToleration",
            "code": "UnschedulableAndUnresolvable",
            "reasons": ["node(s) had untolerated taint(s)"],
        }
    ]
    assert by_node["c"]["total"] == sum(by_node["c"]["scores"].values())


def test_unbound_is_the_pod_before_it_had_a_node() -> None:
    placed = cluster.pods_of([pod("web", on="a")])[0]
    assert unbound(placed).node == ""
    assert placed.node == "a"


def test_what_making_room_would_come_to() -> None:
    low = pod("low", on="a", cpu="4")
    state = cluster.of(
        [node("a"), node("b", labels={"zone": "x"}, cpu="1"), low, pod("web", cpu="3", priority=5)]
    )
    assert asked(state, "web").message() == (
        "0/2 nodes are available: 2 Insufficient cpu. "
        "preemption: found a potential placement for pod on node a, preempting 1 victims"
    )
    state = cluster.of([node("a"), low, pod("web", cpu="3")])
    assert asked(state, "web").message() == (
        "0/1 nodes are available: 1 Insufficient cpu. "
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    state = cluster.of([node("a"), pod("web", cpu="3", nodeSelector={"zone": "x"}, preemptionPolicy="Never")])
    assert asked(state, "web").message().endswith("preemption: not eligible due to preemptionPolicy=Never.")
