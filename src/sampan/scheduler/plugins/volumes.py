"""Persistent volumes and claims as the volume plugins ask of them; nothing here is a plugin.

Source: k8s.io/component-helpers/storage (volume, ephemeral) of 1.37.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from sampan.machinery import quantities, selectors
from sampan.machinery.objects import Key, Object, owner
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.terms import Labels, node_terms

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


def notes(obj: Object) -> Labels:
    """The object's annotations."""
    return obj["metadata"].get("annotations") or {}


def class_of(obj: Object) -> str:
    """The storage class of a claim or a volume, empty without one."""
    own: str = (obj.get("spec") or {}).get("storageClassName") or ""
    return notes(obj).get(_OLD_CLASS, own)


def storage(amounts: Object | None) -> quantities.Quantity:
    return quantities.parse((amounts or {}).get("storage") or "0")


def requested(claim: Object) -> quantities.Quantity:
    return storage((claim["spec"].get("resources") or {}).get("requests"))


def claimed(pod: PodInfo) -> Iterator[tuple[Key, bool]]:
    """The claims of the pod's volumes; True where the claim is made for the pod alone (ephemeral)."""
    for volume in pod.spec.get("volumes") or ():
        if (source := volume.get("persistentVolumeClaim")) is not None:
            yield Key(pod.namespace, source.get("claimName", "")), False
        elif volume.get("ephemeral") is not None:
            yield Key(pod.namespace, f"{pod.name}-{volume['name']}"), True


def fault_of_owner(pod: PodInfo, claim: Object) -> str:
    """What is wrong where an ephemeral volume's claim was not made for the pod."""
    ref = owner(claim)
    if ref is not None and ref.get("uid") == pod.object["metadata"].get("uid"):
        return ""
    name = f"{claim['metadata'].get('namespace', '')}/{claim['metadata']['name']}"
    return f"PVC {name} was not created for pod {pod.namespace}/{pod.name} (pod is not owner)"


def is_bound(claim: Object) -> bool:
    """Whether the claim has its volume for good."""
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in notes(claim)


def reachable(volume: Object, labels: Labels) -> bool:
    """Whether the volume can be reached from a node with these labels."""
    terms = node_terms((volume["spec"].get("nodeAffinity") or {}).get("required"))
    return terms is None or any(all(r.matches(labels) for r in term.labels) for term in terms)


def match(claim: Object, volumes: Iterable[Object], labels: Labels, taken: Collection[str]) -> Object | None:
    """The smallest free volume for a claim among those of its class, reachable from a node with these labels.

    One that is already meant for the claim goes before all others. `taken` names volumes that are promised.
    """
    best: Object | None = None
    for volume in volumes:
        if volume["metadata"]["name"] in taken or not _is_candidate(claim, volume):
            continue
        near = reachable(volume, labels)
        if volume["spec"].get("claimRef") is not None:
            return volume if near else None
        if not near or not _is_free_for(claim, volume):
            continue
        if best is None or _capacity(volume) < _capacity(best):
            best = volume
    return best


def _capacity(volume: Object) -> quantities.Quantity:
    return storage(volume["spec"].get("capacity"))


def _is_candidate(claim: Object, volume: Object) -> bool:
    wanted, spec = claim["spec"], volume["spec"]
    if spec.get("claimRef") is not None and not _is_meant_for(spec["claimRef"], claim):
        return False
    return (
        _capacity(volume) >= requested(claim)
        and (wanted.get("volumeMode") or "Filesystem") == (spec.get("volumeMode") or "Filesystem")
        and (wanted.get("volumeAttributesClassName") or "") == (spec.get("volumeAttributesClassName") or "")
        and volume["metadata"].get("deletionTimestamp") is None
    )


def _is_meant_for(ref: Object, claim: Object) -> bool:
    meta = claim["metadata"]
    if (ref.get("name"), ref.get("namespace")) != (meta["name"], meta.get("namespace")):
        return False
    return not ref.get("uid") or ref["uid"] == meta.get("uid")


def _is_free_for(claim: Object, volume: Object) -> bool:
    wanted, spec = claim["spec"], volume["spec"]
    if (volume.get("status") or {}).get("phase") != "Available" or class_of(volume) != class_of(claim):
        return False
    selector = wanted.get("selector")
    if selector is not None and not selectors.of(selector).matches(volume["metadata"].get("labels")):
        return False
    return set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ())
