"""Deployment (apps/v1): pods that are replaced step by step when their template changes."""

from __future__ import annotations

from sampan.kinds import faults, label_selectors, metadata, pod_defaults, strategy, workloads
from sampan.kinds.columns import AGE, NAME, at, container_columns
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get

_STRATEGIES = ("Recreate", "RollingUpdate")


def _ready(obj: Object, now: float) -> str:
    return f"{get(obj, 'status.readyReplicas', 0)}/{get(obj, 'spec.replicas', 0)}"


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for name, value in (("replicas", 1), ("revisionHistoryLimit", 10), ("progressDeadlineSeconds", 600)):
        if spec.get(name) is None:
            spec[name] = value
    pod_defaults.default_template(spec.setdefault("template", {}))
    rollout = spec["strategy"] = spec.get("strategy") or {}
    rollout["type"] = rollout.get("type") or "RollingUpdate"
    if rollout["type"] == "RollingUpdate":
        rolling = rollout["rollingUpdate"] = rollout.get("rollingUpdate") or {}
        for name in ("maxUnavailable", "maxSurge"):
            if rolling.get(name) is None:
                rolling[name] = "25%"


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found = faults.not_negative("spec.replicas", spec.get("replicas"))
    found += label_selectors.validate(spec.get("selector"), "spec.selector", whose="deployment")
    found += workloads.template(spec)
    found += _strategy(spec.get("strategy") or {}, "spec.strategy")
    for name in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        found += faults.not_negative(f"spec.{name}", spec.get(name))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        found.append(
            faults.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
        )
    if old is not None:
        found += faults.immutable("spec.selector", spec.get("selector"), old["spec"].get("selector"))
    return found


def _strategy(rollout: Object, path: str) -> list[Invalid]:
    found = faults.one_of(f"{path}.type", rollout.get("type"), _STRATEGIES, needed=True)
    rolling = rollout.get("rollingUpdate")
    if rollout.get("type") == "Recreate" and rolling is not None:
        text = "may not be specified when strategy `type` is 'Recreate'"
        found.append(faults.forbidden(f"{path}.rollingUpdate", text))
    elif rolling is not None:
        unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
        found += workloads.count_or_percent(unavailable, f"{path}.rollingUpdate.maxUnavailable", limit=100)
        found += workloads.count_or_percent(surge, f"{path}.rollingUpdate.maxSurge")
        if unavailable in (0, "0%") and surge in (0, "0%"):
            text = "may not be 0 when `maxSurge` is 0"
            found.append(faults.invalid(f"{path}.rollingUpdate.maxUnavailable", unavailable, text))
    return found


KIND = Kind(
    group="apps",
    version="v1",
    kind="Deployment",
    plural="deployments",
    namespaced=True,
    short_names=("deploy",),
    categories=("all",),
    subresources=("scale", "status"),
    columns=(
        NAME,
        Column("Ready", _ready, description="How many pods are ready, of how many wanted."),
        Column(
            "Up-to-date",
            at("status.updatedReplicas", 0),
            description="How many pods have the newest template.",
        ),
        Column(
            "Available",
            at("status.availableReplicas", 0),
            description="How many have been ready long enough.",
        ),
        AGE,
        *container_columns("spec.template.spec", "spec.selector"),
    ),
    default=_default,
    prepare=strategy.counted,
    validate=metadata.checked(_validate),
)
