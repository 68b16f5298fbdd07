"""The fast path decides as the plugins do: on clusters drawn at random, step by step, in C and in numpy."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.scheduler import objects
from tests.scheduler.columns import worlds
from tests.scheduler.oracle.compare import profile_of

from sampan.machinery.objects import Object
from sampan.scheduler.columns import counters, native
from sampan.scheduler.columns.kinds import same
from sampan.scheduler.columns.placer import Placer
from sampan.scheduler.decide import Decision, SchedulingError, decide
from sampan.scheduler.evaluate import snapshot_of
from sampan.scheduler.explain import explain
from sampan.scheduler.plugins import DEFAULT, REGISTRY
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile, multi_point
from sampan.scheduler.snapshot import CLAIMS, VOLUMES, Snapshot

DATA = Path(__file__).parent.parent / "data"


def profile(
    arguments: dict[str, Object] | None = None, weights: dict[str, int] | None = None, without: str = ""
) -> Profile:
    """The default plugins with other arguments and weights, and some left out."""
    names = [name for name, _ in DEFAULT if name in REGISTRY and name not in without.split()]
    plugins = [REGISTRY[name]((arguments or {}).get(name, {}), None) for name in names]
    return Profile.of(
        "test", multi_point(plugins), {name: weight or 1 for name, weight in DEFAULT} | (weights or {})
    )


RESOURCES = [{"name": "cpu", "weight": 3}, {"name": "memory", "weight": 1}, {"name": worlds.GPU, "weight": 5}]
SHAPE = [{"utilization": 0, "score": 0}, {"utilization": 70, "score": 10}, {"utilization": 100, "score": 3}]
ADDED = {
    worlds.REQUIRED: {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": worlds.ZONE, "operator": "Exists"}]}]
    },
    worlds.PREFERRED: [
        {
            "weight": 4,
            "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
        }
    ],
}
DEFAULTS = [
    {"topologyKey": worlds.ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"},
    {"topologyKey": worlds.RACK, "maxSkew": 2, "whenUnsatisfiable": "ScheduleAnyway"},
]


def fit(**strategy: Any) -> dict[str, Object]:
    return {"NodeResourcesFit": {"scoringStrategy": strategy, "ignoredResources": [worlds.GPU]}}


PROFILES = {
    "default": profile(),
    "most": profile(fit(type="MostAllocated"), {"NodeResourcesFit": 7}),
    "weighted": profile(
        fit(type="LeastAllocated", resources=RESOURCES)
        | {"NodeResourcesBalancedAllocation": {"resources": RESOURCES}}
    ),
    "ratio": profile(
        fit(type="RequestedToCapacityRatio", resources=RESOURCES, requestedToCapacityRatio={"shape": SHAPE})
    ),
    "arguments": profile(
        {
            "InterPodAffinity": {"hardPodAffinityWeight": 40, "ignorePreferredTermsOfExistingPods": True},
            "PodTopologySpread": {"defaultingType": "List", "defaultConstraints": DEFAULTS},
            "NodeAffinity": {"addedAffinity": ADDED},
        }
    ),
    "few": profile(without="ImageLocality NodeResourcesBalancedAllocation"),
}
KERNELS = {"native": native.load(), "numpy": None}


def told(decision: Decision) -> tuple[Any, ...]:
    """All that a decision says, in a form to compare."""
    scores = {s.node: (s.raw, s.scores, s.total) for s in decision.scores}
    return scores, decision.statuses, decision.message(), decision.plugins


def test_there_is_a_native_kernel_here() -> None:
    """Otherwise the tests below would compare numpy with itself."""
    assert native.load() is not None


@pytest.mark.parametrize("chosen", PROFILES)
@pytest.mark.parametrize("seed", range(12))
def test_every_verdict_and_score_is_that_of_the_plugins(chosen: str, seed: int) -> None:
    rng = Random(seed)
    snapshot = worlds.cluster(rng, rng.randrange(1, 20), rng.randrange(25))
    placer = Placer(snapshot)
    for step in range(8):
        pod = PodInfo(worlds.pod(rng, f"p{step}"))
        expected = decide(PROFILES[chosen], snapshot, pod)
        found = placer.verdicts(PROFILES[chosen], pod)
        assert found is not None
        assert told(found.decision(scores=True)) == told(expected)
        if expected.node:
            snapshot.add_pod(pod, expected.node)
        change(rng, snapshot)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("seed", range(40))
def test_every_choice_is_among_the_best(kernel: str, seed: int) -> None:
    """One pod after the other, and runs of equal pods, each judged with those before it in place."""
    rng = Random(seed)
    snapshot = worlds.cluster(rng, rng.randrange(1, 20), rng.randrange(25))
    placer = Placer(snapshot, KERNELS[kernel])
    for step in range(6):
        rules = PROFILES[rng.choice(list(PROFILES))]
        run = alike(worlds.pod(rng, f"p{step}"), rng.randrange(1, 9))
        placed = placer.place_run(rules, run)
        for pod, node in zip(run, placed, strict=False):
            assert node in decide(rules, snapshot, pod).best
            snapshot.add_pod(pod, node)
        for pod in run[len(placed) :]:
            expected = decide(rules, snapshot, pod)
            found = placer.place(rules, pod)
            assert found.node in (expected.best or [""])
            assert found.message() == expected.message()
        change(rng, snapshot)


@pytest.mark.parametrize("seed", range(40))
def test_explanations_are_the_same(seed: int) -> None:
    """All refusals of each node, not only the first; for pods that wait and for one that has its node."""
    rng = Random(seed)
    snapshot = worlds.cluster(rng, rng.randrange(1, 12), rng.randrange(15))
    placer, rules = Placer(snapshot), PROFILES[rng.choice(list(PROFILES))]
    placed = next(iter(snapshot.pods()), None)
    for pod in (PodInfo(worlds.pod(rng, "p")), placed[0] if placed else PodInfo(worlds.pod(rng, "q"))):
        by_plugins, by_columns = explain(rules, snapshot, pod), explain(rules, snapshot, pod, placer)
        assert by_columns == by_plugins
        assert by_columns.message() == by_plugins.message()


def alike(pod: Object, count: int) -> list[PodInfo]:
    metas = [
        {**pod["metadata"], "name": f"{pod['metadata']['name']}-{i}", "uid": f"{pod['metadata']['uid']}-{i}"}
        for i in range(count)
    ]
    return [PodInfo({**pod, "metadata": meta}) for meta in metas]


def change(rng: Random, snapshot: Snapshot) -> None:
    """Sometimes pods go, and nodes change, come or go."""
    chance = rng.random()
    if chance < 0.2:
        uids = [pod.uid for pod, _ in snapshot.pods()]
        for uid in rng.sample(uids, len(uids) // 3):
            snapshot.remove_pod(uid)
    elif chance < 0.35:
        snapshot.set_node(worlds.node(rng, rng.choice(list(snapshot.nodes))))
    elif chance < 0.45:
        snapshot.set_node(worlds.node(rng, f"new-{rng.randrange(9)}"))
    elif chance < 0.55 and len(snapshot.nodes) > 1:
        snapshot.remove_node(rng.choice(list(snapshot.nodes)))


@pytest.mark.parametrize("file", ["kube-scheduler-1.37.2.jsonl.gz", "plugins.jsonl.gz"])
def test_what_upstream_has_judged_is_judged_alike(file: str) -> None:
    """The oracle's cases (see test_oracle), with volumes, resizes, nominated pods and other configurations."""
    by_columns = 0
    with gzip.open(DATA / file) as lines:
        cases = [json.loads(line)["case"] for line in lines]
    for case in cases:
        rules = profile_of(json.dumps(case["config"]) if case.get("config") else "")
        snapshot = snapshot_of({**case, "pods": [*(case.get("pods") or ()), *(case.get("nominated") or ())]})
        placer, pod = Placer(snapshot), PodInfo(case["pod"])
        try:
            expected = decide(rules, snapshot, pod)
        except SchedulingError as e:
            with pytest.raises(SchedulingError, match=re.escape(str(e))):
                placer.place(rules, pod)
            continue
        placed = placer.place(rules, pod)
        assert placed.node in (expected.best or [""])
        if not placed.node:
            assert placed.message() == expected.message()
        if (found := placer.verdicts(rules, pod)) is not None:
            by_columns += 1
            assert told(found.decision(scores=True)) == told(expected)
    assert by_columns > 0.8 * len(cases)


def test_what_is_dropped_is_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With next to no room for counters and groups, they are dropped all the time; the answers stay."""
    monkeypatch.setattr(counters, "MANY_GROUPS", 2)
    monkeypatch.setattr(counters, "MANY_BYTES", 5000)
    for seed in range(100, 115):
        test_every_choice_is_among_the_best("native", seed)


def test_amounts_too_large_for_floating_point_are_divided_as_integers() -> None:
    rng = Random(2)
    snapshot = worlds.cluster(rng, 30, 30)
    for number in range(10):
        large = worlds.node(rng, f"n{number}")
        large["status"]["allocatable"]["memory"] = f"{(1 << 46) + rng.randrange(1 << 40)}"
        snapshot.set_node(large)
    placer = Placer(snapshot)
    assert placer.table.wide
    for step in range(30):
        pod = PodInfo(
            objects.pod(f"p{step}", cpu=f"{rng.randrange(100)}m", memory=f"{rng.randrange(1 << 45)}")
        )
        expected = decide(PROFILES["default"], snapshot, pod)
        assert placer.place(PROFILES["default"], pod).node in (expected.best or [""])
        if expected.node:
            snapshot.add_pod(pod, expected.node)


def test_a_volume_is_asked_for_on_the_best_nodes_first() -> None:
    """The pod goes where its volume can be, to one of the best nodes there, and is told why where it can nowhere."""
    snapshot = Snapshot()
    for number in range(300):
        snapshot.set_node(
            objects.node(f"n{number}", cpu=str(4 + number % 50), labels={worlds.ZONE: f"z{number % 6}"})
        )
    meta = {"name": "c", "namespace": "default", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
    claim: Object = {"metadata": meta, "status": {"phase": "Bound"}}
    claim["spec"] = {"volumeName": "v", "accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    there = [{"matchExpressions": [{"key": worlds.ZONE, "operator": "In", "values": ["z3"]}]}]
    volume = {"metadata": {"name": "v"}, "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": there}}}}
    snapshot.set(CLAIMS, claim)
    snapshot.set(VOLUMES, volume)
    placer, rules = Placer(snapshot), PROFILES["default"]
    wants = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    for cpu in ("1", "40", "60"):
        pod = PodInfo(objects.pod(f"p{cpu}", cpu=cpu, memory="1Gi", volumes=wants))
        expected, found = decide(rules, snapshot, pod), placer.place(rules, pod)
        assert found.node in (expected.best or [""])
        assert found.node == "" or snapshot.nodes[found.node].labels[worlds.ZONE] == "z3"
        assert found.node or found.message() == expected.message()


def test_deciding_changes_nothing() -> None:
    """A long run leaves the columns as they were, so that the same question has the same answer."""
    snapshot = worlds.cluster(Random(1), 200, 300)
    placer = Placer(snapshot)
    run = alike(objects.pod("p", cpu="100m", memory="50Mi"), 500)
    before = {name: column.array.copy() for name, column in placer.table.used.items()}
    first = placer.place_run(PROFILES["default"], run)
    assert len(first) > 100
    assert placer.place_run(PROFILES["default"], run) == first
    assert all((placer.table.used[name].array == column).all() for name, column in before.items())


def test_pods_are_the_same_whatever_their_names() -> None:
    a, b, c = worlds.pod(Random(3), "a"), worlds.pod(Random(3), "b"), worlds.pod(Random(4), "c")
    assert same(PodInfo(a), PodInfo(b))
    assert not same(PodInfo(a), PodInfo(c))
    with_volume = {
        **b,
        "spec": {**b["spec"], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "v"}}]},
    }
    assert not same(PodInfo(a), PodInfo(with_volume))
