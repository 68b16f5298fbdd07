"""VolumeRestrictions: disks that only one pod at a time may use, and claims for a single pod (ReadWriteOncePod)."""

from __future__ import annotations

from dataclasses import dataclass

from sampan.machinery.objects import Key, Object
from sampan.scheduler.framework import SKIP, Plugin, PreFiltered, Status, unresolvable, unschedulable
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import CLAIMS, Snapshot

EXCLUSIVE = "ReadWriteOncePod"


@dataclass(slots=True)
class Users:
    """The pod's claims for a single pod, and how many uses of them by other pods there are."""

    claims: frozenset[Key]
    others: int

    def clone(self) -> Users:
        return Users(self.claims, self.others)


class VolumeRestrictions(Plugin):
    name = "VolumeRestrictions"

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        exclusive = set()
        for name in pod.claims:
            claim = snapshot.get(CLAIMS, name.name, name.namespace)
            if claim is None:
                return unresolvable(f'persistentvolumeclaim "{name.name}" not found')
            if EXCLUSIVE in (claim["spec"].get("accessModes") or ()):
                exclusive.add(name)
        used = sum(1 for name in exclusive if any(node.claims[name] > 0 for node in snapshot.nodes.values()))
        if not used and not any(_is_disk(volume) for volume in pod.spec.get("volumes") or ()):
            return SKIP
        return PreFiltered(Users(frozenset(exclusive), used))

    def add_pod(self, state: Users, pod: PodInfo, other: PodInfo, node: NodeInfo) -> None:
        state.others += self._uses(state, pod, other)

    def remove_pod(self, state: Users, pod: PodInfo, other: PodInfo, node: NodeInfo) -> None:
        state.others -= self._uses(state, pod, other)

    def _uses(self, state: Users, pod: PodInfo, other: PodInfo) -> int:
        return sum(1 for name in other.claims if name in state.claims)

    def filter(self, state: Users, pod: PodInfo, node: NodeInfo) -> Status | None:
        disks = [volume for volume in pod.spec.get("volumes") or () if _is_disk(volume)]
        if disks and any(
            _conflict(disk, v) for disk in disks for p in node.pods.values() for v in _volumes(p)
        ):
            return unschedulable("node(s) had no available disk")
        if state.others > 0:
            return unschedulable(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode "
                "already in-use by another pod"
            )
        return None


def _volumes(pod: PodInfo) -> list[Object]:
    return pod.spec.get("volumes") or []


def _is_disk(volume: Object) -> bool:
    return any(volume.get(kind) for kind in ("gcePersistentDisk", "awsElasticBlockStore", "rbd", "iscsi"))


def _conflict(mine: Object, theirs: Object) -> bool:
    """Whether two volumes are the same disk, and not both only read it where that is allowed."""
    if _both(mine, theirs, "gcePersistentDisk", "pdName") and not _both_read(
        mine, theirs, "gcePersistentDisk"
    ):
        return True
    if _both(mine, theirs, "awsElasticBlockStore", "volumeID"):
        return True
    if _both(mine, theirs, "iscsi", "iqn") and not _both_read(mine, theirs, "iscsi"):
        return True
    if not _both(mine, theirs, "rbd", "image") or _both_read(mine, theirs, "rbd"):
        return False
    a, b = mine["rbd"], theirs["rbd"]
    return (a.get("pool") or "rbd") == (b.get("pool") or "rbd") and bool(
        set(a.get("monitors") or ()) & set(b.get("monitors") or ())
    )


def _both(mine: Object, theirs: Object, kind: str, field: str) -> bool:
    a, b = mine.get(kind), theirs.get(kind)
    return a is not None and b is not None and (a.get(field) or "") == (b.get(field) or "")


def _both_read(mine: Object, theirs: Object, kind: str) -> bool:
    return bool(mine[kind].get("readOnly")) and bool(theirs[kind].get("readOnly"))
