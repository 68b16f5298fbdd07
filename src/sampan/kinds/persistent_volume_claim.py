"""PersistentVolumeClaim (core/v1): a wish for storage, bound to a PersistentVolume that grants it."""

from __future__ import annotations

from sampan.kinds import faults, label_selectors, metadata, strategy
from sampan.kinds.columns import AGE, NAME, UNSET, access_modes, at
from sampan.kinds.containers import positive
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names, quantities
from sampan.machinery.objects import Object, get

MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
_IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def storage_class(claim: Object) -> str:
    """The name of its class: the old annotation goes before the field."""
    return str(
        (get(claim, "metadata.annotations") or {}).get(_OLD_CLASS) or get(claim, "spec.storageClassName", "")
    )


def _status(obj: Object, now: float) -> str:
    return "Terminating" if get(obj, "metadata.deletionTimestamp") else str(get(obj, "status.phase", ""))


def _capacity(obj: Object, now: float) -> str:
    return str(get(obj, "status.capacity.storage", "0")) if get(obj, "spec.volumeName") else ""


def _modes(obj: Object, now: float) -> str:
    return access_modes(get(obj, "status.accessModes", ())) if get(obj, "spec.volumeName") else ""


def default(obj: Object) -> None:
    obj.setdefault("status", {}).setdefault("phase", "Pending")
    spec = obj.setdefault("spec", {})
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    spec["resources"] = spec.get("resources") or {}


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    strategy.uncounted(obj, old, subresource)
    if old is None:
        obj["status"] = {"phase": "Pending"}


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found = modes(spec.get("accessModes") or [], "spec.accessModes", "at least 1 access mode is required")
    found += label_selectors.validate(spec.get("selector"), "spec.selector", needed=False)
    wanted = get(spec, "resources.requests.storage")
    if wanted is None:
        found.append(faults.required("spec.resources[storage]"))
    else:
        found += positive(wanted, "spec.resources[storage]", zero=False)
    if name := spec.get("storageClassName"):
        found += faults.each_invalid("spec.storageClassName", name, names.dns_subdomain(name))
    found += faults.one_of("spec.volumeMode", spec.get("volumeMode"), ("Block", "Filesystem"))
    return found + (_changes(obj, old) if old is not None else [])


def modes(found_modes: list[str], path: str, detail: str = "") -> list[Invalid]:
    """Faults of access modes, for claims and volumes."""
    found = [] if found_modes else [faults.required(path, detail)]
    found += [faults.unsupported(path, m, MODES) for m in found_modes if m not in MODES]
    if "ReadWriteOncePod" in found_modes and len(set(found_modes)) > 1:
        found.append(faults.forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return found


def _changes(obj: Object, old: Object) -> list[Invalid]:
    """Only a binding may be added; a bound claim may grow."""
    spec, before = obj["spec"], old["spec"]
    free = ["resources", "volumeAttributesClassName"] if get(obj, "status.phase") == "Bound" else []
    free += [] if before.get("volumeName") else ["volumeName"]
    free += [] if before.get("storageClassName") is not None else ["storageClassName"]

    def fixed(found: Object) -> Object:
        return {k: v for k, v in found.items() if k not in free and v not in (None, [], {})}

    found: list[Invalid] = []
    if fixed(spec) != fixed(before):
        found.append(faults.forbidden("spec", _IMMUTABLE))
    size = quantities.parse(get(spec, "resources.requests.storage", "0"))
    if size < quantities.parse(get(before, "resources.requests.storage", "0")) and "resources" in free:
        text = "field can not be less than status.capacity"
        if size <= quantities.parse(get(old, "status.capacity.storage", "0")):
            found.append(faults.forbidden("spec.resources.requests.storage", text))
    return found


KIND = Kind(
    group="",
    version="v1",
    kind="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    namespaced=True,
    short_names=("pvc",),
    subresources=("status",),
    columns=(
        NAME,
        Column("Status", _status, description="Whether it is bound."),
        Column("Volume", at("spec.volumeName"), description="The volume it is bound to."),
        Column("Capacity", _capacity, description="How much that volume holds."),
        Column("Access Modes", _modes, description="How that volume can be mounted."),
        Column("StorageClass", lambda obj, now: storage_class(obj), description="Its storage class."),
        Column("VolumeAttributesClass", at("spec.volumeAttributesClassName", UNSET)),
        AGE,
        Column("VolumeMode", at("spec.volumeMode", UNSET), wide=True, description="Filesystem or Block."),
    ),
    default=default,
    prepare=_prepare,
    validate=metadata.checked(_validate),
)
