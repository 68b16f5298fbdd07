"""PodGroup (scheduling.k8s.io/v1beta1): pods that are scheduled together, a gang all or nothing."""

from __future__ import annotations

from sampan.kinds import faults, metadata, pod_group_policy, strategy
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec["disruptionMode"] = spec.get("disruptionMode") or {"single": {}}


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    pod_group_policy.drop_disabled(obj.get("spec") or {})
    strategy.counted(obj, old, subresource)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec, before = obj.get("spec") or {}, old and (old.get("spec") or {})
    found = pod_group_policy.validate(spec, before, "spec")
    if ref := spec.get("workloadRef"):
        for name, check in (("workloadName", names.dns_subdomain), ("templateName", names.dns_label)):
            path, value = f"spec.workloadRef.{name}", ref.get(name)
            found += faults.each_invalid(path, value, check(value)) if value else [faults.required(path)]
    if before is not None:
        found += faults.immutable("spec.workloadRef", spec.get("workloadRef"), before.get("workloadRef"))
    return found


def _policy(obj: Object, now: float) -> str:
    return "Gang" if "gang" in ((obj.get("spec") or {}).get("schedulingPolicy") or {}) else "Basic"


def _status(obj: Object, now: float) -> str:
    conditions = {c["type"]: c for c in (obj.get("status") or {}).get("conditions") or ()}
    if "DisruptionTarget" in conditions:
        return str(conditions["DisruptionTarget"].get("reason", ""))
    scheduled = conditions.get("PodGroupInitiallyScheduled")
    if scheduled is None:
        return "Pending"
    return "Scheduled" if scheduled["status"] == "True" else "Unschedulable"


KIND = Kind(
    group="scheduling.k8s.io",
    version="v1beta1",
    kind="PodGroup",
    plural="podgroups",
    namespaced=True,
    subresources=("status",),
    columns=(
        NAME,
        Column("Policy", _policy, description="Gang: all or nothing. Basic: each pod for itself."),
        Column(
            "Workload", at("spec.workloadRef.workloadName", "<none>"), description="What it was made from."
        ),
        Column("Status", _status, description="Whether its pods have found their nodes."),
        AGE,
    ),
    default=_default,
    prepare=_prepare,
    validate=metadata.checked(_validate),
)
