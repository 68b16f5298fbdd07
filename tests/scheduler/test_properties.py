"""What must hold for every cluster, whatever the numbers: tried on random cases (oracle/cases.py)."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from functools import wraps
from typing import Any

from hypothesis import given, reject, settings
from hypothesis import strategies as st
from tests.scheduler.oracle.cases import case

from sampan.machinery.objects import Object
from sampan.scheduler.decide import Cycle, SchedulingError, decide
from sampan.scheduler.evaluate import evaluate, snapshot_of
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins import default_profile
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot

PROFILE = default_profile()
seeds = st.integers(0, 10**9)
some = settings(max_examples=60, deadline=None)


def faultless(test: Callable[..., None]) -> Callable[..., None]:
    """The test, for those cases in which no plugin fails."""

    @wraps(test)
    def tested(*args: Any, **kwargs: Any) -> None:
        try:
            test(*args, **kwargs)
        except SchedulingError:
            reject()

    return tested


@some
@given(seeds)
@faultless
def test_a_decision_is_the_evaluation(seed: int) -> None:
    """The two ways through the plugins agree, but for nodes that were left out at once."""
    given_case = case(seed)
    decision = decide(PROFILE, snapshot_of(given_case), PodInfo(given_case["pod"]))
    result = evaluate(PROFILE, given_case)
    assert sorted(decision.best) == result.get("best", [])
    for name, status in decision.statuses.items():
        assert result["nodes"][name]["reasons"] == list(status.reasons)


@some
@given(seeds)
def test_the_order_of_objects_does_not_matter(seed: int) -> None:
    given_case = case(seed)
    shuffled = deepcopy(given_case)
    for name in ("nodes", "pods", "namespaces"):
        random.Random(seed).shuffle(shuffled[name])
    assert evaluate(PROFILE, shuffled) == evaluate(PROFILE, given_case)


@some
@given(seeds)
def test_the_objects_are_left_as_they_are(seed: int) -> None:
    given_case = case(seed)
    before = deepcopy(given_case)
    evaluate(PROFILE, given_case)
    assert given_case == before


@some
@given(seeds, st.data())
def test_a_snapshot_by_single_changes_is_the_snapshot_at_once(seed: int, data: st.DataObject) -> None:
    """Pods that come, go and come back, nodes that do: what counts in the end is what is there."""
    given_case = case(seed)
    snapshot = Snapshot()
    steps: list[tuple[str, Any]] = [("node", n) for n in given_case["nodes"]]
    steps += [("pod", p) for p in given_case["pods"]] * 2
    steps += [("gone", n["metadata"]["name"]) for n in given_case["nodes"][:2]]
    steps += [("left", p["metadata"]["uid"]) for p in given_case["pods"][:5]]
    for kind, what in data.draw(st.permutations(steps)):
        if kind == "node":
            snapshot.set_node(what)
        elif kind == "pod":
            snapshot.add_pod(PodInfo(what))
        elif kind == "gone":
            snapshot.remove_node(what)
        else:
            snapshot.remove_pod(what)
    for node in given_case["nodes"]:
        snapshot.set_node(node)
    for pod in given_case["pods"]:
        snapshot.add_pod(PodInfo(pod))
    fresh = snapshot_of({**given_case, "nominated": []})
    assert seen(snapshot) == seen(fresh)


def seen(snapshot: Snapshot) -> dict[str, Any]:
    """All that plugins can see of a snapshot's nodes."""
    nodes = {name: node_seen(node) for name, node in snapshot.nodes.items()}
    return {
        "nodes": nodes,
        "images": snapshot.images,
        "with_affinity": set(snapshot.with_affinity),
        "with_anti_affinity": set(snapshot.with_anti_affinity),
    }


def node_seen(node: NodeInfo) -> dict[str, Any]:
    return {
        "pods": set(node.pods),
        "with_affinity": set(node.with_affinity),
        "with_anti_affinity": set(node.with_anti_affinity),
        "requested": {name: n for name, n in node.requested.items() if n},
        "non_zero": (node.non_zero_cpu, node.non_zero_memory),
        "ports": +node.ports,
        "claims": +node.claims,
        "allocatable": node.allocatable,
    }


@some
@given(seeds, st.data())
@faultless
def test_a_state_that_was_changed_is_the_state_of_the_changed_cluster(seed: int, data: st.DataObject) -> None:
    """Taking pods off, and putting some back: preemption relies on the states following that."""
    given_case = case(seed)
    cycle = cycle_of(given_case)
    if cycle.pre_filter():
        return
    states, nodes = cycle.clone_states(), {name: n.clone() for name, n in cycle.snapshot.nodes.items()}
    left = []
    for pod in given_case["pods"]:
        info, choice = PodInfo(pod), data.draw(st.sampled_from(["stays", "stays", "goes", "comes back"]))
        if choice != "stays":
            cycle.remove_pod(states, info, nodes[info.node])
        if choice == "comes back":
            cycle.add_pod(states, info, nodes[info.node])
        if choice != "goes":
            left.append(pod)
    fresh = cycle_of({**given_case, "pods": left})
    fresh.pre_filter()
    for name, node in nodes.items():
        assert cycle.filter(node, states) == fresh.filter(fresh.snapshot.nodes[name])


def cycle_of(given_case: Object) -> Cycle:
    return Cycle(PROFILE, snapshot_of(given_case), PodInfo(given_case["pod"]))


@some
@given(seeds)
@faultless
def test_scores_are_whole_numbers_from_0_to_100_by_weight(seed: int) -> None:
    cycle = cycle_of(case(seed))
    if cycle.pre_filter():
        return
    feasible = [node for node in cycle.nodes() if cycle.filter(node) is None]
    for found in cycle.score(feasible) if feasible else ():
        assert found.total == sum(found.scores.values())
        for plugin, score in found.scores.items():
            assert isinstance(score, int)
            assert 0 <= score <= 100 * PROFILE.weights[plugin]
