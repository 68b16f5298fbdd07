"""DeviceClass (resource.k8s.io/v1): a sort of devices that claims ask for, selected by what they are."""

from __future__ import annotations

from sampan.kinds import device_claims, metadata, strategy
from sampan.kinds.columns import AGE, NAME
from sampan.kinds.kind import Invalid, Kind
from sampan.machinery.objects import Object


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj.get("spec") or {}
    found = device_claims.selectors(spec.get("selectors") or (), "spec.selectors")
    for i, config in enumerate(spec.get("config") or ()):
        found += device_claims.opaque(config, f"spec.config[{i}]")
    return found


KIND = Kind(
    group="resource.k8s.io",
    version="v1",
    kind="DeviceClass",
    plural="deviceclasses",
    namespaced=False,
    columns=(NAME, AGE),
    prepare=strategy.counted_whole,
    validate=metadata.checked(_validate, namespaced=False),
)
