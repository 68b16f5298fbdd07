"""Batch mode: packings that hold, get better, and respect what the scheduler respects; the solver may be killed."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.host import process as host_process
from sampan.machinery.objects import Key, Object
from sampan.scheduler import cluster, plugins
from sampan.scheduler.batch import greedy, patterns, process
from sampan.scheduler.batch.plan import Plan, Wish, allows, make
from sampan.scheduler.batch.prepare import prepare
from sampan.scheduler.batch.problem import BALANCE, FEWEST_NODES, Packing, Problem, faults, least_nodes
from sampan.scheduler.batch.search import Search
from sampan.scheduler.batch.solve import solve
from sampan.scheduler.cluster import ClusterState

from .objects import anti_affinity, node, pod, spread

PROFILE = plugins.default_profile()


def problem(
    sizes: list[list[int]], counts: list[int], free: list[list[int]], nodes: list[int], **more: Any
) -> Problem:
    room = np.array(free, dtype=np.int64)
    return Problem(
        sizes=np.array(sizes, dtype=np.int64),
        counts=np.array(counts, dtype=np.int64),
        free=room,
        total=room,
        nodes=np.array(nodes, dtype=np.int64),
        used=np.array(more.get("used", [False] * len(nodes)), dtype=np.bool_),
        allowed=np.array(more.get("allowed", [[True] * len(nodes)] * len(counts)), dtype=np.bool_),
        apart={p: np.array(q, dtype=np.int64) for p, q in more.get("apart", {}).items()},
    )


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    many, kinds = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    sizes = draw(st.lists(st.lists(st.integers(0, 6), min_size=2, max_size=2), min_size=many, max_size=many))
    apart: dict[int, list[int]] = {}
    if draw(st.booleans()):
        p, q = draw(st.integers(0, many - 1)), draw(st.integers(0, many - 1))
        apart = {p: [q], q: [p]}
    return problem(
        sizes,
        draw(st.lists(st.integers(1, 4), min_size=many, max_size=many)),
        draw(st.lists(st.lists(st.integers(1, 12), min_size=2, max_size=2), min_size=kinds, max_size=kinds)),
        draw(st.lists(st.integers(0, 4), min_size=kinds, max_size=kinds)),
        used=draw(st.lists(st.booleans(), min_size=kinds, max_size=kinds)),
        allowed=draw(
            st.lists(st.lists(st.booleans(), min_size=kinds, max_size=kinds), min_size=many, max_size=many)
        ),
        apart=apart,
    )


@settings(max_examples=100, deadline=None)
@given(problems())
def test_every_packing_holds(given: Problem) -> None:
    order = np.repeat(np.arange(len(given.counts)), given.counts)
    for packing in (greedy.by_node(given), greedy.by_pod(given), greedy.by_pod(given, order)):
        assert faults(given, packing) == []
    search = Search(given, greedy.by_pod(given))
    for _ in range(20):
        if len(search.bins) > 1:
            search.step()
        assert faults(given, search.packing()) == []
        assert search.cost == search.packing().cost(given)
    assert search.cost <= greedy.by_pod(given).cost(given)


@settings(max_examples=30, deadline=None)
@given(problems(), st.sampled_from([FEWEST_NODES, BALANCE]))
def test_solutions_hold_and_only_get_better(given: Problem, objective: str) -> None:
    found = list(solve(given, objective, 0.02))
    assert all(faults(given, packing) == [] for packing in found)
    if objective == FEWEST_NODES:
        costs = [packing.cost(given) for packing in found]
        assert costs == sorted(costs, reverse=True)
        if costs[-1][0] == 0:
            assert costs[-1][1] >= least_nodes(given)


def cut_up(seed: int, nodes: int, room: int = 20) -> Problem:
    """Full nodes cut into three pods each, at random: as many nodes hold them all, if one finds how."""
    random = np.random.default_rng(seed)
    counts: dict[tuple[int, int], int] = {}
    for _ in range(nodes):
        cuts = [np.sort(random.choice(np.arange(1, room), 2, replace=False)) for _ in range(2)]
        parts = [np.diff(np.concatenate([[0], cut, [room]])).tolist() for cut in cuts]
        for size in zip(*parts, strict=True):
            counts[size] = counts.get(size, 0) + 1
    return problem([list(s) for s in counts], list(counts.values()), [[room, room]], [2 * nodes])


@pytest.mark.parametrize("seed", [2, 3, 5])
def test_search_finds_what_rules_of_thumb_miss(seed: int) -> None:
    given = cut_up(seed, 8)
    assert min(greedy.by_node(given).cost(given), greedy.by_pod(given).cost(given)) == (0, 9)
    search = Search(given, greedy.by_node(given), seed)
    for _ in range(5000):
        if search.cost == (0, 8):
            break
        search.step()
    assert search.cost == (0, 8)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_integer_program_proves_its_worth(seed: int) -> None:
    given = cut_up(seed, 8)
    start = greedy.by_node(given)
    # Time enough for a hundred rounds of prices, then for whole numbers.
    clock = iter([10.0] + [9.0] * 100 + [4.0] * 9)
    found = list(patterns.improve(given, start, lambda: next(clock)))
    assert faults(given, found[-1]) == []
    assert (start.cost(given), found[-1].cost(given)) == ((0, 9), (0, 8))


def test_used_nodes_are_filled_first() -> None:
    given = problem([[2, 2]], [4], [[8, 8], [4, 4]], [3, 2], used=[False, True])
    assert list(solve(given, FEWEST_NODES, 0.1))[-1].cost(given) == (0, 0)


def test_balance_evens_out() -> None:
    given = problem([[1, 1]], [8], [[8, 8]], [4])
    found = list(solve(given, BALANCE, 0.1))[-1]
    assert sorted(sum(n for _, n in pattern) for _, pattern in found.bins) == [2, 2, 2, 2]


async def test_the_solver_is_a_process_of_its_own() -> None:
    given = problem([[5, 1], [3, 4]], [6, 6], [[10, 10]], [12])
    order = np.repeat(np.arange(2), given.counts)
    found = await process.solve(given, FEWEST_NODES, 0.2, order)
    assert faults(given, found) == []
    assert Problem.from_json(given.to_json()).to_json() == given.to_json()


async def test_a_solver_that_is_killed_leaves_its_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    sizes = random.integers(1, 50, (80, 3)).tolist()
    given = problem(sizes, [5] * 80, [[100, 100, 100]], [400])
    # It would think for a minute, and is killed after three seconds.
    monkeypatch.setattr(process, "GRACE", -57.0)
    found = await process.solve(given, FEWEST_NODES, 60.0, np.repeat(np.arange(80), 5))
    assert faults(given, found) == []


async def test_without_a_packing_the_pods_are_placed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*words: str, **more: Any) -> None:
        raise host_process.ProcessError("no memory")

    monkeypatch.setattr(host_process, "run", broken)
    state = cluster.of([node("a"), pod("p", cpu="1")])
    found = await make(PROFILE, state.snapshot, state.waiting.values(), Wish(seconds=0.1))
    assert found.nodes == {"p": "a"}
    assert found.trouble == "no memory"


def plan(*objects: Object, objective: str = FEWEST_NODES) -> tuple[ClusterState, Plan]:
    state = cluster.of(objects)
    wish = Wish(objective, 0.2)
    return state, asyncio.run(make(PROFILE, state.snapshot, state.waiting.values(), wish))


def test_complementary_pods_share_nodes() -> None:
    """A node takes one pod that needs cpu and one that needs memory; in sequence they would not meet."""
    pods = [pod(f"c{i}", cpu="3", memory="1Gi") for i in range(4)] + [
        pod(f"m{i}", cpu="1", memory="7Gi") for i in range(4)
    ]
    _, found = plan(*(node(f"n{i}") for i in range(8)), *pods)
    assert found.used == (0, 4)
    assert not found.failed


def test_hard_rules_hold() -> None:
    nodes = [
        node("a", labels={"zone": "x", "disk": "ssd"}),
        node("b", labels={"zone": "y"}, taints=["gpu=yes:NoSchedule"]),
        node("c", labels={"zone": "y"}),
        node("d", unschedulable=True),
    ]
    web = {"labels": {"app": "web"}}
    pods = [
        *(pod(f"web{i}", cpu="500m", meta=web, affinity=anti_affinity("web")) for i in range(2)),
        pod("ssd", cpu="1", nodeSelector={"disk": "ssd"}),
        pod("gpu", cpu="1", tolerations=[{"key": "gpu", "operator": "Exists"}], nodeSelector={"zone": "y"}),
        *(pod(f"port{i}", ports=[{"containerPort": 80, "hostPort": 80}]) for i in range(2)),
        *(
            pod(
                f"even{i}", meta={"labels": {"app": "even"}}, topologySpreadConstraints=spread("even", "zone")
            )
            for i in range(2)
        ),
    ]
    state, found = plan(*nodes, *pods)
    assert not found.failed
    assert {found.nodes["web0"], found.nodes["web1"]} == {"a", "c"}
    assert {found.nodes["port0"], found.nodes["port1"]} == {"a", "c"}
    assert found.nodes["ssd"] == "a"
    assert found.nodes["gpu"] in "bc"
    assert {state.snapshot.nodes[found.nodes[f"even{i}"]].labels["zone"] for i in range(2)} == {"x", "y"}
    # And asked of the scheduler itself, with all others in place.
    for uid, at in found.nodes.items():
        state.snapshot.add_pod(found.pods[uid], at)
    for uid, at in found.nodes.items():
        state.snapshot.remove_pod(uid)
        assert allows(PROFILE, state.snapshot, found.pods[uid], state.snapshot.nodes[at])
        state.snapshot.add_pod(found.pods[uid], at)


def test_pods_without_room_are_told_why_and_the_important_go_first() -> None:
    pods = [pod(f"p{i}", cpu="3", priority=i) for i in range(3)]
    state, found = plan(node("a"), node("b"), *pods)
    assert set(found.nodes) == {"p1", "p2"}
    assert found.failed == {"p0": "0/2 nodes are available: 2 Insufficient cpu."}
    assert not any(n.pods for n in state.snapshot.nodes.values()), "the snapshot is left as it was"


def test_a_gang_is_planned_whole_or_not_at_all() -> None:
    group: Object = {
        "kind": "PodGroup",
        "metadata": {"name": "g", "namespace": "default"},
        "spec": {"schedulingPolicy": {"gang": {"minCount": 3}}},
    }
    pods = [pod(f"g{i}", cpu="3", schedulingGroup={"podGroupName": "g"}) for i in range(3)]
    _, small = plan(group, node("a"), node("b"), *pods)
    assert not small.nodes
    _, large = plan(group, node("a"), node("b"), node("c"), *pods)
    assert len(large.nodes) == 3


def test_nodes_of_daemons_alone_count_as_empty() -> None:
    daemon = {"ownerReferences": [{"kind": "DaemonSet", "name": "d", "uid": "d", "controller": True}]}
    state = cluster.of([node("a"), pod("d1", on="a", cpu="100m", meta=daemon), pod("p", cpu="1")])
    prepared = prepare(PROFILE, state.snapshot, state.waiting.values())
    assert not prepared.problem.used.any()
    assert prepared.problem.free[0][0] == 3900
    assert state.waiting[Key("default", "p")] is prepared.classes[0][0]


def test_a_bad_packing_is_noticed() -> None:
    given = problem([[6, 1]], [2], [[10, 10]], [1], apart={0: [0]})
    assert "a node 0 gets more than it has" in faults(given, Packing(((0, ((0, 2),)),)))
    assert "pods 0 share a node 0 with pods they must be apart from" in faults(
        given, Packing(((0, ((0, 2),)),))
    )
    assert "not every pod is placed or left exactly once" in faults(given, Packing(()))
