"""The descheduler: each strategy by a small cluster; only what has a better place goes, and budgets and limits hold."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.objects import Object
from sampan.scheduler import cluster, plugins
from sampan.scheduler.batch.plan import sequential
from sampan.scheduler.batch.problem import FEWEST_NODES
from sampan.scheduler.cluster import ClusterState
from sampan.scheduler.descheduler import policy as policies
from sampan.scheduler.descheduler.decide import Verdict, decide
from sampan.scheduler.descheduler.policy import Limits, Policy, PolicyError
from sampan.scheduler.descheduler.strategies import STRATEGIES

from .objects import anti_affinity, node, spread
from .objects import pod as bare

DEFAULT = {"default-scheduler": plugins.default_profile()}
NOW = 1_800_000_000.0
NO_LIMITS = Limits()
DAEMON_SET = {"kind": "DaemonSet", "name": "d", "uid": "d", "controller": True}


def pod(name: str, on: str, owner: str = "web", **spec: Any) -> Object:
    """A pod of a ReplicaSet."""
    ref = {"kind": "ReplicaSet", "name": owner, "uid": owner, "controller": True}
    meta = {"labels": {"app": owner}, "ownerReferences": [ref], **spec.pop("meta", {})}
    return bare(name, on=on, meta=meta, **spec)


def run(
    strategy: str,
    *objects: Object,
    profiles: Any = DEFAULT,
    evictor: Any = None,
    limits: Any = NO_LIMITS,
    **arguments: Any,
) -> Verdict:
    state = cluster.of(objects)
    before = contents(state)
    found = decide(profiles, state.snapshot, Policy(((strategy, arguments),), evictor or {}, limits), NOW)
    assert contents(state) == before, "deciding changes nothing"
    return found


def contents(state: ClusterState) -> dict[str, list[str]]:
    return {name: sorted(p.name for p in n.pods.values()) for name, n in state.snapshot.nodes.items()}


def moves(found: Verdict) -> list[tuple[str, str, str]]:
    return [(m.pod.name, m.node, m.to) for m in found.moves]


def test_low_node_utilization_moves_from_full_to_empty() -> None:
    full = [pod(f"p{i}", on="a", cpu="1") for i in range(4)]
    figures = {"thresholds": {"cpu": 20}, "targetThresholds": {"cpu": 50}}
    found = run("LowNodeUtilization", node("a"), node("b"), *full, **figures)
    assert moves(found) == [("p0", "a", "b"), ("p1", "a", "b")]
    assert found.moves[0].reason == "cpu on a is 100 % requested, over 50 %"
    # Where no node is hardly used, nothing moves.
    busy = pod("q", on="b", cpu="1")
    assert not run("LowNodeUtilization", node("a"), node("b"), *full, busy, **figures).moves


def test_high_node_utilization_empties_what_could_be_given_up() -> None:
    packing = {"default-scheduler": sequential(plugins.default_profile(), FEWEST_NODES)}
    pods = [pod("p", on="a", cpu="500m"), pod("q", on="b", cpu="2"), pod("r", on="c", cpu="2")]
    nodes = [node(n) for n in "abc"]
    found = run("HighNodeUtilization", *nodes, *pods, profiles=packing, thresholds={"cpu": 20})
    assert [(m.pod.name, m.node) for m in found.moves] == [("p", "a")]
    # A scheduler that spreads would put it back: then it stays, and that is told.
    stays = run("HighNodeUtilization", *nodes, *pods, thresholds={"cpu": 20})
    assert not stays.moves
    assert stays.kept[0][2] == "the scheduler would put it on a again"


def test_duplicates_of_one_owner() -> None:
    twins = [pod(f"w{i}", on="a") for i in range(3)]
    found = run("RemoveDuplicates", node("a"), node("b"), node("c"), *twins)
    assert sorted(to for _, _, to in moves(found)) == ["b", "c"]
    assert not run("RemoveDuplicates", node("a"), *twins).moves
    excluded = run("RemoveDuplicates", node("a"), node("b"), *twins, excludeOwnerKinds=["ReplicaSet"])
    assert not excluded.moves


def test_node_affinity_that_holds_no_more() -> None:
    nodes = [node("a", labels={"disk": "hdd"}), node("b", labels={"disk": "ssd"})]
    found = run("RemovePodsViolatingNodeAffinity", *nodes, pod("p", on="a", nodeSelector={"disk": "ssd"}))
    assert moves(found) == [("p", "a", "b")]
    nowhere = run("RemovePodsViolatingNodeAffinity", *nodes, pod("p", on="a", nodeSelector={"disk": "nvme"}))
    assert not nowhere.moves
    assert nowhere.kept[0][2].startswith("it would have no other place: 0/2 nodes are available")


def test_taints_that_came_later() -> None:
    nodes = [node("a", taints=["gpu=yes:NoSchedule"]), node("b")]
    tolerant = pod("q", on="a", tolerations=[{"key": "gpu", "operator": "Exists"}])
    found = run("RemovePodsViolatingNodeTaints", *nodes, pod("p", on="a"), tolerant)
    assert moves(found) == [("p", "a", "b")]
    assert not run("RemovePodsViolatingNodeTaints", *nodes, pod("p", on="a"), excludedTaints=["gpu"]).moves
    soft = [node("a", taints=["old=yes:PreferNoSchedule"]), node("b")]
    assert not run("RemovePodsViolatingNodeTaints", *soft, pod("p", on="a")).moves
    assert run("RemovePodsViolatingNodeTaints", *soft, pod("p", on="a"), includePreferNoSchedule=True).moves


def test_anti_affinity_between_pods() -> None:
    apart = [pod(f"w{i}", on="a", affinity=anti_affinity("web")) for i in range(2)]
    found = run("RemovePodsViolatingInterPodAntiAffinity", node("a"), node("b"), *apart)
    assert len(found.moves) == 1
    assert found.moves[0].to == "b"
    assert not run("RemovePodsViolatingInterPodAntiAffinity", node("a"), *apart).moves


def test_spread_that_became_uneven() -> None:
    nodes = [node("a", labels={"zone": "x"}), node("b", labels={"zone": "y"})]
    pods = [pod(f"w{i}", on="a", topologySpreadConstraints=spread("web", "zone")) for i in range(4)]
    found = run("RemovePodsViolatingTopologySpreadConstraint", *nodes, *pods)
    assert [to for _, _, to in moves(found)] == ["b", "b"]
    soft = [
        pod(f"w{i}", on="a", topologySpreadConstraints=spread("web", "zone", when="ScheduleAnyway"))
        for i in range(4)
    ]
    assert not run("RemovePodsViolatingTopologySpreadConstraint", *nodes, *soft).moves
    both = {"constraints": ["DoNotSchedule", "ScheduleAnyway"]}
    assert len(run("RemovePodsViolatingTopologySpreadConstraint", *nodes, *soft, **both).moves) == 2


def test_too_many_restarts_and_too_old() -> None:
    restarted = {
        **pod("p", on="a"),
        "status": {"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 7}]},
    }
    found = run("RemovePodsHavingTooManyRestarts", node("a"), restarted, podRestartThreshold=5)
    assert moves(found) == [("p", "a", "a")]
    assert not run("RemovePodsHavingTooManyRestarts", node("a"), restarted, podRestartThreshold=8).moves
    old = pod("p", on="a", meta={"creationTimestamp": "2027-01-15T06:59:00Z"})
    assert moves(run("PodLifeTime", node("a"), old, maxPodLifeTimeSeconds=3600)) == [("p", "a", "a")]
    assert not run("PodLifeTime", node("a"), old, maxPodLifeTimeSeconds=4000).moves
    # One that would have no place at all stays, old as it is.
    closed = run("PodLifeTime", node("a", unschedulable=True), old, maxPodLifeTimeSeconds=60)
    assert not closed.moves


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"meta": {"ownerReferences": []}}, "nobody would make it anew"),
        ({"meta": {"ownerReferences": [DAEMON_SET]}}, "DaemonSet"),
        ({"meta": {"annotations": {"kubernetes.io/config.mirror": "x"}}}, "belongs to its node"),
        ({"priority": 2_000_000_000}, "critical to the system"),
        ({"volumes": [{"name": "v", "emptyDir": {}}]}, "local storage"),
    ],
)  # fmt: skip
def test_pods_that_stay_whatever_happens(change: Any, why: str) -> None:
    nodes = [node("a", taints=["gpu=yes:NoSchedule"]), node("b")]
    found = run("RemovePodsViolatingNodeTaints", *nodes, pod("p", on="a", **change))
    assert not found.moves
    assert why in found.kept[0][2]


def test_the_evictor_may_be_told_otherwise() -> None:
    nodes = [node("a", taints=["gpu=yes:NoSchedule"]), node("b")]
    local = pod("p", on="a", volumes=[{"name": "v", "emptyDir": {}}])
    assert run("RemovePodsViolatingNodeTaints", *nodes, local, evictor={"evictLocalStoragePods": True}).moves
    ranked = pod("p", on="a", priority=100)
    assert not run(
        "RemovePodsViolatingNodeTaints", *nodes, ranked, evictor={"priorityThreshold": {"value": 50}}
    ).moves


def test_budgets_and_limits() -> None:
    nodes = [node("a", taints=["gpu=yes:NoSchedule"]), node("b")]
    pods = [pod(f"p{i}", on="a") for i in range(3)]
    budget: Object = {
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": 1},
    }
    found = run("RemovePodsViolatingNodeTaints", *nodes, *pods, budget)
    assert len(found.moves) == 1
    assert found.kept[0][2] == "its disruption budget web allows no more"
    for limits in (Limits(per_node=2), Limits(per_namespace=2), Limits(total=2)):
        assert len(run("RemovePodsViolatingNodeTaints", *nodes, *pods, limits=limits).moves) == 2


def test_room_is_counted_as_pods_move() -> None:
    nodes = [node("a", taints=["gpu=yes:NoSchedule"]), node("b", cpu="2")]
    found = run(
        "RemovePodsViolatingNodeTaints", *nodes, *(pod(f"p{i}", on="a", cpu="1500m") for i in range(2))
    )
    assert len(found.moves) == 1
    assert "Insufficient cpu" in found.kept[0][2]


POLICY = """
apiVersion: descheduler/v1alpha2
kind: DeschedulerPolicy
maxNoOfPodsToEvictTotal: 5
profiles:
- name: default
  pluginConfig:
  - name: DefaultEvictor
    args: {evictLocalStoragePods: true}
  - name: LowNodeUtilization
    args: {thresholds: {cpu: 20}, targetThresholds: {cpu: 50}}
  plugins:
    balance: {enabled: [LowNodeUtilization]}
    deschedule: {enabled: [RemovePodsViolatingNodeTaints]}
"""


def test_a_policy_file() -> None:
    found = policies.load(POLICY)
    assert [name for name, _ in found.strategies] == ["LowNodeUtilization", "RemovePodsViolatingNodeTaints"]
    assert found.strategies[0][1] == {"thresholds": {"cpu": 20}, "targetThresholds": {"cpu": 50}}
    assert found.evictor == {"evictLocalStoragePods": True}
    assert found.limits == Limits(total=5)
    assert {name for name, _ in policies.default().strategies} <= set(STRATEGIES) == set(policies.ARGUMENTS)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("v1alpha2", "v1alpha1"), "knows descheduler/v1alpha2"),
        (("[LowNodeUtilization]", "[Unheard]"), "there is no 'Unheard'"),
        (("thresholds: {cpu: 20}, ", "treshold: 1, "), "has no argument 'treshold'"),
        (("{cpu: 50}", "5"), "is of the wrong type"),
        (("Total: 5", "Total: many"), "not a whole number"),
        (("kind: DeschedulerPolicy", "kind: Pod"), "no DeschedulerPolicy"),
    ],
)
def test_faults_in_a_policy_are_told(change: tuple[str, str], why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        policies.load(POLICY.replace(*change))
