"""VolumeAttachment (storage.k8s.io/v1): a volume attached to a node."""

from __future__ import annotations

from sampan.kinds import metadata, strategy
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Kind

KIND = Kind(
    group="storage.k8s.io",
    version="v1",
    kind="VolumeAttachment",
    plural="volumeattachments",
    namespaced=False,
    subresources=("status",),
    columns=(
        NAME,
        Column("Attacher", at("spec.attacher"), format="name", description="The driver that attaches it."),
        Column("PV", at("spec.source.persistentVolumeName"), description="The volume."),
        Column("Node", at("spec.nodeName"), description="The node."),
        Column("Attached", at("status.attached", False), type="boolean"),
        AGE,
    ),
    prepare=strategy.uncounted,
    validate=metadata.checked(namespaced=False),
)
