"""PriorityClass (scheduling.k8s.io/v1): which pods go first."""

from __future__ import annotations

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object

HIGHEST_OF_USERS = 10**9
_POLICIES = ("Never", "PreemptLowerPriority")


def _default(obj: Object) -> None:
    obj["preemptionPolicy"] = obj.get("preemptionPolicy") or "PreemptLowerPriority"
    obj.setdefault("value", 0)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    found = faults.one_of("preemptionPolicy", obj.get("preemptionPolicy"), _POLICIES)
    if not name.startswith("system-") and value > HIGHEST_OF_USERS:
        text = f"maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}"
        found.append(faults.forbidden("value", text))
    if old is not None:
        if value != old.get("value", 0):
            found.append(faults.forbidden("value", "may not be changed in an update."))
        policy = obj.get("preemptionPolicy")
        found += faults.immutable("preemptionPolicy", policy, old.get("preemptionPolicy"))
    return found


KIND = Kind(
    group="scheduling.k8s.io",
    version="v1",
    kind="PriorityClass",
    plural="priorityclasses",
    namespaced=False,
    short_names=("pc",),
    columns=(
        NAME,
        Column("Value", at("value", 0), type="integer", description="The larger, the sooner."),
        Column("Global-Default", at("globalDefault", False), type="boolean"),
        AGE,
        Column("PreemptionPolicy", at("preemptionPolicy"), description="Whether its pods displace others."),
    ),
    default=_default,
    prepare=strategy.counted_whole,
    validate=metadata.checked(_validate, namespaced=False),
)
