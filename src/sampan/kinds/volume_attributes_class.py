"""VolumeAttributesClass (storage.k8s.io/v1): properties of volumes that may change while they are used."""

from __future__ import annotations

from sampan.kinds import metadata
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Kind

KIND = Kind(
    group="storage.k8s.io",
    version="v1",
    kind="VolumeAttributesClass",
    plural="volumeattributesclasses",
    namespaced=False,
    short_names=("vac",),
    columns=(NAME, Column("DriverName", at("driverName"), description="The driver it is for."), AGE),
    validate=metadata.checked(namespaced=False),
)
