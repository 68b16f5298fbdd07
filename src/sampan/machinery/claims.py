"""Persistent volumes and claims: what a pod claims, and which free volume satisfies a claim.

The volume binder and the scheduler must agree on this. Source: the concepts' page on persistent volumes
(binding).
"""

from __future__ import annotations

from collections.abc import Iterable

from sampan.machinery import placement, quantities, selectors
from sampan.machinery.objects import Object

SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


def of_pod(pod: Object) -> list[str]:
    """The names of the claims that a pod's volumes are, those made for it alone included."""
    found = []
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            found.append(volume["persistentVolumeClaim"]["claimName"])
        elif volume.get("ephemeral"):
            found.append(f"{pod['metadata']['name']}-{volume['name']}")
    return found


def best_match(claim: Object, volumes: Iterable[Object], node: Object | None) -> Object | None:
    """The smallest free volume that satisfies the claim and can be reached from `node`, where that is known."""
    fitting = [v for v in volumes if matches(claim, v, node)]
    return min(
        fitting, key=lambda v: (_storage(v["spec"].get("capacity")), v["metadata"]["name"]), default=None
    )


def matches(claim: Object, volume: Object, node: Object | None) -> bool:
    spec, wanted = volume["spec"], claim["spec"]
    if "deletionTimestamp" in volume["metadata"] or spec.get("claimRef"):
        return False
    if (spec.get("storageClassName") or "") != (wanted.get("storageClassName") or ""):
        return False
    if spec.get("volumeMode", "Filesystem") != wanted.get("volumeMode", "Filesystem"):
        return False
    if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return False
    if wanted.get("selector") and not selectors.of(wanted["selector"]).matches(
        volume["metadata"].get("labels")
    ):
        return False
    if _storage((wanted.get("resources") or {}).get("requests")) > _storage(spec.get("capacity")):
        return False
    return node is None or reachable(volume, node)


def reachable(volume: Object, node: Object) -> bool:
    """Whether the volume's node affinity allows the node."""
    return placement.selector_matches((volume["spec"].get("nodeAffinity") or {}).get("required"), node)


def _storage(amounts: Object | None) -> quantities.Quantity:
    return quantities.parse((amounts or {}).get("storage", "0"))
