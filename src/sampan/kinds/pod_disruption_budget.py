"""PodDisruptionBudget (policy/v1): how many pods an eviction may leave."""

from __future__ import annotations

from sampan.kinds import faults, label_selectors, metadata, strategy, workloads
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get


def _shown(field: str) -> Column:
    name = {"minAvailable": "Min Available", "maxUnavailable": "Max Unavailable"}[field]
    return Column(name, lambda obj, now: str(get(obj, f"spec.{field}", "N/A")))


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    found: list[Invalid] = []
    if least is not None and most is not None:
        found.append(faults.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    found += workloads.count_or_percent(least, "spec.minAvailable", limit=100)
    found += workloads.count_or_percent(most, "spec.maxUnavailable", limit=100)
    policy = spec.get("unhealthyPodEvictionPolicy")
    found += faults.one_of("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))
    return found + label_selectors.validate(spec.get("selector"), "spec.selector", needed=False)


KIND = Kind(
    group="policy",
    version="v1",
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    namespaced=True,
    short_names=("pdb",),
    subresources=("status",),
    columns=(
        NAME,
        _shown("minAvailable"),
        _shown("maxUnavailable"),
        Column("Allowed Disruptions", at("status.disruptionsAllowed", 0), type="integer"),
        AGE,
    ),
    prepare=strategy.counted,
    validate=metadata.checked(_validate),
)
