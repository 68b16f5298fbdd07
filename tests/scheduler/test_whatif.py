"""What if: replays, comparisons of configurations, and how many nodes of which shape; the state stays as it was."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.objects import Object
from sampan.scheduler import cluster, configuration, plugins, whatif
from sampan.scheduler.cluster import ClusterState
from sampan.scheduler.configuration import build
from sampan.scheduler.simulate import Simulation

from .objects import node, pod

DEFAULT = {"default-scheduler": plugins.default_profile()}
PACKING = b"""
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}, {name: memory, weight: 1}]}}
"""


def packing() -> Any:
    return build.profiles(configuration.load(PACKING))


def contents(state: ClusterState) -> dict[str, list[str]]:
    return {name: sorted(p.name for p in n.pods.values()) for name, n in state.snapshot.nodes.items()}


def test_waiting_pods_are_replayed() -> None:
    state = cluster.of([node("a"), node("b"), pod("x", cpu="3"), pod("y", cpu="3"), pod("z", cpu="3")])
    found = whatif.replay(DEFAULT, state, state.waiting.values())
    assert len(found.placement.nodes) == 2
    assert list(found.placement.failed.values()) == ["0/2 nodes are available: 2 Insufficient cpu."]
    assert (found.in_use, found.nodes) == (2, 2)
    assert found.fill["cpu"].percent == 75
    assert contents(state) == {"a": [], "b": []}


def test_everything_anew_with_two_configurations() -> None:
    placed = [pod(f"p{i}", on="abcd"[i], cpu="1", memory="1Gi") for i in range(4)]
    daemon = pod(
        "d",
        on="a",
        meta={"ownerReferences": [{"kind": "DaemonSet", "name": "d", "uid": "d", "controller": True}]},
    )
    state = cluster.of([*(node(n) for n in "abcd"), *placed, daemon])
    again = whatif.movable(state)
    assert {p.name for p in again} == {"p0", "p1", "p2", "p3"}
    even = whatif.replay(DEFAULT, state, [], again)
    packed = whatif.replay(packing(), state, [], again)
    assert (even.in_use, packed.in_use) == (4, 1)
    assert len(whatif.differences(even, packed)) == 3
    assert contents(state) == {"a": ["d", "p0"], "b": ["p1"], "c": ["p2"], "d": ["p3"]}


def test_manifests_stand_for_their_pods() -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    deployment: Object = {
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 3, "template": template},
    }
    pods = cluster.pods_of(
        [{"kind": "List", "items": [deployment, {**pod("one"), "metadata": {"name": "one"}}]}]
    )
    assert [(p.namespace, p.name) for p in pods] == [
        ("default", "web-0"), ("default", "web-1"), ("default", "web-2"), ("default", "one"),
    ]  # fmt: skip
    assert pods[0].labels == {"app": "web"}


def test_what_writers_leave_out_is_filled_in() -> None:
    limited: Object = {
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    limited["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "2"}}
    assert cluster.pods_of([limited])[0].requests == {"cpu": 2000}
    assert "requests" not in limited["spec"]["containers"][0]["resources"]


def test_how_many_nodes_of_which_shape() -> None:
    pods = [pod(f"p{i}", cpu="3") for i in range(5)] + [pod("big", cpu="7"), pod("huge", cpu="40")]
    state = cluster.of([node("a"), *pods])
    small, large = whatif.shape_of("cpu=4,memory=8Gi"), whatif.shape_of("cpu=8,memory=16Gi")
    found = whatif.needed(DEFAULT, state, state.waiting.values(), [small, large])
    assert found.added == {"4-cpu-8gi": 4, "8-cpu-16gi": 1}
    assert list(found.hopeless) == ["huge"]
    assert contents(state) == {"a": []}


def test_shapes_like_nodes_that_are_there() -> None:
    state = cluster.of(
        [
            node("a", labels={"disk": "ssd"}),
            pod("p", cpu="3"),
            pod("q", cpu="3", nodeSelector={"disk": "ssd"}),
        ]
    )
    shape = whatif.shape_like(state.snapshot, "a")
    assert whatif.needed(DEFAULT, state, state.waiting.values(), [shape]).added == {"like-a": 1}
    with pytest.raises(KeyError):
        whatif.shape_like(state.snapshot, "b")


def test_labels_of_a_shape() -> None:
    state = cluster.of([node("a"), pod("p", nodeSelector={"zone": "west"})])
    plain, labelled = whatif.shape_of("cpu=4,memory=8Gi"), whatif.shape_of("cpu=4,memory=8Gi,zone=west")
    assert list(whatif.needed(DEFAULT, state, state.waiting.values(), [plain]).hopeless) == ["p"]
    assert whatif.needed(DEFAULT, state, state.waiting.values(), [plain, labelled]).added == {"4-cpu-8gi": 1}
    for wrong in ("cpu=4", "cpu", "memory=1Gi,zone=x"):
        with pytest.raises(ValueError, match="cpu"):
            whatif.shape_of(wrong)


def test_gangs_are_simulated_whole() -> None:
    group: Object = {
        "kind": "PodGroup",
        "metadata": {"name": "g", "namespace": "default"},
        "spec": {"schedulingPolicy": {"gang": {"minCount": 3}}},
    }
    members = [pod(f"g{i}", cpu="3", schedulingGroup={"podGroupName": "g"}) for i in range(3)]
    state = cluster.of([group, node("a"), node("b"), *members, pod("x", cpu="3")])
    found = Simulation(DEFAULT, state.snapshot).place(state.waiting.values())
    assert list(found.nodes) == ["x"]
    assert (
        "minCount (3) cannot be satisfied" in found.failed["g0"] or "Insufficient cpu" in found.failed["g0"]
    )
    few = cluster.of([group, node("a"), *members[:2]])
    assert (
        "waiting for minCount pods"
        in Simulation(DEFAULT, few.snapshot).place(few.waiting.values()).failed["g0"]
    )


def test_many_nodes_by_columns() -> None:
    state = cluster.of(
        [*(node(f"n{i:02}") for i in range(60)), *(pod(f"p{i:02}", cpu="3") for i in range(70))]
    )
    found = whatif.replay(DEFAULT, state, state.waiting.values())
    assert (len(found.placement.nodes), found.in_use) == (60, 60)
    shape = whatif.shape_like(state.snapshot, "n00")
    assert whatif.needed(DEFAULT, state, state.waiting.values(), [shape]).added == {"like-n00": 10}
