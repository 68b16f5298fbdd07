"""Whether a pod's volumes can be had on a node, and which claims wait for a node to be chosen."""

from __future__ import annotations

from dataclasses import dataclass

from sampan.machinery import claims
from sampan.machinery.objects import Key, Object
from sampan.scheduler.simple_snapshot import Node, Snapshot

CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
NO_VOLUME = "node(s) didn't find available persistent volumes to bind"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`bound` are the volumes of bound claims. `waiting` pairs claims that wait for a node with whether
    they can be provisioned.

    `fault` says why no node will do at all.
    """

    bound: tuple[Object, ...] = ()
    waiting: tuple[tuple[Object, bool], ...] = ()
    fault: str = ""
    free: tuple[Object, ...] = ()

    def reason(self, node: Node) -> str | None:
        if any(not claims.reachable(volume, node.object) for volume in self.bound):
            return CONFLICT
        taken: set[str] = set()
        for claim, provisioned in self.waiting:
            left = [v for v in self.free if v["metadata"]["name"] not in taken]
            found = claims.best_match(claim, left, node.object)
            if found:
                taken.add(found["metadata"]["name"])
            elif not provisioned:
                return NO_VOLUME
        return None


def of(pod: Object, snapshot: Snapshot) -> Wanted:
    known = snapshot.volumes
    bound, waiting = [], []
    for name in claims.of_pod(pod):
        claim = known.claims.get(Key(pod["metadata"]["namespace"], name))
        if claim is None:
            return Wanted(fault=f'persistentvolumeclaim "{name}" not found')
        if "deletionTimestamp" in claim["metadata"]:
            return Wanted(fault=f'persistentvolumeclaim "{name}" is being deleted')
        if claim["spec"].get("volumeName"):
            volume = known.volumes.get(claim["spec"]["volumeName"])
            if volume is None:
                return Wanted(
                    fault="node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
                )
            bound.append(volume)
            continue
        found = known.classes.get(claim["spec"].get("storageClassName") or "") or {}
        if found.get("volumeBindingMode") != "WaitForFirstConsumer":
            return Wanted(fault="pod has unbound immediate PersistentVolumeClaims")
        waiting.append((claim, found.get("provisioner") != claims.NO_PROVISIONER))
    free = tuple(known.volumes.values()) if waiting else ()
    return Wanted(tuple(bound), tuple(waiting), free=free)
