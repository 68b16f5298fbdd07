"""Writing what a pod was promised into its claims, and taking its use of them back.

Until the API server's own account of a claim is as new as what was written, the promise stands in the snapshot
(PENDING), so that no device is given twice.

Source: pkg/scheduler/framework/plugins/dynamicresources of 1.37 (bindClaim, Unreserve).
"""

from __future__ import annotations

import contextlib
import time

from sampan.client.api import ApiError, Unavailable
from sampan.machinery import times
from sampan.machinery.objects import Key, Object, changed, key
from sampan.scheduler.devices.claims import PENDING, ClaimError, allocation_of, is_reserved_for
from sampan.scheduler.framework import Handle
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import RESOURCE_CLAIMS

FINALIZER = "resource.kubernetes.io/delete-protection"
# How often a write is tried when others write the claim too.
ATTEMPTS = 5


async def write(claim: Object, pod: PodInfo, allocation: Object | None, handle: Handle) -> Object:
    """Note the pod as a user of the claim, with its allocation where it has none. Raises ClaimError, ApiError."""
    name, fault = claim["metadata"]["name"], None
    for attempt in range(ATTEMPTS):
        if attempt:
            claim = await handle.client.get(RESOURCE_CLAIMS, name, pod.namespace)
        try:
            return await _written(claim, pod, allocation, handle)
        except ApiError as e:
            if e.reason != "Conflict":
                raise
            fault = e
    raise ClaimError(f"add reservation to claim {key(claim)}: {fault}")


async def _written(claim: Object, pod: PodInfo, allocation: Object | None, handle: Handle) -> Object:
    meta = claim["metadata"]
    if meta.get("deletionTimestamp") is not None:
        raise ClaimError(f"claim {key(claim)} got deleted in the meantime")
    if (allocation is None) == (allocation_of(claim) is None):
        what = "deallocated" if allocation is None else "allocated"
        raise ClaimError(f"claim {key(claim)} got {what} elsewhere in the meantime")
    finalizers = meta.get("finalizers") or []
    if allocation is not None and FINALIZER not in finalizers:
        kept = changed(claim, ("metadata", "finalizers"), [*finalizers, FINALIZER])
        claim = await handle.client.update(RESOURCE_CLAIMS, kept)
    status = dict(claim.get("status") or {})
    if allocation is not None:
        status["allocation"] = {**allocation, "allocationTimestamp": times.time(time.time())}
    user = {"resource": "pods", "name": pod.name, "uid": pod.uid}
    status["reservedFor"] = [*(status.get("reservedFor") or ()), user]
    return await handle.client.update(
        RESOURCE_CLAIMS, changed(claim, ("status",), status), subresource="status"
    )


def remember(written: Object, handle: Handle, promised: Key | None = None) -> None:
    """Let the snapshot know what was written; a promise stays until it has heard of it by itself.

    `promised` is the name that the promise was made under, where it is not the claim's.
    """
    handle.snapshot.set(RESOURCE_CLAIMS, written)
    name = promised or key(written)
    if handle.snapshot.get(PENDING, name.name, name.namespace) is not None:
        handle.snapshot.remove(PENDING, name)
        handle.snapshot.set(PENDING, written)


async def delete(claim: Object, handle: Handle) -> None:
    """Delete a claim of the scheduler's own, which nothing else protects. Raises ApiError, Unavailable."""
    name = key(claim)
    kept = [f for f in claim["metadata"].get("finalizers") or () if f != FINALIZER]
    patch = {"metadata": {"finalizers": kept or None}}
    await handle.client.patch(RESOURCE_CLAIMS, name.name, name.namespace, patch)
    await handle.client.delete(RESOURCE_CLAIMS, name.name, name.namespace)


async def let_go(listed: list[Object], pod: PodInfo, handle: Handle, created: Object | None = None) -> None:
    """The pod does not get its node: it no longer uses its claims, and one that was `created` for it goes."""
    if created is not None:
        with contextlib.suppress(ApiError, Unavailable):
            await delete(created, handle)
    for claim in listed:
        latest = handle.latest(RESOURCE_CLAIMS, key(claim))
        if latest is None or not is_reserved_for(latest, pod):
            continue
        patch = {
            "metadata": {"uid": latest["metadata"]["uid"]},
            "status": {"reservedFor": [{"$patch": "delete", "uid": pod.uid}]},
        }
        name = key(claim)
        try:
            await handle.client.patch(
                RESOURCE_CLAIMS, name.name, name.namespace, patch, type="strategic", subresource="status"
            )
        except (ApiError, Unavailable):
            # The pod's next scheduling or the claims' controller takes it back.
            continue
