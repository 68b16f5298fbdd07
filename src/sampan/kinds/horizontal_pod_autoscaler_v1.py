"""HorizontalPodAutoscaler (autoscaling/v1): the older form, which knows only CPU; the rest of it are annotations.

Stored in the form of v2. Source: k8s.io/kubernetes pkg/apis/autoscaling/v1/conversion.go.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from sampan.kinds import autoscaling, horizontal_pod_autoscaler, metadata, strategy
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get

PREFIX = "autoscaling.alpha.kubernetes.io/"
_METRICS, _CURRENT = f"{PREFIX}metrics", f"{PREFIX}current-metrics"
_BEHAVIOR, _CONDITIONS = f"{PREFIX}behavior", f"{PREFIX}conditions"
_ANNOTATIONS = (_METRICS, _CURRENT, _BEHAVIOR, _CONDITIONS)
# A v2 path and its v1 name, by the kind of metric; in specs, then in statuses.
_SPECS = {
    "resource": {"name": "name", "target.averageUtilization": "targetAverageUtilization",
                 "target.averageValue": "targetAverageValue"},
    "containerResource": {"name": "name", "container": "container",
                          "target.averageUtilization": "targetAverageUtilization",
                          "target.averageValue": "targetAverageValue"},
    "pods": {"metric.name": "metricName", "metric.selector": "selector",
             "target.averageValue": "targetAverageValue"},
    "object": {"describedObject": "target", "metric.name": "metricName", "metric.selector": "selector",
               "target.value": "targetValue", "target.averageValue": "averageValue"},
    "external": {"metric.name": "metricName", "metric.selector": "metricSelector", "target.value": "targetValue",
                 "target.averageValue": "targetAverageValue"},
}  # fmt: skip
_STATUSES = {
    "resource": {"name": "name", "current.averageUtilization": "currentAverageUtilization",
                 "current.averageValue": "currentAverageValue"},
    "containerResource": {"name": "name", "container": "container",
                          "current.averageUtilization": "currentAverageUtilization",
                          "current.averageValue": "currentAverageValue"},
    "pods": {"metric.name": "metricName", "metric.selector": "selector",
             "current.averageValue": "currentAverageValue"},
    "object": {"describedObject": "target", "metric.name": "metricName", "metric.selector": "selector",
               "current.value": "currentValue", "current.averageValue": "averageValue"},
    "external": {"metric.name": "metricName", "metric.selector": "metricSelector", "current.value": "currentValue",
                 "current.averageValue": "currentAverageValue"},
}  # fmt: skip
Names = dict[str, dict[str, str]]


def _older(metric: Object, names: Names) -> Object:
    """A metric of v2 in the form of v1."""
    found: Object = {"type": metric.get("type", "")}
    for field, pairs in names.items():
        if (source := metric.get(field)) is not None:
            values = {old: get(source, new) for new, old in pairs.items()}
            found[field] = {k: v for k, v in values.items() if v is not None}
    return found


def _newer(metric: Object, names: Names) -> Object:
    """A metric of v1 in the form of v2; the target's type follows from what is set."""
    found: Object = {"type": metric.get("type", "")}
    for field, pairs in names.items():
        if (source := metric.get(field)) is not None:
            made: Object = {}
            for new, old in pairs.items():
                if source.get(old) is not None:
                    outer, _, inner = new.partition(".")
                    if inner:
                        made.setdefault(outer, {})[inner] = source[old]
                    else:
                        made[outer] = source[old]
            if names is _SPECS:
                target = made.setdefault("target", {})
                target["type"] = _target_type(target)
            found[field] = made
    return found


def _target_type(target: Object) -> str:
    if "averageUtilization" in target:
        return "Utilization"
    return "AverageValue" if "averageValue" in target else "Value"


def _plain(metric: Object) -> bool:
    """Whether v1 has a field of its own for a metric: CPU as a percentage."""
    percent = get(metric, "resource.target.averageUtilization")
    return metric.get("type") == "Resource" and get(metric, "resource.name") == "cpu" and percent is not None


def from_v2(obj: Object) -> Object:
    spec, status, meta = dict(obj.get("spec") or {}), dict(obj.get("status") or {}), dict(obj["metadata"])
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in _ANNOTATIONS}
    metrics, current = spec.pop("metrics", None) or (), status.pop("currentMetrics", None) or ()
    for metric in filter(_plain, metrics):
        spec["targetCPUUtilizationPercentage"] = metric["resource"]["target"]["averageUtilization"]
    for metric in current:
        percent = get(metric, "resource.current.averageUtilization")
        if get(metric, "resource.name") == "cpu" and percent is not None:
            status["currentCPUUtilizationPercentage"] = percent
    kept: dict[str, Any] = {
        _METRICS: [_older(m, _SPECS) for m in metrics if not _plain(m)],
        _CURRENT: [_older(m, _STATUSES) for m in current],
        _BEHAVIOR: spec.pop("behavior", None),
        _CONDITIONS: status.pop("conditions", None),
    }
    annotations |= {k: json.dumps(v, separators=(",", ":")) for k, v in kept.items() if v}
    if annotations or "annotations" in meta:
        meta["annotations"] = annotations
    found = {**obj, "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec}
    return {**found, "status": status} if "status" in obj else found


def to_v2(obj: Object) -> Object:
    spec, status, meta = dict(obj.get("spec") or {}), dict(obj.get("status") or {}), dict(obj["metadata"])
    annotations = dict(meta.get("annotations") or {})
    kept = {name: _read(annotations.pop(name, "")) for name in _ANNOTATIONS}
    metrics = [_newer(m, _SPECS) for m in kept[_METRICS] or ()]
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    if metrics:
        spec["metrics"] = metrics
    if kept[_BEHAVIOR]:
        spec["behavior"] = kept[_BEHAVIOR]
    percent = status.pop("currentCPUUtilizationPercentage", None)
    if kept[_CURRENT]:
        status["currentMetrics"] = [_newer(m, _STATUSES) for m in kept[_CURRENT]]
    elif percent is not None:
        current = {"name": "cpu", "current": {"averageUtilization": percent}}
        status["currentMetrics"] = [{"type": "Resource", "resource": current}]
    if kept[_CONDITIONS]:
        status["conditions"] = kept[_CONDITIONS]
    if "annotations" in meta:
        meta["annotations"] = annotations
        if not annotations:
            del meta["annotations"]
    found = {**obj, "apiVersion": "autoscaling/v2", "metadata": meta, "spec": spec}
    found = {**found, "status": status} if "status" in obj else found
    horizontal_pod_autoscaler.default(found)
    return found


def _read(text: str) -> Any:
    """What an annotation holds; nothing where a user put something else there."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    return autoscaling.validate(to_v2(obj), to_v2(old) if old else None)


def _column(column: Column) -> Column:
    return replace(column, value=lambda obj, now: column.value(to_v2(obj), now))


KIND = Kind(
    group="autoscaling",
    version="v1",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    namespaced=True,
    short_names=("hpa",),
    categories=("all",),
    subresources=("status",),
    columns=tuple(_column(c) for c in horizontal_pod_autoscaler.COLUMNS),
    storage="horizontalpodautoscalers.autoscaling",
    to_storage=to_v2,
    from_storage=from_v2,
    default=_default,
    prepare=strategy.counted,
    validate=metadata.checked(_validate),
)
