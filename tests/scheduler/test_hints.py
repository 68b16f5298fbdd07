"""Queueing hints: for each plugin, a change that may help a pod that it refused, and one that cannot."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.objects import Object
from sampan.scheduler import changes, hints
from sampan.scheduler.events import Action, ClusterEvent, Kind
from sampan.scheduler.plugins import DEFAULT, default_profile
from sampan.scheduler.pods import PodInfo

HINTS = hints.of(default_profile())


def worth(plugin: str, event: ClusterEvent, pod: Object, old: Object | None, new: Object | None) -> bool:
    """Whether a pod that the plugin refused is worth another try."""
    return any(
        hint.hint is None or hint.hint(PodInfo(pod), old, new)
        for hint in HINTS[plugin]
        if hint.event.covers(event)
    )


def pod(name: str = "waiting", cpu: str = "1", node: str = "", **spec: Any) -> Object:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}, **spec.pop("container", {})}
    meta = {"name": name, "namespace": spec.pop("namespace", "default"), "uid": name}
    meta["labels"] = spec.pop("labels", {})
    status = {"phase": "Pending"}
    return {
        "metadata": meta,
        "spec": {"containers": [container], "nodeName": node, **spec},
        "status": status,
    }


def node(cpu: str = "4", labels: Object | None = None, **spec: Any) -> Object:
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
    meta = {"name": "n1", "labels": labels or {}}
    return {"metadata": meta, "spec": spec, "status": {"allocatable": allocatable}}


def affinity(kind: str, **labels: str) -> Object:
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "zone"}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def spread(**labels: str) -> list[Object]:
    selector = {"matchLabels": labels}
    return [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}
    ]


ADDED, DELETED = changes.NODE_ADDED, changes.POD_DELETED
COME = changes.POD_ADDED


def node_event(action: Action) -> ClusterEvent:
    return ClusterEvent(Kind.NODE, action)


TAINTS, LABELS = node_event(Action.UPDATE_NODE_TAINT), node_event(Action.UPDATE_NODE_LABEL)
GREW = node_event(Action.UPDATE_NODE_ALLOCATABLE)
SHRANK = ClusterEvent(Kind.ASSIGNED_POD, Action.UPDATE_POD_SCALE_DOWN)
CLAIM = ClusterEvent(Kind.CLAIM, Action.ADD)
SELECTS: Any = {"nodeSelector": {"disk": "ssd"}}
SSD, HDD = {"disk": "ssd"}, {"disk": "hdd"}
TAINTED: Any = {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}
PORT: Any = {"container": {"ports": [{"hostPort": 80, "containerPort": 80}]}}
NEAR, APART = (
    {"affinity": affinity("podAffinity", app="db")},
    {"affinity": affinity("podAntiAffinity", app="db")},
)
SPREAD: Any = {"topologySpreadConstraints": spread(app="web")}
VOLUME: Any = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}
DB: Any = {"labels": {"app": "db"}}
WEB: Any = {"labels": {"app": "web"}}
MINE = {"metadata": {"name": "data", "namespace": "default"}}
OTHERS = {"metadata": {"name": "data", "namespace": "elsewhere"}}


@pytest.mark.parametrize(
    ("plugin", "event", "waiting", "old", "new", "helps"),
    [
        ("NodeName", ADDED, {}, None, node(), True),
        ("NodeUnschedulable", TAINTS, {}, node(unschedulable=True), node(), True),
        ("NodeUnschedulable", TAINTS, {}, node(), node(unschedulable=True), False),
        ("TaintToleration", TAINTS, {}, node(**TAINTED), node(), True),
        ("TaintToleration", TAINTS, {}, node(), node(**TAINTED), False),
        ("TaintToleration", ADDED, {}, None, node(**TAINTED), False),
        ("NodeAffinity", LABELS, SELECTS, node(labels=HDD), node(labels=SSD), True),
        ("NodeAffinity", LABELS, SELECTS, node(labels=SSD), node(labels={**SSD, "x": "y"}), False),
        ("NodeAffinity", ADDED, SELECTS, None, node(labels=HDD), False),
        ("NodeResourcesFit", GREW, {"cpu": "2"}, node("1"), node("2"), True),
        ("NodeResourcesFit", GREW, {"cpu": "3"}, node("1"), node("2"), False),
        ("NodeResourcesFit", GREW, {"cpu": "1"}, node("4"), node("2"), False),
        ("NodeResourcesFit", DELETED, {}, pod("gone", node="n1"), None, True),
        ("NodeResourcesFit", DELETED, {}, pod("gone"), None, False),
        ("NodeResourcesFit", SHRANK, {}, pod("big", "2", "n1"), pod("big", "1", "n1"), True),
        ("NodePorts", DELETED, PORT, pod("gone", node="n1", **PORT), None, True),
        ("NodePorts", DELETED, PORT, pod("gone", node="n1"), None, False),
        ("InterPodAffinity", COME, NEAR, None, pod("db", node="n1", **DB), True),
        ("InterPodAffinity", COME, NEAR, None, pod("web", node="n1", **WEB), False),
        ("InterPodAffinity", DELETED, APART, pod("db", node="n1", **DB), None, True),
        ("InterPodAffinity", DELETED, APART, pod("web", node="n1", **WEB), None, False),
        ("InterPodAffinity", LABELS, NEAR, node(), node(labels={"zone": "a"}), True),
        ("InterPodAffinity", LABELS, NEAR, node(), node(labels={"rack": "a"}), False),
        ("PodTopologySpread", DELETED, SPREAD, pod("web", node="n1", **WEB), None, True),
        ("PodTopologySpread", DELETED, SPREAD, pod("db", node="n1", **DB), None, False),
        ("PodTopologySpread", LABELS, SPREAD, node(), node(labels={"zone": "a"}), True),
        ("PodTopologySpread", LABELS, SPREAD, node(), node(labels={"rack": "a"}), False),
        ("VolumeBinding", CLAIM, VOLUME, None, MINE, True),
        ("VolumeBinding", CLAIM, VOLUME, None, OTHERS, False),
        ("VolumeRestrictions", DELETED, VOLUME, pod("gone", node="n1", **VOLUME), None, True),
        ("VolumeRestrictions", DELETED, VOLUME, pod("gone", node="n1"), None, False),
        ("NodeVolumeLimits", DELETED, VOLUME, pod("gone", node="n1"), None, False),
        # Who waits for victims is woken by the plugin that they stand in the way of.
        ("DefaultPreemption", DELETED, {}, pod("victim", node="n1"), None, False),
    ],
)
def test_a_change_helps_or_not(
    plugin: str, event: ClusterEvent, waiting: Any, old: Object | None, new: Object | None, helps: bool
) -> None:
    assert worth(plugin, event, pod(**waiting), old, new) is helps


def test_every_default_plugin_names_its_events() -> None:
    assert {name for name, _ in DEFAULT} <= hints.TABLE.keys()


def test_a_heartbeat_is_no_event() -> None:
    before = node()
    beat = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}
    later = {**before, "status": {**before["status"], "conditions": [beat]}}
    latest = {**later, "status": {**later["status"], "conditions": [{**beat, "lastHeartbeatTime": "now"}]}}
    assert [changes.label(e) for e in changes.of_node(before, later)] == ["NodeUpdateNodeCondition"]
    assert changes.of_node(later, latest) == []


@pytest.mark.parametrize(
    ("old", "new", "labels"),
    [
        (pod(), pod(labels={"app": "x"}), ["TargetPodUpdatePodLabel"]),
        (pod(cpu="2"), pod(cpu="1"), ["TargetPodUpdatePodScaleDown"]),
        (pod(schedulingGates=[{"name": "g"}]), pod(), ["TargetPodUpdatePodSchedulingGatesEliminated"]),
        (pod(), pod(tolerations=[{"operator": "Exists"}]), ["TargetPodUpdatePodToleration"]),
        (pod(), pod(), ["TargetPodUpdate"]),
    ],
)
def test_what_changed_of_a_pod(old: Object, new: Object, labels: list[str]) -> None:
    assert [changes.label(e) for e in changes.of_pod(old, new, target=True)] == labels
