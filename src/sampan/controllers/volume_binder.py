"""Binds claims to volumes, and tells when a volume is free, bound or released.

    claim:   Pending ─> (a volume fits, or was provisioned for it) ─> Bound ─> (its volume is gone) ─> Lost
    volume:  Available ─> Bound ─> (its claim is gone) ─> Released

A claim whose class waits for its first consumer stays Pending until the scheduler has chosen a node and
noted it in the annotation `volume.kubernetes.io/selected-node`. The volume names the claim first, then the
claim the volume: whoever dies in between, the claim finds the volume that names it. Source: the concepts'
page on persistent volumes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.controllers import pods
from sampan.controllers.settings import Settings
from sampan.machinery import claims
from sampan.machinery.claims import NO_PROVISIONER, SELECTED_NODE
from sampan.machinery.objects import Key, Object, key
from sampan.reconcile.controller import (
    Absent,
    Action,
    Cache,
    Controller,
    Emit,
    Index,
    Patch,
    Plan,
    Watch,
    by_own_key,
)

CLAIMS, VOLUMES, CLASSES = "persistentvolumeclaims", "persistentvolumes", "storageclasses.storage.k8s.io"
BOUND = "pv.kubernetes.io/bind-completed"
BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True, slots=True)
class Claim:
    """`volume` is the one that the claim names, `node` the one that was selected; `volumes` are all."""

    claim: Object
    volume: Object | None
    volumes: tuple[Object, ...]
    storage_class: Object | None
    default_class: Object | None
    node: Object | None


@dataclass(frozen=True, slots=True)
class Volume:
    """`claim` is the one that the volume's claimRef names, whatever its uid."""

    volume: Object
    claim: Object | None


def observe(cache: Cache, name: Key) -> Claim | Volume | None:
    """Claims have a namespace in their key, volumes have none."""
    if not name.namespace:
        volume = cache.get(VOLUMES, name)
        return Volume(volume, _claim_of(cache, volume)) if volume else None
    claim = cache.get(CLAIMS, name)
    if claim is None or pods.is_terminating(claim):
        return None
    class_name = claim["spec"].get("storageClassName") or ""
    defaults = [c for c in cache.list(CLASSES) if annotation(c, DEFAULT_CLASS) == "true"]
    return Claim(
        claim,
        cache.get(VOLUMES, Key("", claim["spec"].get("volumeName") or "")),
        tuple(cache.list(VOLUMES)),
        cache.get(CLASSES, Key("", class_name)),
        max(defaults, key=pods.created, default=None),
        cache.get("nodes", Key("", annotation(claim, SELECTED_NODE))),
    )


def _claim_of(cache: Cache, volume: Object) -> Object | None:
    ref = volume["spec"].get("claimRef")
    return cache.get(CLAIMS, Key(ref["namespace"], ref["name"])) if ref else None


def annotation(obj: Object, name: str) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(name, ""))


def decide(seen: Claim | Volume, now: float) -> Plan:
    return _decide_volume(seen) if isinstance(seen, Volume) else _decide_claim(seen)


def _decide_volume(seen: Volume) -> Plan:
    volume = seen.volume
    ref = volume["spec"].get("claimRef") or {}
    if not ref.get("uid"):
        return Plan(_phase(volume, "Available"))
    held = seen.claim is not None and seen.claim["metadata"]["uid"] == ref["uid"]
    if held and seen.claim and seen.claim["spec"].get("volumeName") in (None, "", volume["metadata"]["name"]):
        return Plan(_phase(volume, "Bound"))
    gone = Absent(CLAIMS, Key(ref["namespace"], ref["name"]), ref["uid"])
    released = _phase(volume, "Released")
    return Plan((gone, *released) if released and not held else released)


def _phase(volume: Object, phase: str) -> tuple[Action, ...]:
    if (volume.get("status") or {}).get("phase") == phase:
        return ()
    return (Patch(VOLUMES, key(volume), {"status": {"phase": phase}}, subresource="status"),)


def _decide_claim(seen: Claim) -> Plan:
    claim = seen.claim
    if claim["spec"].get("volumeName"):
        return Plan(_named(seen))
    if claim["spec"].get("storageClassName") is None and seen.default_class:
        spec = {"storageClassName": seen.default_class["metadata"]["name"]}
        return Plan((Patch(CLAIMS, key(claim), {"spec": spec}),))
    pending = (
        _claim_phase(claim, {"phase": "Pending"}) if not (claim.get("status") or {}).get("phase") else ()
    )
    mine = next((v for v in seen.volumes if _names(v, claim)), None)
    if mine:
        return Plan(bind(claim, mine))
    waits = (seen.storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"
    if waits and not annotation(claim, SELECTED_NODE):
        message = "waiting for first consumer to be created before binding"
        return Plan((*pending, Emit(claim, "Normal", "WaitForFirstConsumer", message)))
    found = claims.best_match(claim, seen.volumes, seen.node)
    if found:
        return Plan(bind(claim, found))
    return Plan((*pending, *_ask(seen)))


def _ask(seen: Claim) -> list[Action]:
    """Ask the class's provisioner for a volume."""
    provisioner = (seen.storage_class or {}).get("provisioner", "")
    if not provisioner or provisioner == NO_PROVISIONER:
        message = "no persistent volumes available for this claim and no storage class is set"
        return [Emit(seen.claim, "Normal", "FailedBinding", message)]
    if annotation(seen.claim, PROVISIONER) == provisioner:
        return []
    patch = {"metadata": {"annotations": {PROVISIONER: provisioner}}}
    message = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    return [
        Patch(CLAIMS, key(seen.claim), patch),
        Emit(seen.claim, "Normal", "ExternalProvisioning", message),
    ]


def _named(seen: Claim) -> tuple[Action, ...]:
    """A claim that names its volume: bound where the volume agrees."""
    claim, volume = seen.claim, seen.volume
    if volume is None:
        if not annotation(claim, BOUND):
            return ()
        gone = Absent(VOLUMES, Key("", claim["spec"]["volumeName"]))
        lost = _claim_phase(claim, {"phase": "Lost"})
        message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        return (gone, *lost, Emit(claim, "Warning", "ClaimLost", message)) if lost else ()
    ref = volume["spec"].get("claimRef")
    if ref is None or _names(volume, claim):
        return bind(claim, volume)
    if annotation(claim, BOUND):
        message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        lost = _claim_phase(claim, {"phase": "Lost"})
        return (*lost, Emit(claim, "Warning", "ClaimMisbound", message)) if lost else ()
    return ()


def _names(volume: Object, claim: Object) -> bool:
    """Whether the volume's claimRef is for this claim: by uid, or by name before it was bound."""
    ref = volume["spec"].get("claimRef") or {}
    same = (
        ref.get("name") == claim["metadata"]["name"]
        and ref.get("namespace") == claim["metadata"]["namespace"]
    )
    return same and ref.get("uid") in (None, "", claim["metadata"]["uid"])


def bind(claim: Object, volume: Object) -> tuple[Action, ...]:
    """What is still to be done to bind these two; nothing where they are."""
    steps: list[Action] = []
    meta = claim["metadata"]
    if (volume["spec"].get("claimRef") or {}).get("uid") != meta["uid"]:
        ref = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "uid": meta["uid"]}
        ref |= {"name": meta["name"], "namespace": meta["namespace"]}
        own = {
            "resourceVersion": volume["metadata"].get("resourceVersion"),
            "annotations": {BY_CONTROLLER: "yes"},
        }
        steps.append(Patch(VOLUMES, key(volume), {"metadata": own, "spec": {"claimRef": ref}}))
    name = volume["metadata"]["name"]
    if claim["spec"].get("volumeName") != name or not annotation(claim, BOUND):
        notes = {BOUND: "yes"} if claim["spec"].get("volumeName") else {BOUND: "yes", BY_CONTROLLER: "yes"}
        patch = {"metadata": {"annotations": notes}, "spec": {"volumeName": name}}
        steps.append(Patch(CLAIMS, key(claim), patch))
    status = {
        "phase": "Bound",
        "accessModes": volume["spec"].get("accessModes"),
        "capacity": volume["spec"].get("capacity"),
    }
    return (*steps, *_claim_phase(claim, status))


def _claim_phase(claim: Object, status: Object) -> tuple[Action, ...]:
    old = claim.get("status") or {}
    if all(old.get(k) == v for k, v in status.items()):
        return ()
    return (Patch(CLAIMS, key(claim), {"status": status}, subresource="status"),)


def claim_key(volume: Object) -> tuple[Key, ...]:
    ref = volume["spec"].get("claimRef")
    return (Key(ref["namespace"], ref["name"]),) if ref else ()


def _volume_wakes(cache: Cache, volume: Object) -> Iterable[Key]:
    """A volume wakes itself, its claim, and, while it is free, the claims of its class that still look for one."""
    woken = [*by_own_key(cache, volume), *claim_key(volume)]
    if not volume["spec"].get("claimRef"):
        woken += [
            key(c) for c in cache.index(CLAIMS, "unbound", volume["spec"].get("storageClassName") or "")
        ]
    return woken


def _claim_wakes(cache: Cache, claim: Object) -> Iterable[Key]:
    volumes = cache.index(VOLUMES, "claim", str(key(claim)))
    return [*by_own_key(cache, claim), *(key(v) for v in volumes)]


def _class_wakes(cache: Cache, found: Object) -> Iterable[Key]:
    names = [found["metadata"]["name"]]
    if annotation(found, DEFAULT_CLASS) == "true":
        names.append("")
    return [key(c) for name in names for c in cache.index(CLAIMS, "unbound", name)]


def _unbound(claim: Object) -> tuple[str, ...]:
    """Claims that look for a volume, by their class."""
    return () if claim["spec"].get("volumeName") else (claim["spec"].get("storageClassName") or "",)


def make(settings: Settings) -> Controller:
    return Controller(
        name="persistent-volume-binder",
        watches=(
            Watch(CLAIMS, _claim_wakes),
            Watch(VOLUMES, _volume_wakes),
            Watch(CLASSES, _class_wakes),
            Watch("nodes", lambda cache, node: ()),
        ),
        observe=observe,
        decide=decide,
        indexes=(
            Index(VOLUMES, "claim", lambda volume: [str(k) for k in claim_key(volume)]),
            Index(CLAIMS, "unbound", _unbound),
        ),
    )
