"""One pod's cycle in single steps: a part of the nodes, the nominated node first, and what is reserved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sampan.machinery.objects import Object
from sampan.scheduler import cycle
from sampan.scheduler.decide import decide
from sampan.scheduler.plugins import default_profile
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot

PROFILE = default_profile()


def node(number: int, cpu: str = "4") -> Object:
    name = f"n{number:03}"
    meta = {"name": name, "labels": {"kubernetes.io/hostname": name}}
    return {"metadata": meta, "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}}


def pod(name: str, cpu: str = "1", nominated: str = "", priority: int = 0) -> PodInfo:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    meta = {"name": name, "namespace": "default", "uid": name}
    spec = {"containers": [container], "priority": priority}
    return PodInfo({"metadata": meta, "spec": spec, "status": {"nominatedNodeName": nominated}})


def cluster(nodes: int, cpu: str = "4") -> Snapshot:
    made = Snapshot()
    for number in range(nodes):
        made.set_node(node(number, cpu))
    return made


@pytest.mark.parametrize(
    ("nodes", "percentage", "enough"),
    [(50, 10, 50), (200, None, 200), (200, 0, 200), (500, 10, 100), (5000, 10, 500), (5000, 100, 5000)],
)
def test_how_many_feasible_nodes_are_enough(nodes: int, percentage: int | None, enough: int) -> None:
    assert cycle.enough(nodes, percentage) == enough


async def test_a_part_of_the_nodes_from_where_the_last_pod_ended() -> None:
    snapshot = cluster(300)
    profile = replace(PROFILE, percentage_of_nodes_to_score=10)
    first = await cycle.choose(profile, snapshot, pod("a"))
    second = await cycle.choose(profile, snapshot, pod("b"), start=150)
    assert [len(d.scores) for d in (first, second)] == [100, 100]
    assert {s.node for s in first.scores}.isdisjoint(s.node for s in second.scores)


async def test_all_nodes_in_steps_are_what_decide_says() -> None:
    snapshot = cluster(20)
    for number in range(10):
        snapshot.add_pod(pod(f"p{number}", "2"), f"n{number:03}")
    stepped, decided = await cycle.choose(PROFILE, snapshot, pod("x")), decide(PROFILE, snapshot, pod("x"))
    assert stepped.node == decided.node
    assert sorted((s.node, s.total) for s in stepped.scores) == sorted(
        (s.node, s.total) for s in decided.scores
    )


async def test_the_nominated_node_is_taken_where_it_still_fits() -> None:
    snapshot = cluster(3)
    snapshot.add_pod(pod("busy", "3"), "n001")
    assert (await cycle.choose(PROFILE, snapshot, pod("x", "1", nominated="n001"))).node == "n001"
    assert (await cycle.choose(PROFILE, snapshot, pod("x", "2", nominated="n001"))).node != "n001"


async def test_a_place_that_is_kept_for_another_counts_as_taken() -> None:
    snapshot = cluster(1)
    snapshot.nominate(pod("important", "4", priority=10), "n000")
    refused = await cycle.choose(PROFILE, snapshot, pod("lesser", "1"))
    assert refused.message() == "0/1 nodes are available: 1 Insufficient cpu."
    assert (await cycle.choose(PROFILE, snapshot, pod("greater", "1", priority=20))).node == "n000"
