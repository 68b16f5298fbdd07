"""Volumes on the nodes' own disks: provisions a directory when a claim's first pod gets a node, deletes it
with the claim.

The StorageClass names the provisioner `sampan.io/local-path` and waits for its first consumer. When the
scheduler has noted the node, a PersistentVolume is created, already naming the claim, that only this node
can reach:

    spec.local.path = config.node_state(NODE) / "volumes" / NAME-OF-VOLUME
    annotation pv.kubernetes.io/provisioned-by = sampan.io/local-path

The node makes that directory when a pod first mounts it, and removes it when the PersistentVolume is
deleted. So to reclaim (policy Delete, claim gone), this controller deletes the PersistentVolume, and the
node does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from sampan.config import Config
from sampan.controllers import pods, volume_binder
from sampan.controllers.settings import Settings
from sampan.controllers.volume_binder import CLAIMS, CLASSES, VOLUMES, annotation
from sampan.machinery import quantities
from sampan.machinery.claims import SELECTED_NODE
from sampan.machinery.objects import Key, Object, get, key
from sampan.reconcile.controller import Action, Cache, Controller, Create, Delete, Emit, Patch, Plan, Watch

PROVISIONER = "sampan.io/local-path"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
HOSTNAME = "kubernetes.io/hostname"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A claim that waits for a volume; `node` is None where the selected one does not exist."""

    claim: Object
    storage_class: Object
    node: Object | None


@dataclass(frozen=True, slots=True)
class Growth:
    """A claim that asks for more than it has of a volume of ours."""

    claim: Object
    volume: Object


def observe(cache: Cache, name: Key) -> Wanted | Growth | Object | None:
    """A claim to provide for, one whose volume is to grow, or a volume to reclaim."""
    if not name.namespace:
        volume = cache.get(VOLUMES, name)
        return volume if volume and _is_over(volume) else None
    claim = cache.get(CLAIMS, name)
    if claim is None or pods.is_terminating(claim):
        return None
    if claim["spec"].get("volumeName"):
        volume = cache.get(VOLUMES, Key("", claim["spec"]["volumeName"]))
        return Growth(claim, volume) if volume and _grows(claim, volume) else None
    found = cache.get(CLASSES, Key("", claim["spec"].get("storageClassName") or ""))
    asked = annotation(claim, volume_binder.PROVISIONER) == PROVISIONER
    if not found or found.get("provisioner") != PROVISIONER or not asked:
        return None
    if cache.get(VOLUMES, Key("", volume_name(claim))):
        return None
    return Wanted(claim, found, cache.get("nodes", Key("", annotation(claim, SELECTED_NODE))))


def _grows(claim: Object, volume: Object) -> bool:
    if annotation(volume, PROVISIONED_BY) != PROVISIONER or get(claim, "status.phase") != "Bound":
        return False
    if get(volume, "spec.claimRef.uid") != claim["metadata"]["uid"]:
        return False
    wanted = quantities.parse(get(claim, "spec.resources.requests.storage", "0"))
    return quantities.parse(get(claim, "status.capacity.storage", "0")) < wanted


def _is_over(volume: Object) -> bool:
    return (
        annotation(volume, PROVISIONED_BY) == PROVISIONER
        and (volume.get("status") or {}).get("phase") == "Released"
        and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        and not pods.is_terminating(volume)
    )


def volume_name(claim: Object) -> str:
    return f"pvc-{claim['metadata']['uid']}"


def decide(config: Config, seen: Wanted | Growth | Object, now: float) -> Plan:
    if isinstance(seen, Growth):
        return _grown(seen)
    if not isinstance(seen, Wanted):
        return Plan((Delete(VOLUMES, key(seen), seen["metadata"]["uid"]),))
    if fault := _fault(seen):
        return Plan((Emit(seen.claim, "Warning", "ProvisioningFailed", fault),))
    volume = _volume(config, seen)
    message = f"Successfully provisioned volume {volume['metadata']['name']}"
    return Plan((Create(VOLUMES, volume), Emit(seen.claim, "Normal", "ProvisioningSucceeded", message)))


def _grown(seen: Growth) -> Plan:
    """A directory holds whatever is written there, so only the numbers change: the volume's, then the claim's."""
    wanted = seen.claim["spec"]["resources"]["requests"]["storage"]
    actions: list[Action] = []
    if quantities.parse(get(seen.volume, "spec.capacity.storage", "0")) < quantities.parse(wanted):
        actions.append(Patch(VOLUMES, key(seen.volume), {"spec": {"capacity": {"storage": wanted}}}))
    status = {"status": {"capacity": {"storage": wanted}}}
    actions.append(Patch(CLAIMS, key(seen.claim), status, subresource="status"))
    actions.append(Emit(seen.claim, "Normal", "VolumeResizeSuccessful", "Volume was resized"))
    return Plan(tuple(actions))


def _fault(seen: Wanted) -> str:
    """Why no local directory can satisfy the claim; empty where one can."""
    if seen.node is None:
        return (
            "no node was selected: a local-path volume needs a StorageClass with volumeBindingMode "
            "WaitForFirstConsumer, and an existing node"
        )
    if seen.claim["spec"].get("volumeMode", "Filesystem") != "Filesystem":
        return "local-path volumes are directories: volumeMode must be Filesystem"
    shared = set(seen.claim["spec"].get("accessModes") or ()) - {"ReadWriteOnce", "ReadWriteOncePod"}
    if shared:
        return f"local-path volumes stay on one node: access mode {min(shared)} cannot be had"
    return ""


def _volume(config: Config, seen: Wanted) -> Object:
    assert seen.node is not None
    node, claim = seen.node["metadata"], seen.claim
    name = volume_name(claim)
    host = (node.get("labels") or {}).get(HOSTNAME, node["name"])
    ref = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    ref |= {k: claim["metadata"][k] for k in ("namespace", "name", "uid")}
    term = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [host]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": seen.storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": seen.storage_class["metadata"]["name"],
            "claimRef": ref,
            "local": {"path": str(config.node_state(node["name"]) / "volumes" / name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }


def make(settings: Settings) -> Controller:
    return Controller(
        name="local-path-provisioner",
        watches=(
            Watch(CLAIMS),
            Watch(VOLUMES),
            Watch(CLASSES, lambda cache, found: ()),
            Watch("nodes", lambda cache, node: ()),
        ),
        observe=observe,
        decide=partial(decide, settings.config),
    )
