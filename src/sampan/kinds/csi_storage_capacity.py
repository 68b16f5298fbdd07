"""CSIStorageCapacity (storage.k8s.io/v1): how much storage a driver has left where."""

from __future__ import annotations

from sampan.kinds import metadata
from sampan.kinds.columns import NAME, at
from sampan.kinds.kind import Column, Kind

KIND = Kind(
    group="storage.k8s.io",
    version="v1",
    kind="CSIStorageCapacity",
    plural="csistoragecapacities",
    namespaced=True,
    columns=(
        NAME,
        Column("StorageClassName", at("storageClassName"), description="The class of that storage."),
        Column("Capacity", at("capacity"), description="How much is left."),
    ),
    validate=metadata.checked(),
)
