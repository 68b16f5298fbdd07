"""CSIDriver (storage.k8s.io/v1): what a CSI driver can do and wants."""

from __future__ import annotations

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, NONE, UNSET, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get

_DEFAULTS = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "requiresRepublish": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "seLinuxMount": False,
}


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for name, value in _DEFAULTS.items():
        if spec.get(name) is None:
            spec[name] = value
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def _modes(obj: Object, now: float) -> str:
    return ",".join(get(obj, "spec.volumeLifecycleModes", ())) or NONE


def _tokens(obj: Object, now: float) -> str:
    found = get(obj, "spec.tokenRequests")
    return UNSET if found is None else ",".join(t.get("audience", "") for t in found)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found: list[Invalid] = []
    for index, mode in enumerate(spec.get("volumeLifecycleModes") or ()):
        path = f"spec.volumeLifecycleModes[{index}]"
        found += faults.one_of(path, mode, ("Ephemeral", "Persistent"), needed=True)
    if old is not None:
        found += faults.immutable(
            "spec.attachedRequired", spec.get("attachRequired"), old["spec"].get("attachRequired")
        )
    return found


KIND = Kind(
    group="storage.k8s.io",
    version="v1",
    kind="CSIDriver",
    plural="csidrivers",
    namespaced=False,
    columns=(
        NAME,
        Column("AttachRequired", at("spec.attachRequired", True), type="boolean"),
        Column("PodInfoOnMount", at("spec.podInfoOnMount", False), type="boolean"),
        Column("StorageCapacity", at("spec.storageCapacity", False), type="boolean"),
        Column("TokenRequests", _tokens),
        Column("RequiresRepublish", at("spec.requiresRepublish", False), type="boolean"),
        Column("Modes", _modes, description="Which volumes it makes: persistent, ephemeral."),
        AGE,
    ),
    default=_default,
    prepare=strategy.counted_whole,
    validate=metadata.checked(_validate, namespaced=False),
)
