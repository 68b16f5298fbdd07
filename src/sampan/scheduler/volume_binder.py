"""Binding a pod's volumes to its claims once its node is chosen: assume, write, and wait until they are bound.

Free volumes get a reference to their claim; claims that are to be provisioned learn the node. The volume controller and
the provisioner do the rest. What is assumed stands in the snapshot, so that the next pod does not take the same.

Source: kube-scheduler 1.37, plugins/volumebinding/binder.go.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sampan.machinery.objects import Key, Object, changed, key
from sampan.reconcile.actions import revision
from sampan.scheduler.framework import Handle
from sampan.scheduler.plugins import volumes
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import CLAIMS, VOLUMES

if TYPE_CHECKING:
    from sampan.scheduler.plugins.volume_binding import NodeVolumes

BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"


class BindingError(Exception):
    """The volumes cannot be bound so; the pod is scheduled anew."""


def claimed(volume: Object, claim: Object) -> Object:
    """The volume with a reference to its claim."""
    meta = claim["metadata"]
    ref = volume["spec"].get("claimRef") or {}
    if ref.get("uid") == meta["uid"]:
        return volume
    names = {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
    made = changed(
        volume,
        ("spec", "claimRef"),
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            **names,
            "resourceVersion": meta["resourceVersion"],
        },
    )
    return changed(made, ("metadata", "annotations"), {**volumes.notes(volume), BY_CONTROLLER: "yes"})


def selected(claim: Object, node: str) -> Object:
    """The claim with the node that it is to be provisioned for."""
    return changed(claim, ("metadata", "annotations"), {**volumes.notes(claim), volumes.SELECTED_NODE: node})


def assume(found: NodeVolumes, node: str, handle: Handle) -> None:
    """Note in the snapshot what is about to be written; `found` then holds what to write."""
    found.static = [(claim, claimed(volume, claim)) for claim, volume in found.static]
    for provision in found.dynamic:
        provision.claim = selected(provision.claim, node)
    for _, volume in found.static:
        handle.snapshot.set(VOLUMES, volume)
    for provision in found.dynamic:
        handle.snapshot.set(CLAIMS, provision.claim)


def revert(found: NodeVolumes, handle: Handle) -> None:
    """Put back what the informers know."""
    assumed = [(VOLUMES, volume) for _, volume in found.static]
    assumed += [(CLAIMS, provision.claim) for provision in found.dynamic]
    for kind, obj in assumed:
        latest = handle.latest(kind, key(obj))
        if latest is None:
            handle.snapshot.remove(kind, key(obj))
        else:
            handle.snapshot.set(kind, latest)


async def bind(found: NodeVolumes, pod: PodInfo, node: str, handle: Handle, timeout: float) -> None:
    """Write what was assumed, and wait until all claims are bound. Raises BindingError, ApiError, Unavailable."""
    found.static = [(claim, await handle.client.update(VOLUMES, volume)) for claim, volume in found.static]
    for provision in found.dynamic:
        namespace, name = key(provision.claim)
        note = {"metadata": {"annotations": {volumes.SELECTED_NODE: node}}}
        provision.claim = await handle.client.patch(CLAIMS, name, namespace, note)
    happened = asyncio.Event()

    def look(obj: Object) -> None:
        happened.set()

    kinds = (CLAIMS, VOLUMES)
    for kind in kinds:
        handle.watchers.setdefault(kind, []).append(look)
    try:
        async with asyncio.timeout(timeout):
            while not _is_done(found, pod, node, handle):
                happened.clear()
                await happened.wait()
    except TimeoutError as e:
        raise BindingError(f"binding volumes: no answer within {timeout:g}s") from e
    finally:
        for kind in kinds:
            handle.watchers[kind].remove(look)


def _is_done(found: NodeVolumes, pod: PodInfo, node: str, handle: Handle) -> bool:
    """Whether all claims are bound to volumes that the node reaches. Raises BindingError where they never will be."""
    if handle.latest("pods", pod.key) is None:
        raise BindingError(f"binding volumes: pod does not exist any more: {pod.key}")
    done = True
    for claim, volume in found.static:
        latest = handle.latest(VOLUMES, key(volume))
        if latest is None or _is_older(latest, volume):
            return False
        if not ((latest["spec"].get("claimRef") or {}).get("uid")):
            name = volume["metadata"]["name"]
            raise BindingError(f'binding volumes: ClaimRef got reset for pv "{name}"')
        done &= _is_bound(key(claim), node, handle)
    for provision in found.dynamic:
        latest = handle.latest(CLAIMS, key(provision.claim))
        if latest is not None and _is_older(latest, provision.claim):
            return False
        if latest is not None and volumes.notes(latest).get(volumes.SELECTED_NODE) != node:
            name = provision.claim["metadata"]["name"]
            raise BindingError(f'binding volumes: provisioning failed for PVC "{name}"')
        done &= _is_bound(key(provision.claim), node, handle)
    return done


def _is_older(latest: Object, written: Object) -> bool:
    """Whether the informers have not seen yet what was written."""
    return revision(latest) < revision(written)


def _is_bound(name: Key, node: str, handle: Handle) -> bool:
    claim = handle.latest(CLAIMS, name)
    if claim is None:
        raise BindingError(f'binding volumes: failed to check binding: could not find "{name}"')
    volume = claim["spec"].get("volumeName")
    found = handle.latest(VOLUMES, Key("", volume)) if volume else None
    here = handle.snapshot.nodes.get(node)
    if found and here and not volumes.reachable(found, here.labels):
        raise BindingError(f'binding volumes: pv "{volume}" node affinity doesn\'t match node "{node}"')
    return volumes.is_bound(claim)
