"""StorageVersionMigration (storagemigration.k8s.io/v1): the wish that all objects of a resource be stored anew."""

from __future__ import annotations

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import NAME
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import conditions, names
from sampan.machinery.objects import Object, get


def _resource(obj: Object, now: float) -> str:
    resource, group = get(obj, "spec.resource.resource", ""), get(obj, "spec.resource.group", "")
    return f"{resource}.{group}" if group else str(resource)


def _status(obj: Object, now: float) -> str:
    shown = "Unknown"
    for condition in conditions.of(obj):
        if condition.get("status") == "True" and condition["type"] in ("Running", "Failed", "Succeeded"):
            shown = condition["type"]
    return shown


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    resource, group = get(obj, "spec.resource.resource", ""), get(obj, "spec.resource.group", "")
    found: list[Invalid] = []
    if not resource:
        found.append(faults.required("spec.resource.resource", "resource is required to be set"))
    elif wrong := names.service_name(resource):
        found.append(faults.invalid("spec.resource.resource", resource, ",".join(wrong)))
    if group and (wrong := names.dns_subdomain(group)):
        found.append(faults.invalid("spec.resource.group", group, ",".join(wrong)))
    if old is not None:
        found += faults.immutable("spec", obj.get("spec"), old.get("spec"))
        found += _outcome(obj, old)
    return found


def _outcome(obj: Object, old: Object) -> list[Invalid]:
    """An end stays."""
    path, shown = "status.conditions", list(conditions.of(obj))
    found: list[Invalid] = []
    before, after = get(old, "status.resourceVersion"), get(obj, "status.resourceVersion")
    if before and before != after:
        found.append(faults.invalid("status.resourceVersion", after, faults.IMMUTABLE))
    if conditions.is_true(obj, "Succeeded") and conditions.is_true(obj, "Failed"):
        text = "Both success and failed conditions cannot be true at the same time"
        found.append(faults.invalid(path, shown, text))
    for type_, word in (("Succeeded", "Success"), ("Failed", "Failed")):
        if conditions.is_true(old, type_) and not conditions.is_true(obj, type_):
            text = f"{word} condition cannot be set to false once it is true"
            found.append(faults.invalid(path, shown, text))
    return found


KIND = Kind(
    group="storagemigration.k8s.io",
    version="v1",
    kind="StorageVersionMigration",
    plural="storageversionmigrations",
    namespaced=False,
    subresources=("status",),
    columns=(
        NAME,
        Column("Resource", _resource, description="What is stored anew."),
        Column("Status", _status, description="How far it is."),
    ),
    prepare=strategy.uncounted,
    validate=metadata.checked(_validate, namespaced=False),
)
