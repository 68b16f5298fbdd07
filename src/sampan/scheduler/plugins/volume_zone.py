"""VolumeZone: a pod with volumes that are labelled with a zone or region goes only there."""

from __future__ import annotations

from sampan.machinery.objects import Object
from sampan.scheduler.framework import SKIP, Plugin, PreFiltered, Status, unresolvable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins.volumes import class_of
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import CLAIMS, STORAGE_CLASSES, VOLUMES, Snapshot

# The labels, the old names first, and today's name of each.
LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
}
# A label's value may name several zones.
SEPARATOR = "__"
Topology = tuple[str, frozenset[str]]


class VolumeZone(Plugin):
    name = "VolumeZone"

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        found: list[Topology] = []
        for name in pod.claims:
            if not name.name:
                return unresolvable("PersistentVolumeClaim had no name")
            claim = snapshot.get(CLAIMS, name.name, name.namespace)
            if claim is None:
                return unresolvable(f'persistentvolumeclaim "{name.name}" not found')
            if not (volume := claim["spec"].get("volumeName")):
                if status := _without_volume(claim, snapshot):
                    return status
                continue
            if (persistent := snapshot.get(VOLUMES, volume)) is None:
                return unresolvable(f'persistentvolume "{volume}" not found')
            found += topologies(persistent)
        return PreFiltered(found) if found else SKIP

    def filter(self, state: list[Topology], pod: PodInfo, node: NodeInfo) -> Status | None:
        if not any(label in node.labels for label in LABELS):
            return None
        for key, values in state:
            value = node.labels.get(key, node.labels.get(LABELS[key]))
            if value is None or value not in values:
                return unresolvable("node(s) had no available volume zone")
        return None


def _without_volume(claim: Object, snapshot: Snapshot) -> Status | None:
    """A claim without a volume is fine only where it waits for the pod's node."""
    if not (name := class_of(claim)):
        return unresolvable("PersistentVolumeClaim had no pv name and storageClass name")
    if (storage_class := snapshot.get(STORAGE_CLASSES, name)) is None:
        return unresolvable(f'storageclass.storage.k8s.io "{name}" not found')
    mode = storage_class.get("volumeBindingMode")
    if mode is None:
        return unresolvable(f'VolumeBindingMode not set for StorageClass "{name}"')
    return None if mode == "WaitForFirstConsumer" else unresolvable("PersistentVolume had no name")


def topologies(volume: Object) -> list[Topology]:
    """The zones and regions that a volume's labels name."""
    labels = volume["metadata"].get("labels") or {}
    found = [
        (key, frozenset(part.strip() for part in labels[key].split(SEPARATOR)))
        for key in LABELS
        if key in labels
    ]
    # A label with an empty part is not a list of zones, and is passed over.
    return [(key, values) for key, values in found if "" not in values]
