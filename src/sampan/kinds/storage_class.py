"""StorageClass (storage.k8s.io/v1): how volumes are made for claims that ask for it."""

from __future__ import annotations

from sampan.kinds import faults, metadata
from sampan.kinds.columns import AGE, NAME, UNSET, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object, get

DEFAULT = "storageclass.kubernetes.io/is-default-class"
_OLD_DEFAULT = "storageclass.beta.kubernetes.io/is-default-class"
_MODES = ("Immediate", "WaitForFirstConsumer")


def is_default(obj: Object) -> bool:
    """Whether claims without a class get this one."""
    annotations = get(obj, "metadata.annotations", {})
    return "true" in (annotations.get(DEFAULT), annotations.get(_OLD_DEFAULT))


def _name(obj: Object, now: float) -> str:
    name = str(get(obj, "metadata.name", ""))
    return f"{name} (default)" if is_default(obj) else name


def _expansion(obj: Object, now: float) -> str:
    return "true" if obj.get("allowVolumeExpansion") else "false"


def _default(obj: Object) -> None:
    obj["reclaimPolicy"] = obj.get("reclaimPolicy") or "Delete"
    obj["volumeBindingMode"] = obj.get("volumeBindingMode") or "Immediate"


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    provisioner = obj.get("provisioner") or ""
    found = [] if provisioner else [faults.required("provisioner")]
    if provisioner:
        found += faults.each_invalid("provisioner", provisioner, names.qualified(provisioner.lower()))
    found += faults.one_of("reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain"))
    found += faults.one_of("volumeBindingMode", obj.get("volumeBindingMode"), _MODES, needed=True)
    if old is not None:
        for field in ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"):
            found += faults.immutable(field, obj.get(field), old.get(field))
    return found


KIND = Kind(
    group="storage.k8s.io",
    version="v1",
    kind="StorageClass",
    plural="storageclasses",
    namespaced=False,
    short_names=("sc",),
    columns=(
        Column("Name", _name, format="name", description=NAME.description),
        Column("Provisioner", at("provisioner"), description="Who makes the volumes."),
        Column(
            "ReclaimPolicy",
            at("reclaimPolicy", UNSET),
            description="What becomes of a volume that is released.",
        ),
        Column("VolumeBindingMode", at("volumeBindingMode", UNSET), description="When volumes are bound."),
        Column("AllowVolumeExpansion", _expansion, description="Whether volumes can grow."),
        AGE,
    ),
    default=_default,
    validate=metadata.checked(_validate, namespaced=False),
)
