"""PersistentVolume (core/v1): a piece of storage, with its own life."""

from __future__ import annotations

from sampan.kinds import affinity, faults, metadata, persistent_volume_claim, strategy, volumes
from sampan.kinds.columns import AGE, NAME, UNSET, access_modes, at
from sampan.kinds.containers import positive
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object, get

_POLICIES = ("Delete", "Recycle", "Retain")
_NOT_SOURCES = {
    "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
    "storageClassName", "volumeAttributesClassName", "volumeMode",
}  # fmt: skip


def _status(obj: Object, now: float) -> str:
    return "Terminating" if get(obj, "metadata.deletionTimestamp") else str(get(obj, "status.phase", ""))


def _claim(obj: Object, now: float) -> str:
    claim = get(obj, "spec.claimRef")
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


def _default(obj: Object) -> None:
    obj.setdefault("status", {}).setdefault("phase", "Pending")
    spec = obj.setdefault("spec", {})
    spec["persistentVolumeReclaimPolicy"] = spec.get("persistentVolumeReclaimPolicy") or "Retain"
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    if spec.get("hostPath") is not None and spec["hostPath"].get("type") is None:
        spec["hostPath"]["type"] = ""


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    strategy.uncounted(obj, old, subresource)
    if old is None:
        obj["status"] = {"phase": "Pending"}


def sources(spec: Object) -> list[str]:
    """What kinds of storage it names; there should be one."""
    return [k for k, v in spec.items() if k not in _NOT_SOURCES and v is not None]


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found = persistent_volume_claim.modes(spec.get("accessModes") or [], "spec.accessModes")
    capacity = spec.get("capacity") or {}
    if not capacity:
        found.append(faults.required("spec.capacity"))
    if set(capacity) != {"storage"}:
        found.append(faults.unsupported("spec.capacity", capacity, ("storage",)))
    for name, amount in capacity.items():
        found += positive(amount, f"spec.capacity[{name}]", zero=False)
    policy = spec.get("persistentVolumeReclaimPolicy")
    found += faults.one_of("spec.persistentVolumeReclaimPolicy", policy, _POLICIES)
    found += faults.one_of("spec.volumeMode", spec.get("volumeMode"), ("Block", "Filesystem"))
    if name := spec.get("storageClassName"):
        found += faults.each_invalid("spec.storageClassName", name, names.dns_subdomain(name))
    found += _source(spec)
    if old is not None:
        before = old["spec"]
        if {k: spec[k] for k in sources(spec)} != {k: before[k] for k in sources(before)}:
            text = "spec.persistentvolumesource is immutable after creation"
            found.append(faults.forbidden("spec.persistentvolumesource", text))
        found += faults.immutable("spec.volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    return found


def _source(spec: Object) -> list[Invalid]:
    given = sources(spec)
    if not given:
        return [faults.required("spec", "must specify a volume type")]
    found = [faults.forbidden(f"spec.{k}", "may not specify more than 1 volume type") for k in given[1:]]
    required = get(spec, "nodeAffinity.required")
    if required is not None:
        found += affinity.node_selector(required, "spec.nodeAffinity.required")
    if "hostPath" in given:
        found += volumes.host_path(spec["hostPath"], "spec.hostPath")
        if spec["hostPath"].get("path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            text = "may not be 'recycle' for a hostPath mount of '/'"
            found.append(faults.forbidden("spec.persistentVolumeReclaimPolicy", text))
    if "local" in given:
        if not spec["local"].get("path"):
            found.append(faults.required("spec.local.path"))
        if required is None:
            found.append(faults.required("spec.nodeAffinity", "Local volume requires node affinity"))
    return found


KIND = Kind(
    group="",
    version="v1",
    kind="PersistentVolume",
    plural="persistentvolumes",
    namespaced=False,
    short_names=("pv",),
    subresources=("status",),
    columns=(
        NAME,
        Column("Capacity", at("spec.capacity.storage", "0"), description="How much it holds."),
        Column("Access Modes", lambda obj, now: access_modes(get(obj, "spec.accessModes", ()))),
        Column(
            "Reclaim Policy",
            at("spec.persistentVolumeReclaimPolicy"),
            description="What follows its release.",
        ),
        Column("Status", _status, description="Whether it is bound, available or released."),
        Column("Claim", _claim, description="The claim it is bound to."),
        Column("StorageClass", lambda obj, now: persistent_volume_claim.storage_class(obj)),
        Column("VolumeAttributesClass", at("spec.volumeAttributesClassName", UNSET)),
        Column("Reason", at("status.reason"), description="Why it is in this state."),
        AGE,
        Column("VolumeMode", at("spec.volumeMode", UNSET), wide=True, description="Filesystem or Block."),
    ),
    fields=lambda obj: {"name": get(obj, "metadata.name", "")},
    default=_default,
    prepare=_prepare,
    validate=metadata.checked(_validate, namespaced=False),
)
