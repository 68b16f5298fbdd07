"""CSINode (storage.k8s.io/v1): which CSI drivers a node has."""

from __future__ import annotations

from sampan.kinds import metadata
from sampan.kinds.columns import AGE, NAME, count
from sampan.kinds.kind import Column, Kind

KIND = Kind(
    group="storage.k8s.io",
    version="v1",
    kind="CSINode",
    plural="csinodes",
    namespaced=False,
    columns=(NAME, Column("Drivers", count("spec.drivers"), type="integer"), AGE),
    validate=metadata.checked(namespaced=False),
)
