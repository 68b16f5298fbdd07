"""NodeVolumeLimits: a node attaches at most so many volumes of a CSI driver (CSINode, `drivers[].allocatable.count`).

A driver may also ask that no pod with its volumes goes where it is not installed (KEP-4876, KEP-5030).
"""

from __future__ import annotations

from collections import Counter

from sampan.machinery.objects import Object
from sampan.scheduler.framework import SKIP, Plugin, PreFiltered, Status, failed, unresolvable, unschedulable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins import in_tree, volumes
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import (
    ATTACHMENTS,
    CLAIMS,
    CSI_DRIVERS,
    CSI_NODES,
    STORAGE_CLASSES,
    VOLUMES,
    Snapshot,
)

# Volumes with the driver of each; one that is not yet made goes by its claim.
Attached = dict[str, str]


class NodeVolumeLimits(Plugin):
    name = "NodeVolumeLimits"

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        for volume in pod.spec.get("volumes") or ():
            if volume.get("persistentVolumeClaim") or volume.get("ephemeral") or in_tree.is_known(volume):
                return PreFiltered(snapshot)
        return SKIP

    def filter(self, state: Snapshot, pod: PodInfo, node: NodeInfo) -> Status | None:
        csi_node = state.get(CSI_NODES, node.name)
        new: Attached = {}
        if status := attachable(state, pod, csi_node, new, is_new=True):
            return status
        if not new:
            return None
        for driver in sorted(set(new.values())):
            if not _is_installed(state, driver, csi_node):
                return unschedulable(f"{driver} CSI driver is not installed on the node")
        limits = _limits(csi_node)
        if not limits:
            return None
        attached: Attached = {}
        for other in node.pods.values():
            if status := attachable(state, other, csi_node, attached, is_new=False):
                return status
        elsewhere = {name: d for name, d in _attachments(state, node.name).items() if name not in attached}
        count = Counter([*attached.values(), *elsewhere.values()])
        more = Counter(driver for name, driver in new.items() if name not in attached)
        if any(count[driver] + n > limits[driver] for driver, n in more.items() if driver in limits):
            return unschedulable("node(s) exceed max volume count")
        return None


def attachable(
    snapshot: Snapshot, pod: PodInfo, csi_node: Object | None, found: Attached, *, is_new: bool
) -> Status | None:
    """Note the pod's volumes that a CSI driver attaches. What is missing matters only for the pod that is placed."""
    for volume in pod.spec.get("volumes") or ():
        if csi_node is not None and (inline := in_tree.of_volume(volume)) is not None:
            found["/".join(inline)] = inline[0]
    for name, ephemeral in volumes.claimed(pod):
        if not name.name:
            return failed("PersistentVolumeClaim had no name")
        claim = snapshot.get(CLAIMS, name.name, name.namespace)
        if claim is None:
            if is_new:
                return unresolvable(f'looking up PVC {name}: persistentvolumeclaim "{name.name}" not found')
            continue
        if ephemeral and (fault := volumes.fault_of_owner(pod, claim)):
            return failed(fault)
        if (source := _source(snapshot, claim, csi_node)) is not None:
            found["/".join(source)] = source[0]
    return None


def _source(snapshot: Snapshot, claim: Object, csi_node: Object | None) -> tuple[str, str] | None:
    """The driver and the handle of the claim's volume, or of the one that its class will make."""
    volume = snapshot.get(VOLUMES, claim["spec"].get("volumeName") or "")
    if volume is None:
        return _of_class(snapshot, claim, csi_node)
    if (csi := volume["spec"].get("csi")) is not None:
        return (csi["driver"], csi["volumeHandle"]) if csi.get("driver") and csi.get("volumeHandle") else None
    return in_tree.of_volume(volume["spec"]) if csi_node is not None else None


def _of_class(snapshot: Snapshot, claim: Object, csi_node: Object | None) -> tuple[str, str] | None:
    storage_class = snapshot.get(STORAGE_CLASSES, volumes.class_of(claim))
    if storage_class is None or not (driver := storage_class.get("provisioner")):
        return None
    meta = claim["metadata"]
    handle = f"unbound-{meta.get('namespace', '')}/{meta['name']}"
    if driver in in_tree.PROVISIONERS:
        driver = in_tree.PROVISIONERS[driver] if csi_node is not None else ""
    return (driver, handle) if driver else None


def _is_installed(snapshot: Snapshot, driver: str, csi_node: Object | None) -> bool:
    """False only where the driver asks for this check and is not on the node."""
    found = snapshot.get(CSI_DRIVERS, driver)
    if found is None or not (found.get("spec") or {}).get("preventPodSchedulingIfMissing"):
        return True
    return any(d["name"] == driver for d in _drivers(csi_node))


def _drivers(csi_node: Object | None) -> list[Object]:
    return ((csi_node or {}).get("spec") or {}).get("drivers") or []


def _limits(csi_node: Object | None) -> dict[str, int]:
    counts = {d["name"]: (d.get("allocatable") or {}).get("count") for d in _drivers(csi_node)}
    return {name: count for name, count in counts.items() if count is not None}


def _attachments(snapshot: Snapshot, node: str) -> Attached:
    """The volumes that VolumeAttachments hold on a node."""
    found: Attached = {}
    for attachment in snapshot.list(ATTACHMENTS):
        spec = attachment["spec"]
        name = (spec.get("source") or {}).get("persistentVolumeName")
        if spec.get("nodeName") != node or not spec.get("attacher") or name is None:
            continue
        csi = ((snapshot.get(VOLUMES, name) or {}).get("spec") or {}).get("csi")
        if csi is not None:
            found[f"{spec['attacher']}/{csi.get('volumeHandle', '')}"] = spec["attacher"]
    return found
