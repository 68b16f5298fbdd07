"""HorizontalPodAutoscaler (autoscaling/v2): how many pods there should be, by what they use."""

from __future__ import annotations

import copy
from typing import Any

from sampan.kinds import autoscaling, metadata, strategy
from sampan.kinds.columns import AGE, NAME, UNSET, at, more
from sampan.kinds.kind import Column, Kind
from sampan.machinery.objects import Object, get

_UNKNOWN = "<unknown>"
_FIELDS = {
    "Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object",
    "External": "external",
}  # fmt: skip


def _reference(obj: Object, now: float) -> str:
    return f"{get(obj, 'spec.scaleTargetRef.kind', '')}/{get(obj, 'spec.scaleTargetRef.name', '')}"


def _targets(obj: Object, now: float) -> str:
    specs, current = get(obj, "spec.metrics", []), get(obj, "status.currentMetrics", [])
    shown = [_target(s, current[i] if i < len(current) else {}) for i, s in enumerate(specs)]
    return more(shown, 2, ", ") if shown else "<none>"


def _target(spec: Object, status: Object) -> str:
    field = _FIELDS.get(spec.get("type", ""))
    if field is None:
        return "<unknown type>"
    metric, target = spec.get(field) or {}, get(spec, f"{field}.target", {})
    current = get(status, f"{field}.current", {})
    if field in ("resource", "containerResource"):
        name = metric.get("name", "")
        if target.get("averageValue") is not None:
            return f"{name}: {current.get('averageValue', _UNKNOWN)}/{target['averageValue']}"
        wanted = _percent(target.get("averageUtilization"), "<auto>")
        return f"{name}: {_percent(current.get('averageUtilization'), _UNKNOWN)}/{wanted}"
    if field == "pods":
        return f"{current.get('averageValue', _UNKNOWN)}/{target.get('averageValue', '0')}"
    if target.get("averageValue") is not None:
        return f"{current.get('averageValue', _UNKNOWN)}/{target['averageValue']} (avg)"
    return f"{current.get('value', _UNKNOWN)}/{target.get('value', '0')}"


def _percent(value: Any, default: str) -> str:
    return default if value is None else f"{value}%"


_UP: Object = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
# How long a scale-down waits is the controller's to say, where nobody else does.
_DOWN: Object = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}


def default(obj: Object) -> None:
    """CPU at 80 % where no metric is named; both directions of a behaviour that says anything."""
    spec = obj.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    if (behavior := spec.get("behavior")) is not None:
        for field, rules in (("scaleUp", _UP), ("scaleDown", _DOWN)):
            given = {k: v for k, v in (behavior.get(field) or {}).items() if v is not None}
            behavior[field] = {**copy.deepcopy(rules), **given}


COLUMNS = (
    NAME,
    Column("Reference", _reference, description="What it scales."),
    Column("Targets", _targets, description="What is used, and what should be."),
    Column("MinPods", at("spec.minReplicas", UNSET), description="No fewer pods than these."),
    Column("MaxPods", at("spec.maxReplicas", 0), description="No more pods than these."),
    Column("Replicas", at("status.currentReplicas", 0), description="How many there are."),
    AGE,
)


KIND = Kind(
    group="autoscaling",
    version="v2",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    namespaced=True,
    short_names=("hpa",),
    categories=("all",),
    subresources=("status",),
    columns=COLUMNS,
    default=default,
    prepare=strategy.counted,
    validate=metadata.checked(autoscaling.validate),
)
