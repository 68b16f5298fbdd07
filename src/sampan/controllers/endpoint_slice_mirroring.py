"""EndpointSlices that repeat the Endpoints which people write themselves, for Services without a selector.

One slice for each set of ports and address family, with at most 1,000 endpoints.
Source: KEP-752; k8s.io/kubernetes pkg/controller/endpointslicemirroring.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sampan.controllers import endpoint_slices, pods
from sampan.controllers.endpoints import LEADER
from sampan.controllers.settings import Settings
from sampan.machinery import generated
from sampan.machinery.objects import Key, Object, get, key
from sampan.reconcile.controller import Action, Cache, Controller, Create, Delete, Emit, Patch, Plan, Watch

KIND = endpoint_slices.KIND
MOST = 1000
MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
# Annotations that are not repeated.
_NOT_REPEATED = (
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
)


@dataclass(frozen=True, slots=True)
class Observed:
    """`endpoints` is None where they are not to be repeated (any more)."""

    endpoints: Object | None
    slices: tuple[Object, ...]


def observe(cache: Cache, name: Key) -> Observed | None:
    service, endpoints = cache.get("services", name), cache.get("endpoints", name)
    found = cache.index(KIND, "service", str(name))
    slices = [s for s in found if get(s, "metadata.labels", {}).get(endpoint_slices.MANAGED) == MANAGER]
    wanted = (
        service is not None
        and not service["spec"].get("selector")
        and endpoints is not None
        and "deletionTimestamp" not in endpoints["metadata"]
        and get(endpoints, "metadata.labels", {}).get(SKIP) != "true"
        and LEADER not in get(endpoints, "metadata.annotations", {})
    )
    if not wanted and not slices:
        return None
    return Observed(endpoints if wanted else None, tuple(slices))


@dataclass(slots=True)
class _Wanted:
    """What the slices shall hold, by family and ports; and what could not be taken over."""

    slices: dict[tuple[str, Any], list[Object]] = field(default_factory=dict)
    invalid: int = 0
    skipped: int = 0


def decide(seen: Observed, now: float) -> Plan:
    endpoints = seen.endpoints
    alive = [s for s in seen.slices if not pods.is_terminating(s)]
    if endpoints is None:
        return Plan(tuple(Delete(KIND, key(s), s["metadata"]["uid"]) for s in alive))
    wanted = _wanted(endpoints)
    actions: list[Action] = _told(endpoints, wanted)
    spare: list[Object] = []
    known: dict[tuple[str, Any], Object] = {}
    for one in sorted(alive, key=pods.created):
        at = (one["addressType"], endpoint_slices.ports_of_slice(one))
        if at in known or at not in wanted.slices:
            spare.append(one)
        else:
            known[at] = one
    labels, annotations = _metadata(endpoints)
    for number, (at, entries) in enumerate(wanted.slices.items()):
        if at in known:
            actions += _change(known[at], entries, labels, annotations)
        else:
            actions.append(_create(endpoints, at, entries, (labels, annotations), (now, number)))
    return Plan((*actions, *(Delete(KIND, key(s), s["metadata"]["uid"]) for s in spare)))


def _wanted(endpoints: Object) -> _Wanted:
    wanted = _Wanted()
    for subset in endpoints.get("subsets") or ():
        ports = tuple(tuple(sorted({"name": "", **p}.items())) for p in subset.get("ports") or ())
        addresses = [(a, True) for a in subset.get("addresses") or ()]
        addresses += [(a, False) for a in subset.get("notReadyAddresses") or ()]
        for count, (address, ready) in enumerate(addresses):
            family = _family(address.get("ip", ""))
            if not family:
                wanted.invalid += 1
            elif count >= MOST:
                wanted.skipped += 1
            else:
                wanted.slices.setdefault((family, ports), []).append(_endpoint(address, ready))
    return wanted


def _family(ip: str) -> str:
    try:
        return f"IPv{ipaddress.ip_address(ip).version}"
    except ValueError:
        return ""


def _endpoint(address: Object, ready: bool) -> Object:
    found: Object = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    return found | {f: address[f] for f in ("hostname", "nodeName", "targetRef") if address.get(f)}


def _told(endpoints: Object, wanted: _Wanted) -> list[Action]:
    told: list[Action] = []
    if wanted.invalid:
        said = f"Skipped {wanted.invalid} invalid IP addresses when mirroring to EndpointSlices"
        told.append(Emit(endpoints, "Warning", "InvalidIPAddress", said))
    if wanted.skipped:
        said = (
            f"A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints subset. "
            f"{wanted.skipped} addresses were skipped"
        )
        told.append(Emit(endpoints, "Warning", "TooManyAddressesToMirror", said))
    return told


def _metadata(endpoints: Object) -> tuple[dict[str, str], dict[str, str]]:
    """The labels and annotations of the slices."""
    meta = endpoints["metadata"]
    ours = {endpoint_slices.SERVICE: meta["name"], endpoint_slices.MANAGED: MANAGER}
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in _NOT_REPEATED}
    return {**(meta.get("labels") or {}), **ours}, annotations


def _change(
    one: Object, entries: list[Object], labels: dict[str, str], annotations: dict[str, str]
) -> Iterable[Action]:
    before = one["metadata"]
    old_labels, old_annotations = before.get("labels") or {}, before.get("annotations") or {}
    if (one.get("endpoints") or [], old_labels, old_annotations) == (entries, labels, annotations):
        return
    meta = {
        "labels": {**dict.fromkeys(set(old_labels) - set(labels)), **labels},
        "annotations": {**dict.fromkeys(set(old_annotations) - set(annotations)), **annotations},
    }
    yield Patch(KIND, key(one), {"metadata": meta, "endpoints": entries})


def _create(
    endpoints: Object,
    at: tuple[str, Any],
    entries: list[Object],
    metadata: tuple[dict[str, str], dict[str, str]],
    seed: tuple[float, int],
) -> Action:
    (family, ports), (labels, annotations), meta = at, metadata, endpoints["metadata"]
    name = generated.name(f"{meta['name']}-", meta["uid"], family, *seed)
    made = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": labels,
            **({"annotations": annotations} if annotations else {}),
            "ownerReferences": [pods.reference(endpoints)],
        },
        "addressType": family,
        "ports": [dict(p) for p in ports],
        "endpoints": entries,
    }
    return Create(KIND, made)


def _slice_wakes(cache: Cache, found: Object) -> Iterable[Key]:
    labels = get(found, "metadata.labels", {})
    if labels.get(endpoint_slices.MANAGED) != MANAGER or endpoint_slices.SERVICE not in labels:
        return ()
    return (Key(found["metadata"]["namespace"], labels[endpoint_slices.SERVICE]),)


def make(settings: Settings) -> Controller:
    return Controller(
        name="endpointslicemirroring-controller",
        watches=(Watch("endpoints"), Watch("services"), Watch(KIND, _slice_wakes)),
        observe=observe,
        decide=decide,
        indexes=(endpoint_slices.BY_SERVICE,),
    )
