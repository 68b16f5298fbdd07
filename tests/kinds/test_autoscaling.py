"""HorizontalPodAutoscalers: both versions are one object, and what is refused of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sampan.kinds import horizontal_pod_autoscaler as v2
from sampan.kinds import horizontal_pod_autoscaler_v1 as v1
from sampan.machinery.objects import Object


def of(**spec: Any) -> Object:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    obj = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
    whole: Object = {**obj, "metadata": {"name": "h", "namespace": "default"}}
    whole["spec"] = {"scaleTargetRef": ref, "maxReplicas": 3, **spec}
    v2.KIND.default(whole)
    return whole


def cpu(percent: int) -> Object:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


PODS = {
    "type": "Pods",
    "pods": {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": "10"}},
}


def test_v1_is_a_plain_percentage_and_annotations_for_the_rest() -> None:
    older = v1.from_v2(of(metrics=[PODS, cpu(60)], behavior={"scaleUp": {"selectPolicy": "Min"}}))
    assert older["apiVersion"] == "autoscaling/v1"
    assert older["spec"]["targetCPUUtilizationPercentage"] == 60
    assert "metrics" not in older["spec"]
    kept = json.loads(older["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"])
    assert kept == [{"type": "Pods", "pods": {"metricName": "requests", "targetAverageValue": "10"}}]


def test_nothing_is_lost_on_the_way_through_v1() -> None:
    metrics = [
        PODS,
        {
            "type": "Object",
            "object": {
                "describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
                "metric": {"name": "rate", "selector": {"matchLabels": {"a": "b"}}},
                "target": {"type": "Value", "value": "1k"},
            },
        },
        cpu(60),
    ]
    whole = of(metrics=metrics, behavior={"scaleDown": {"stabilizationWindowSeconds": 5}})
    condition = {"type": "AbleToScale", "status": "True"}
    usage = {"name": "cpu", "current": {"averageUtilization": 7, "averageValue": "70m"}}
    current = [{"type": "Resource", "resource": usage}]
    whole["status"] = {"currentReplicas": 1, "conditions": [condition], "currentMetrics": current}
    assert v1.to_v2(v1.from_v2(whole)) == whole


def test_the_default_of_v1_is_that_of_v2() -> None:
    made = of()
    older = {**made, "apiVersion": "autoscaling/v1", "spec": {**made["spec"]}}
    del older["spec"]["metrics"]
    assert v1.to_v2(older)["spec"]["metrics"] == [cpu(80)]


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"maxReplicas": 0}, "spec.maxReplicas", "must be set and greater than 0"),
        ({"minReplicas": 5}, "spec.maxReplicas", "must be greater than or equal to `minReplicas`"),
        ({"minReplicas": 0}, "spec.metrics", "must specify at least one Object or External metric"),
        ({"metrics": [{"type": "Resource"}]}, "spec.metrics[0].resource", "must populate information"),
        ({"metrics": [{**cpu(0)}]}, "spec.metrics[0].resource.target.averageUtilization", "must be greater than 0"),
        ({"metrics": [{**PODS, "type": "Resource"}]}, "spec.metrics[0].resource", "must populate information"),
        ({"behavior": {"scaleUp": {"policies": []}}}, "spec.behavior.scaleUp.policies", "must specify at least one"),
        ({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 3601}}},
         "spec.behavior.scaleDown.stabilizationWindowSeconds", "must be less than or equal to 3600"),
    ],
)  # fmt: skip
def test_what_is_refused(spec: Object, field: str, words: str) -> None:
    found = v2.KIND.validate(of(**spec), None)
    assert any(f.field == field and words in f.detail for f in found), found
