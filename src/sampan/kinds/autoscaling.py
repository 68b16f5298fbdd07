"""What a HorizontalPodAutoscaler may ask for: metrics with their targets, and how fast it scales.

Source: k8s.io/kubernetes pkg/apis/autoscaling/validation.
"""

from __future__ import annotations

from typing import Any

from sampan.kinds import containers, faults
from sampan.kinds.kind import Invalid
from sampan.machinery import names, quantities
from sampan.machinery.objects import Object, get

LONGEST_WINDOW, LONGEST_PERIOD = 3600, 1800
FIELDS = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
_TYPES = tuple(sorted(FIELDS))


def validate(obj: Object, old: Object | None) -> list[Invalid]:
    """Faults of an autoscaling/v2 HorizontalPodAutoscaler."""
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas") or 0
    found: list[Invalid] = []
    if least < 0:
        found.append(faults.invalid("spec.minReplicas", least, "must be greater than or equal to 0"))
    if most == 0:
        found.append(faults.required("spec.maxReplicas", "must be set and greater than 0"))
    elif most < 0:
        found.append(faults.invalid("spec.maxReplicas", most, "must be greater than or equal to 1"))
    if most < least:
        text = "must be greater than or equal to `minReplicas`"
        found.append(faults.invalid("spec.maxReplicas", most, text))
    found += _reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    found += _metrics(spec.get("metrics") or [], least)
    for field in ("scaleUp", "scaleDown"):
        if rules := get(spec, f"behavior.{field}"):
            found += _rules(rules, f"spec.behavior.{field}")
    for field in ("currentReplicas", "desiredReplicas"):
        found += faults.not_negative(f"status.{field}", get(obj, f"status.{field}"))
    return found


def _reference(ref: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for field in ("kind", "name"):
        value = ref.get(field) or ""
        if not value:
            found.append(faults.required(f"{path}.{field}"))
        else:
            found += faults.each_invalid(f"{path}.{field}", value, names.path_segment(value))
    version = ref.get("apiVersion") or ""
    if version.count("/") > 1:
        found.append(
            faults.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
        )
    return found


def _metrics(specs: list[Object], least: int) -> list[Invalid]:
    found = [f for index, spec in enumerate(specs) for f in _metric(spec, f"spec.metrics[{index}]")]
    if least == 0 and not any(s.get("type") in ("Object", "External") for s in specs):
        text = "must specify at least one Object or External metric to support scaling to zero replicas"
        found.append(faults.forbidden("spec.metrics", text))
    return found


def _metric(spec: Object, path: str) -> list[Invalid]:
    kind, found = spec.get("type") or "", list[Invalid]()
    if not kind:
        found.append(faults.required(f"{path}.type", "must specify a metric source type"))
    if kind not in FIELDS:
        found.append(faults.unsupported(f"{path}.type", kind, _TYPES))
    present = [f for f in FIELDS.values() if spec.get(f) is not None]
    if present:
        found += _source(present[0], spec[present[0]], f"{path}.{present[0]}")
    expected = FIELDS.get(kind, "")
    if expected and expected not in present:
        text = "must populate information for the given metric source"
        found.append(faults.required(f"{path}.{expected}", text))
    if len(present) != 1:
        text = "must populate the given metric source only"
        found += [faults.forbidden(f"{path}.{f}", text) for f in present if f != expected]
    return found


def _source(field: str, source: Object, path: str) -> list[Invalid]:
    target, found = source.get("target") or {}, list[Invalid]()
    if field in ("resource", "containerResource"):
        name = source.get("name") or ""
        if not name:
            found.append(faults.required(f"{path}.name", "must specify a resource name"))
        elif field == "containerResource":
            found += containers.resource(name, "1", path)
    if field == "containerResource":
        container = source.get("container") or ""
        if not container:
            found.append(faults.required(f"{path}.container", "must specify a container"))
        else:
            found += faults.each_invalid(f"{path}.container", container, names.dns_label(container))
    if field == "object":
        found += _reference(source.get("describedObject") or {}, f"{path}.describedObject")
    if field in ("object", "external", "pods"):
        name = get(source, "metric.name", "")
        if not name:
            found.append(faults.required(f"{path}.metric.name", "must specify a metric name"))
        else:
            found += faults.each_invalid(f"{path}.metric.name", name, names.path_segment(name))
    return found + _target(target, f"{path}.target") + _wanted(field, target, f"{path}.target")


def _target(target: Object, path: str) -> list[Invalid]:
    kind, found = target.get("type") or "", list[Invalid]()
    if not kind:
        found.append(faults.required(f"{path}.type", "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        text = "must be either Utilization, Value, or AverageValue"
        found.append(faults.invalid(f"{path}.type", kind, text))
    for field in ("value", "averageValue"):
        if (amount := target.get(field)) is not None and not _positive(amount):
            found.append(faults.invalid(f"{path}.{field}", amount, "must be positive"))
    percent = target.get("averageUtilization")
    if percent is not None and percent < 1:
        found.append(faults.invalid(f"{path}.averageUtilization", percent, "must be greater than 0"))
    return found


def _positive(amount: Any) -> bool:
    try:
        return quantities.parse(amount).nano > 0
    except ValueError:
        return False


# What a source's target must set one of, and what is said where it sets none; where it sets both, the second is at
# fault.
_WANTED = {
    "object": (("value", "averageValue"), "averageValue", "must set either a target value or averageValue"),
    "external": (
        ("averageValue", "value"),
        "averageValue",
        "must set either a target value for metric or a per-pod target",
    ),
    "pods": (("averageValue",), "averageValue", "must specify a positive target averageValue"),
    "resource": (
        ("averageUtilization", "averageValue"),
        "averageUtilization",
        "must set either a target raw value or a target utilization",
    ),
}
_BOTH = {
    "external": "may not set both a target value for metric and a per-pod target",
    "resource": "may not set both a target raw value and a target utilization",
}


def _wanted(field: str, target: Object, path: str) -> list[Invalid]:
    field = "resource" if field == "containerResource" else field
    fields, at, text = _WANTED[field]
    given = [f for f in fields if target.get(f) is not None]
    if not given:
        return [faults.required(f"{path}.{at}", text)]
    if len(given) == 2 and field in _BOTH:
        return [faults.forbidden(f"{path}.{given[1]}", _BOTH[field])]
    return []


def _rules(rules: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    window, at = rules.get("stabilizationWindowSeconds"), f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        found.append(faults.invalid(at, window, "must be greater than or equal to zero"))
    if window is not None and window > LONGEST_WINDOW:
        found.append(faults.invalid(at, window, f"must be less than or equal to {LONGEST_WINDOW}"))
    found += faults.one_of(f"{path}.selectPolicy", rules.get("selectPolicy"), ("Disabled", "Max", "Min"))
    if not rules.get("policies"):
        found.append(faults.required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(rules.get("policies") or ()):
        found += _policy(policy, f"{path}.policies[{index}]")
    if rules.get("tolerance") is not None:
        found += containers.positive(rules["tolerance"], f"{path}.tolerance")
    return found


def _policy(policy: Object, path: str) -> list[Invalid]:
    kind, value, period = policy.get("type") or "", policy.get("value") or 0, policy.get("periodSeconds") or 0
    found: list[Invalid] = []
    if kind not in ("Pods", "Percent"):
        found.append(faults.unsupported(f"{path}.type", kind, ("Percent", "Pods")))
    if value <= 0:
        found.append(faults.invalid(f"{path}.value", value, "must be greater than zero"))
    if period <= 0:
        found.append(faults.invalid(f"{path}.periodSeconds", period, "must be greater than zero"))
    if period > LONGEST_PERIOD:
        text = f"must be less than or equal to {LONGEST_PERIOD}"
        found.append(faults.invalid(f"{path}.periodSeconds", period, text))
    return found
