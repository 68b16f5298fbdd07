"""What would make a pod fit: the smallest sets of changes, proved by trying, and none smaller by trying all."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.machinery.objects import Key, Object
from sampan.scheduler import cluster, plugins
from sampan.scheduler.cluster import ClusterState
from sampan.scheduler.decide import decide
from sampan.scheduler.explain_text import advice
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.relaxations import Relaxation, amount
from sampan.scheduler.remedies import NEW, Found, Remedy, new_node, remedies

from .objects import anti_affinity, node, pod, spread

PROFILE = plugins.default_profile()
WEB = Key("default", "web")


def found(*objects: Object) -> Found:
    state = cluster.of(objects)
    return remedies(PROFILE, state.snapshot, state.waiting[WEB])


def told(*objects: Object) -> set[str]:
    return {
        ", ".join([*(f"like {r.shape}" for _ in [0] if r.shape), *map(str, r.changes)])
        for r in found(*objects).remedies
    }


def test_a_pod_that_fits_needs_nothing() -> None:
    assert found(node("a"), pod("web")).remedies == (Remedy((), "a"),)


def test_a_request_is_lowered_by_no_more_than_needed() -> None:
    busy = [pod("x", on="a", cpu="3"), pod("y", on="b", cpu="2")]
    assert told(node("a"), node("b"), *busy, pod("web", cpu="3")) == {
        "lower its request for cpu by 1, to 2",
        "like a",
    }
    assert told(node("a"), pod("web", cpu="4500m")) == {"lower its request for cpu by 500m, to 4"}


def test_taints_selectors_and_cordons() -> None:
    tainted = node("a", taints=["gpu=yes:NoSchedule"])
    assert told(tainted, pod("web")) == {
        "add a toleration for the taint gpu=yes:NoSchedule",
        "remove the taint gpu=yes:NoSchedule from node a",
    }
    assert told(node("a"), pod("web", nodeSelector={"disk": "ssd"})) == {
        "remove disk=ssd from its nodeSelector",
        "label node a disk=ssd",
    }
    assert told(node("a", unschedulable=True), pod("web")) == {
        "uncordon node a",
        "add a toleration for the taint node.kubernetes.io/unschedulable:NoSchedule",
        "like a",
    }


def test_two_changes_together() -> None:
    tainted = node("a", taints=["gpu=yes:NoSchedule"])
    assert told(tainted, pod("web", nodeSelector={"disk": "ssd"})) == {
        "remove disk=ssd from its nodeSelector, add a toleration for the taint gpu=yes:NoSchedule",
        "remove disk=ssd from its nodeSelector, remove the taint gpu=yes:NoSchedule from node a",
        "label node a disk=ssd, add a toleration for the taint gpu=yes:NoSchedule",
        "label node a disk=ssd, remove the taint gpu=yes:NoSchedule from node a",
    }


def test_affinity_spread_and_ports() -> None:
    labels = {"labels": {"app": "web"}}
    other = pod("other", on="a", meta=labels, ports=[{"containerPort": 80, "hostPort": 80}])
    apart = pod("web", meta=labels, affinity=anti_affinity("web"))
    assert told(node("a"), other, apart) == {
        "remove its required anti-affinity to pods by kubernetes.io/hostname",
        "like a",
    }
    port = pod("web", ports=[{"containerPort": 80, "hostPort": 80}])
    assert told(node("a"), other, port) == {"give up the host port 80/TCP", "like a"}
    zones = [node("a", labels={"zone": "x"}), node("b", cpu="1", labels={"zone": "y"})]
    even = pod("web", cpu="2", meta=labels, topologySpreadConstraints=spread("web", "zone"))
    assert "make its spread over zone a wish (whenUnsatisfiable: ScheduleAnyway)" in told(*zones, other, even)


def test_required_node_affinity() -> None:
    term = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    assert told(node("a"), pod("web", affinity={"nodeAffinity": required})) == {
        "remove its required node affinity",
        "label node a disk=ssd",
    }


def test_what_no_small_change_mends_is_told_so() -> None:
    taints = [f"t{i}=x:NoSchedule" for i in range(6)]
    state = cluster.of([node("a", taints=taints), pod("web", nodeSelector={"disk": "ssd"})])
    ways = remedies(PROFILE, state.snapshot, state.waiting[WEB])
    assert not ways.remedies
    assert advice(ways, state.snapshot) == [
        "No small set of changes to the pod or to single nodes makes it fit."
    ]


def test_advice_in_sentences() -> None:
    state = cluster.of(
        [node("a"), node("b", taints=["gpu=yes:NoSchedule"]), pod("x", on="a", cpu="4"), pod("web", cpu="1")]
    )
    lines = advice(remedies(PROFILE, state.snapshot, state.waiting[WEB]), state.snapshot)
    assert lines[0] == "It would fit with one change:"
    assert "- add a toleration for the taint gpu=yes:NoSchedule (then it fits b)" in lines
    assert "- add a node like a (cpu 4, memory 8Gi, pods 110)" in lines


def test_asking_changes_nothing() -> None:
    state = cluster.of([node("a", unschedulable=True), pod("x", on="a"), pod("web", cpu="9")])
    nodes = {name: n.object for name, n in state.snapshot.nodes.items()}
    remedies(PROFILE, state.snapshot, state.waiting[WEB])
    assert {name: n.object for name, n in state.snapshot.nodes.items()} == nodes
    assert list(state.snapshot.nodes["a"].pods) == ["x"]


def test_amounts_as_people_write_them() -> None:
    assert [amount("cpu", 1500), amount("cpu", 2000), amount("memory", 2**31)] == ["1500m", "2", "2Gi"]


# Small clusters with everything that relaxations know, to try all sets of changes on.
taints = st.lists(st.sampled_from(["gpu=yes:NoSchedule", "old=yes:NoExecute"]), max_size=2, unique=True)
labels = st.dictionaries(st.sampled_from(["zone", "disk"]), st.sampled_from(["x", "y"]), max_size=2)


@st.composite
def clusters(draw: st.DrawFn) -> list[Object]:
    made = [
        node(name, cpu=draw(st.sampled_from(["1", "2", "4"])), taints=draw(taints), labels=draw(labels),
             unschedulable=draw(st.booleans()))
        for name in ("a", "b")
    ]  # fmt: skip
    app = {"labels": {"app": "web"}}
    for i in range(draw(st.integers(0, 3))):
        made.append(pod(f"p{i}", on=draw(st.sampled_from(["a", "b"])), cpu="500m", meta=app))
    spec: dict[str, Any] = {"nodeSelector": draw(labels)}
    if draw(st.booleans()):
        spec["affinity"] = anti_affinity("web", draw(st.sampled_from(["zone", "kubernetes.io/hostname"])))
    if draw(st.booleans()):
        spec["topologySpreadConstraints"] = spread("web", "zone")
    return [*made, pod("web", cpu=draw(st.sampled_from(["500m", "2", "3"])), meta=app, **spec)]


def alphabet(state: ClusterState, web: PodInfo) -> list[Relaxation]:
    """Every change that could matter, without asking what refuses the pod."""
    listed = [Relaxation("drop-selector", (k, v)) for k, v in (web.spec.get("nodeSelector") or {}).items()]
    listed += [Relaxation("soften-spread", (0, "zone"))] if web.spec.get("topologySpreadConstraints") else []
    listed += [Relaxation("drop-pod-anti-affinity", (0, ""))] if web.spec.get("affinity") else []
    listed.append(Relaxation("tolerate", ("node.kubernetes.io/unschedulable", "", "NoSchedule")))
    for each in state.snapshot.nodes.values():
        free, asked = each.allocatable["cpu"] - each.requested.get("cpu", 0), web.requests["cpu"]
        listed += [Relaxation("lower", ("cpu", free, asked - free))] if 0 <= free < asked else []
        listed += [Relaxation("uncordon", (), each.name)]
        for t in each.taints:
            what = (t["key"], t["value"], t["effect"])
            listed += [Relaxation("tolerate", what), Relaxation("untaint", what, each.name)]
        for k, v in (web.spec.get("nodeSelector") or {}).items():
            listed.append(Relaxation("label", (k, v), each.name))
    return list(dict.fromkeys(listed))


def fits(objects: list[Object], changes: tuple[Relaxation, ...], extra: Object | None) -> bool:
    """Whether the pod has a node once all changes are made, asked of the scheduler itself."""
    made = []
    for obj in [*objects, *([extra] if extra else [])]:
        for change in sorted(changes, reverse=True):
            is_web = obj["kind"] == "Pod" and obj["metadata"]["name"] == "web"
            if is_web:
                obj = change.on_pod(obj)
            elif obj["kind"] == "Node":
                obj = change.on_node(obj)
        made.append(obj)
    state = cluster.of(made)
    return bool(decide(PROFILE, state.snapshot, state.waiting[WEB]).node)


def smallest(objects: list[Object], most: int) -> int | None:
    """The size of the smallest set that helps, by trying all."""
    state = cluster.of(objects)
    changes = alphabet(state, state.waiting[WEB])
    new = [new_node(n.object, NEW + n.name) for n in state.snapshot.nodes.values()]
    for size in range(most + 1):
        for chosen in combinations(changes, size):
            if fits(objects, chosen, None):
                return size
        if size and any(
            fits(objects, chosen, extra) for chosen in combinations(changes, size - 1) for extra in new
        ):
            return size
    return None


@settings(max_examples=40, deadline=None)
@given(clusters())
def test_remedies_hold_and_none_is_smaller(objects: list[Object]) -> None:
    state = cluster.of(objects)
    answer = remedies(PROFILE, state.snapshot, state.waiting[WEB], most=2)
    for remedy in answer.remedies:
        extra = (
            new_node(state.snapshot.nodes[remedy.shape].object, NEW + remedy.shape) if remedy.shape else None
        )
        assert fits(objects, remedy.changes, extra), remedy
    least = smallest(objects, 2)
    assert (answer.remedies[0].size if answer.remedies else None) == least
