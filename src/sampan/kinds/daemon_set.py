"""DaemonSet (apps/v1): one pod on every node that suits."""

from __future__ import annotations

from sampan.kinds import faults, label_selectors, metadata, pod_defaults, strategy, workloads
from sampan.kinds.columns import AGE, NAME, at, container_columns, labels_text
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get

_STRATEGIES = ("RollingUpdate", "OnDelete")


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = 10
    pod_defaults.default_template(spec.setdefault("template", {}))
    update = spec["updateStrategy"] = spec.get("updateStrategy") or {}
    update["type"] = update.get("type") or "RollingUpdate"
    if update["type"] == "RollingUpdate":
        rolling = update["rollingUpdate"] = update.get("rollingUpdate") or {}
        for name, value in (("maxUnavailable", 1), ("maxSurge", 0)):
            if rolling.get(name) is None:
                rolling[name] = value


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found = label_selectors.validate(spec.get("selector"), "spec.selector", whose="daemonset")
    found += workloads.template(spec)
    for name in ("minReadySeconds", "revisionHistoryLimit"):
        found += faults.not_negative(f"spec.{name}", spec.get(name))
    found += _strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    if old is not None:
        found += faults.immutable("spec.selector", spec.get("selector"), old["spec"].get("selector"))
    return found


def _strategy(update: Object, path: str) -> list[Invalid]:
    found = faults.one_of(f"{path}.type", update.get("type"), _STRATEGIES, needed=True)
    rolling = update.get("rollingUpdate")
    if update.get("type") != "RollingUpdate" or rolling is None:
        return found
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    at_path = f"{path}.rollingUpdate"
    found += workloads.count_or_percent(unavailable, f"{at_path}.maxUnavailable", limit=100)
    found += workloads.count_or_percent(surge, f"{at_path}.maxSurge", limit=100)
    idle, still = unavailable in (0, "0%", None), surge in (0, "0%", None)
    if idle and still:
        found.append(
            faults.invalid(f"{at_path}.maxUnavailable", unavailable, "cannot be 0 when maxSurge is 0")
        )
    elif not idle and not still:
        text = "may not be set when maxUnavailable is non-zero"
        found.append(faults.invalid(f"{at_path}.maxSurge", surge, text))
    return found


def _node_selector(obj: Object, now: float) -> str:
    return labels_text(get(obj, "spec.template.spec.nodeSelector"))


def _number(name: str, field: str, description: str) -> Column:
    return Column(name, at(f"status.{field}", 0), type="integer", description=description)


KIND = Kind(
    group="apps",
    version="v1",
    kind="DaemonSet",
    plural="daemonsets",
    namespaced=True,
    short_names=("ds",),
    categories=("all",),
    subresources=("status",),
    columns=(
        NAME,
        _number("Desired", "desiredNumberScheduled", "How many nodes should run a pod."),
        _number("Current", "currentNumberScheduled", "How many of those do."),
        _number("Ready", "numberReady", "How many of these are ready."),
        _number("Up-to-date", "updatedNumberScheduled", "How many have the newest template."),
        _number("Available", "numberAvailable", "How many have been ready long enough."),
        Column("Node Selector", _node_selector, description="Which nodes its pods want."),
        AGE,
        *container_columns("spec.template.spec", "spec.selector"),
    ),
    default=_default,
    prepare=strategy.counted,
    validate=metadata.checked(_validate),
)
