"""The claims of a pod: which they are, whether they exist and are its own, and what extended resources make of it.

Source: k8s.io/dynamic-resource-allocation/resourceclaim; KEP-5004 (extended resources by device classes).
"""

from __future__ import annotations

from collections.abc import Iterable

from sampan.machinery.objects import Object, key, owner
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import RESOURCE_CLAIMS, Snapshot

# Claims that a pod was promised devices for, which are not yet written, as they will be.
PENDING = "resourceclaims.resource.k8s.io/pending"


class ClaimError(Exception):
    """A claim keeps the pod waiting; the text says which and why."""


def of_pod(pod: PodInfo, snapshot: Snapshot) -> list[Object]:
    """The pod's claims, in its order. Raises ClaimError."""
    found = []
    for entry in pod.spec.get("resourceClaims") or ():
        name, own = _name(pod, entry)
        if name is None:
            continue
        claim = snapshot.get(RESOURCE_CLAIMS, name, pod.namespace)
        if claim is None:
            raise ClaimError(f'could not find ResourceClaim "{pod.namespace}/{name}"')
        if claim["metadata"].get("deletionTimestamp") is not None:
            raise ClaimError(f'resourceclaim "{name}" is being deleted')
        if own and not _is_controlled_by(claim, pod):
            raise ClaimError(
                f"ResourceClaim {key(claim)} was not created for Pod {pod.namespace}/{pod.name} (Pod is not owner)"
            )
        found.append(claim)
    return found


def _name(pod: PodInfo, entry: Object) -> tuple[str | None, bool]:
    """The name of the claim behind a pod's entry, None where it needs none; and whether it must be the pod's own."""
    who = f'pod "{pod.namespace}/{pod.name}"'
    if entry.get("resourceClaimName") is not None:
        return entry["resourceClaimName"], False
    if entry.get("resourceClaimTemplateName") is None:
        raise ClaimError(f'{who}, spec.resourceClaim "{entry["name"]}": none of the supported fields are set')
    for status in pod.status.get("resourceClaimStatuses") or ():
        if status.get("name") == entry["name"]:
            return status.get("resourceClaimName"), True
    raise ClaimError(f"{who}: ResourceClaim not created yet")


def _is_controlled_by(claim: Object, pod: PodInfo) -> bool:
    ref = owner(claim)
    return ref is not None and ref.get("uid") == pod.object["metadata"].get("uid")


def pending(snapshot: Snapshot) -> list[Object]:
    """The promises that the claims themselves do not show yet."""
    return [promise for promise in snapshot.list(PENDING) if _stands(promise, snapshot)]


def is_pending(claim: Object, snapshot: Snapshot) -> bool:
    """Whether devices were promised for the claim, and are about to be written into it."""
    promise = snapshot.get(PENDING, claim["metadata"]["name"], claim["metadata"].get("namespace", ""))
    return promise is not None and _stands(promise, snapshot)


def forget_kept(snapshot: Snapshot) -> None:
    """Forget the promises that were kept."""
    for promise in list(snapshot.list(PENDING)):
        if not _stands(promise, snapshot):
            snapshot.remove(PENDING, key(promise))


def _stands(promise: Object, snapshot: Snapshot) -> bool:
    meta = promise["metadata"]
    if "resourceVersion" not in meta:
        # A claim of the scheduler's own, which is not created yet.
        return True
    claim = snapshot.get(RESOURCE_CLAIMS, meta["name"], meta.get("namespace", ""))
    if claim is None or claim["metadata"].get("uid") != meta.get("uid"):
        return False
    if not (promise.get("status") or {}).get("reservedFor"):
        # Not written yet.
        return True
    return _revision(claim) < _revision(promise)


def _revision(obj: Object) -> int:
    text = obj["metadata"].get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0


def allocation_of(claim: Object) -> Object | None:
    found: Object | None = (claim.get("status") or {}).get("allocation")
    return found


def is_reserved_for(claim: Object, pod: PodInfo) -> bool:
    listed: Iterable[Object] = (claim.get("status") or {}).get("reservedFor") or ()
    return any(ref.get("uid") == pod.object["metadata"].get("uid") for ref in listed)
