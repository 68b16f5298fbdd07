"""Room for a gang: the fewest pods of lower priority that let all of it in; groups that end together do."""

from __future__ import annotations

from typing import Any

from sampan.machinery.objects import Object
from sampan.scheduler import cluster, gang, plugins
from sampan.scheduler.cluster import ClusterState
from sampan.scheduler.decide import decide
from sampan.scheduler.framework import unschedulable
from sampan.scheduler.gang import Attempt
from sampan.scheduler.gang_preemption import Room, make_room
from sampan.scheduler.pods import PodInfo

from .objects import anti_affinity, node, pod

PROFILE = plugins.default_profile()


def group(name: str, least: int, **spec: Any) -> Object:
    policy = {"gang": {"minCount": least}}
    meta = {"name": name, "namespace": "default"}
    return {"kind": "PodGroup", "metadata": meta, "spec": {"schedulingPolicy": policy, "priority": 9, **spec}}


def member(name: str, of: str, **spec: Any) -> Object:
    return pod(name, schedulingGroup={"podGroupName": of}, **{"cpu": "3", "priority": 9, **spec})


def room(*objects: Object) -> Room:
    """What the waiting gang `g` finds; the cluster must be as before."""
    state = cluster.of(objects)
    snapshot, waiting = state.snapshot, {p.uid: p for p in state.waiting.values()}
    of = snapshot.get("podgroups.scheduling.k8s.io", "g", "default")
    assert of

    def attempt(obj: Object, among: frozenset[str] | None) -> Attempt:
        decision = decide(PROFILE, snapshot, PodInfo(obj))
        if not decision.node:
            return Attempt("", unschedulable(decision.message()))
        snapshot.add_pod(PodInfo(obj), decision.node)
        return Attempt(decision.node)

    def place() -> gang.Outcome:
        objects = [p.object for p in waiting.values()]
        return gang.place_group(of, objects, 0, attempt, lambda p: take_back(PodInfo(p).uid))

    def take_back(uid: str) -> None:
        snapshot.remove_pod(uid)

    before = contents(state)
    assert not place().succeeded, "there is no room without making some"
    found = make_room(PROFILE, snapshot, waiting, place, take_back)
    assert contents(state) == before
    return found


def contents(state: ClusterState) -> dict[str, list[str]]:
    return {name: sorted(n.pods) for name, n in state.snapshot.nodes.items()}


def names(found: Room) -> list[str]:
    return sorted(p.name for p, _ in found.victims)


def test_the_fewest_go_and_the_more_important_stay() -> None:
    low = [pod(f"low-{n}-{i}", on=n, cpu="2", priority=i) for n in "abc" for i in range(2)]
    found = room(group("g", 2), *(node(n) for n in "abc"), *low, member("g0", "g"), member("g1", "g"))
    assert found.nodes
    used = sorted(set(found.nodes.values()))
    assert len(used) == 2
    # Each node has 4; a pod of 3 leaves no place for one of 2.
    assert names(found) == sorted(f"low-{n}-{i}" for n in used for i in range(2))


def test_what_can_stay_beside_the_gang_stays() -> None:
    small = [pod("keep", on="a", cpu="1"), pod("go", on="a", cpu="2")]
    found = room(group("g", 1), node("a"), *small, member("g0", "g"))
    assert names(found) == ["go"]
    assert found.nodes == {"g0": "a"}


def test_none_go_where_it_would_not_help() -> None:
    found = room(
        group("g", 3),
        node("a"),
        node("b"),
        pod("low", on="a", cpu="2"),
        *(member(f"g{i}", "g") for i in range(3)),
    )
    assert (found.nodes, found.why) == (None, "Preemption is not helpful for scheduling")
    equal = room(group("g", 1), node("a"), pod("peer", on="a", cpu="2", priority=9), member("g0", "g"))
    assert equal.why == "No preemption victims found for incoming pod"
    never = room(
        group("g", 1), node("a"), pod("low", on="a", cpu="2"), member("g0", "g", preemptionPolicy="Never")
    )
    assert never.why == "not eligible due to preemptionPolicy=Never."


def test_pods_with_a_used_up_budget_are_spared_where_others_will_do() -> None:
    budget: Object = {
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "shop"}}},
        "status": {"disruptionsAllowed": 0},
    }
    shop = pod("shop", on="a", cpu="1500m", meta={"labels": {"app": "shop"}})
    others = pod("other", on="a", cpu="1500m")
    found = room(group("g", 1), budget, node("a"), shop, others, member("g0", "g", cpu="2"))
    assert names(found) == ["other"]


def test_a_group_that_ends_together_does() -> None:
    all_ = group("old", 2, priority=0, disruptionMode={"all": {}})
    old = [pod(f"old-{n}", on=n, cpu="2", schedulingGroup={"podGroupName": "old"}) for n in "ab"]
    found = room(group("g", 1), all_, node("a"), node("b"), *old, member("g0", "g"))
    assert names(found) == ["old-a", "old-b"]
    single = room(
        group("g", 1),
        group("old", 2, priority=0, disruptionMode={"single": {}}),
        node("a"),
        node("b"),
        *old,
        member("g0", "g"),
    )
    assert len(single.victims) == 1


def test_anti_affinity_reaches_over_nodes() -> None:
    shy = pod("shy", on="b", affinity=anti_affinity("g", "zone"))
    member_ = member("g0", "g", meta={"labels": {"app": "g"}})
    found = room(
        group("g", 1),
        *(node(n, labels={"zone": "x"}) for n in "ab"),
        pod("low", on="a", cpu="2"),
        shy,
        member_,
    )
    assert "shy" in names(found)
