"""HorizontalPodAutoscalers: what metrics ask for, and how fast it happens, in simulated time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from sampan.controllers import hpa
from sampan.controllers.hpa_behavior import Memory
from sampan.controllers.hpa_metrics import Reading, Target
from sampan.controllers.hpa_replicas import Sample
from sampan.kinds import horizontal_pod_autoscaler as kind
from sampan.machinery import times
from sampan.machinery.objects import Object, get
from sampan.reconcile.controller import Emit, Patch, Plan

START = times.seconds("2026-01-01T00:00:00Z")


def resource(percent: int) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", "target": utilization(percent)}}


def utilization(percent: int) -> Object:
    return {"type": "Utilization", "averageUtilization": percent}


def external(name: str, **target: Any) -> Object:
    return {"type": "External", "external": {"metric": {"name": name}, "target": target}}


@dataclass
class Scaled:
    """An autoscaler and what it scales: pods that follow at once, and each of them uses `load` of its CPU."""

    spec: Object = field(default_factory=dict)
    replicas: int = 1
    load: int = 500
    now: float = START
    metrics: tuple[Reading, ...] | None = None
    pods: list[Object] | None = None

    def __post_init__(self) -> None:
        ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        spec = {"scaleTargetRef": ref, "maxReplicas": 10, "metrics": [resource(50)], **self.spec}
        meta = {"name": "h", "namespace": "default", "generation": 1}
        self.object: Object = {"apiVersion": "autoscaling/v2", "kind": kind.KIND.kind, "metadata": meta}
        self.object["spec"] = spec
        kind.default(self.object)
        self.memory = Memory()

    def look(self, seconds: float = 15.0) -> int:
        """Let time pass, decide once, and return the number of pods."""
        self.now += seconds
        plan = self.plan()
        for action in plan.actions:
            if isinstance(action, Patch) and action.subresource == "scale":
                self.replicas = action.patch["spec"]["replicas"]
            elif isinstance(action, Patch):
                status = {**self.object.get("status", {}), **action.patch["status"]}
                self.object["status"] = {k: v for k, v in status.items() if v is not None}
        self.memory = plan.note
        return self.replicas

    def plan(self) -> Plan:
        status = {"replicas": self.replicas, "selector": "app=web"}
        scale = {"spec": {"replicas": self.replicas}, "status": status}
        pods = self.pods if self.pods is not None else [pod(f"p{i}") for i in range(self.replicas)]
        samples = {p["metadata"]["name"]: Sample(self.load, self.now, 10.0) for p in pods}
        readings = self.metrics if self.metrics is not None else (Reading(samples),)
        target = Target("deployments.apps", scale)
        return hpa.decide(hpa.Observed(self.object, tuple(pods), self.memory, target, readings), self.now)

    def condition(self, type: str) -> tuple[str, str]:
        found = next(c for c in self.object["status"]["conditions"] if c["type"] == type)
        return found["status"], found["reason"]


def pod(name: str, phase: str = "Running", ready: str = "True", since: float = -1000.0) -> Object:
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": times.time(START + since)}
    return {
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
        "status": {"phase": phase, "startTime": times.time(START + since), "conditions": [condition]},
    }


def test_twice_the_target_is_twice_the_pods() -> None:
    web = Scaled(replicas=2, load=1000)
    assert web.look() == 4
    assert web.condition("AbleToScale") == ("True", "SucceededRescale")
    assert web.condition("ScalingActive") == ("True", "ValidMetricFound")
    current = web.object["status"]["currentMetrics"][0]["resource"]["current"]
    assert current == {"averageUtilization": 100, "averageValue": "1"}


def test_what_is_within_a_tenth_of_the_target_stays() -> None:
    assert Scaled(replicas=4, load=550).look() == 4
    assert Scaled(replicas=4, load=560).look() == 5


def test_tolerances_may_be_said() -> None:
    behavior = {"scaleUp": {"tolerance": "0.5"}, "scaleDown": {"tolerance": "0"}}
    assert Scaled({"behavior": behavior}, replicas=4, load=700).look() == 4


def test_growth_doubles_at_most_and_stops_at_the_maximum() -> None:
    web = Scaled(replicas=3, load=5000)
    assert web.look() == 6
    assert web.condition("ScalingLimited") == ("True", "ScaleUpLimit")
    assert web.look() == 10
    assert web.condition("ScalingLimited") == ("True", "TooManyReplicas")


def test_shrinking_waits_until_nobody_asked_for_more_for_five_minutes() -> None:
    web = Scaled(replicas=8, load=500)
    web.look()
    web.load = 125
    assert [web.look() for _ in range(19)] == [8] * 19
    assert web.condition("AbleToScale") == ("True", "ScaleDownStabilized")
    assert [web.look() for _ in range(3)][-1] == 2


def test_behaviour_bounds_the_rate_in_each_period() -> None:
    policies = [{"type": "Pods", "value": 2, "periodSeconds": 60}]
    web = Scaled({"behavior": {"scaleUp": {"policies": policies}}}, replicas=1, load=5000)
    assert [web.look() for _ in range(6)] == [3, 3, 3, 3, 5, 5]
    down = {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}],
    }
    web = Scaled({"behavior": {"scaleDown": down}}, replicas=8, load=10)
    assert [web.look(30.0) for _ in range(4)] == [4, 4, 2, 2]


def test_a_disabled_direction_does_not_move() -> None:
    behavior = {"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}}
    web = Scaled({"behavior": behavior}, replicas=8, load=10)
    assert web.look() == 8
    assert web.condition("ScalingLimited") == ("True", "ScaleDownLimit")


def test_pods_without_metrics_hold_back_both_directions() -> None:
    web = Scaled(replicas=3, load=1500)
    web.pods = [pod("p0"), pod("p1"), pod("p2", phase="Pending")]
    assert web.look() == 6  # as if p2 were idle: 100 % of three
    web = Scaled(replicas=3, load=1500, pods=[pod("p0")] + [pod(f"n{i}", "Pending") for i in range(2)])
    web.metrics = (Reading({"p0": Sample(600, START, 10.0)}),)
    assert web.look() == 3


def test_cpu_of_a_pod_that_starts_does_not_count() -> None:
    web = Scaled(replicas=2, load=2000)
    web.pods = [pod("p0"), pod("p1", ready="False", since=-5)]
    web.metrics = (Reading({n: Sample(v, START + 15, 10.0) for n, v in (("p0", 400), ("p1", 4000))}),)
    assert web.look() == 2


def test_the_largest_proposal_wins() -> None:
    metrics = [resource(50), external("queue", type="AverageValue", averageValue="10")]
    web = Scaled({"metrics": metrics}, replicas=2)
    web.metrics = (Reading({f"p{i}": Sample(500, START, 10.0) for i in range(2)}), Reading(value=40_000))
    assert web.look() == 4
    assert web.object["status"]["currentMetrics"][1]["external"]["current"] == {"averageValue": "20"}


def test_an_unknown_metric_is_told_and_stops_shrinking() -> None:
    web = Scaled(replicas=4)
    web.metrics = (Reading(fault="unable to fetch metrics from resource metrics API: nobody there"),)
    plan = web.plan()
    told = [(a.reason, a.message) for a in plan.actions if isinstance(a, Emit)]
    why = (
        "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from "
        "resource metrics API: nobody there"
    )
    whole = f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {why}"
    assert told == [("FailedGetResourceMetric", why), ("FailedComputeMetricsReplicas", whole)]
    assert web.look() == 4
    assert web.condition("ScalingActive") == ("False", "FailedGetResourceMetric")


def test_to_zero_and_back_by_a_metric_from_outside() -> None:
    metrics = [external("queue", type="Value", value="1")]
    web = Scaled({"metrics": metrics, "minReplicas": 0}, replicas=1, metrics=(Reading(value=0),))
    web.pods = [pod("p0")]
    found = [web.look() for _ in range(22)]
    assert (found[0], found[-1]) == (1, 0)
    assert web.condition("ScaledToZero") == ("True", "ScaledToZero")
    web.metrics, web.pods = (Reading(value=3000),), []
    assert web.look() == 3
    assert web.condition("ScaledToZero") == ("False", "NotScaledToZero")


def test_who_was_scaled_to_zero_by_hand_is_left_alone() -> None:
    web = Scaled(replicas=0)
    assert web.look() == 0
    assert web.condition("ScalingActive") == ("False", "ScalingDisabled")


def test_a_target_that_is_not_there_is_told() -> None:
    web = Scaled()
    seen = hpa.Observed(web.object, (), Memory(), Target(fault='deployments.apps "web" not found'))
    plan = hpa.decide(seen, START)
    status: Any = plan.actions[-1]
    assert get(status.patch, "status")["conditions"][0]["reason"] == "FailedGetScale"


@pytest.mark.parametrize("replicas", [0, 3])
def test_nothing_is_written_when_nothing_changes(replicas: int) -> None:
    web = Scaled(replicas=replicas)
    web.look()
    web.look()
    assert [a for a in web.plan().actions if isinstance(a, Patch)] == []
