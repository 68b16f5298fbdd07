"""ServiceCIDRs and IPAddresses: what Services hold is written down, and no range goes while it is used.

    Service ──(its addresses)──> an IPAddress for each, which goes with it
    ServiceCIDR ──> Ready; when deleted, held by a finalizer until no address is only in it

The API server itself allocates (`apiserver.addresses`).
Source: KEP-1880; k8s.io/kubernetes pkg/controller/servicecidrs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from sampan.controllers.settings import Settings
from sampan.machinery import conditions
from sampan.machinery.objects import Key, Object, get, key
from sampan.reconcile.controller import Absent, Action, Cache, Controller, Create, Delete, Patch, Plan, Watch

CIDRS, ADDRESSES = "servicecidrs.networking.k8s.io", "ipaddresses.networking.k8s.io"
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
FAMILY, MANAGED = "ipaddress.kubernetes.io/ip-family", "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"


# Addresses


@dataclass(frozen=True, slots=True)
class Held:
    """A Service, None where it is gone, and the IPAddresses in its name."""

    name: Key
    service: Object | None
    addresses: tuple[Object, ...]


def observe_service(cache: Cache, name: Key) -> Held | None:
    service = cache.get("services", name)
    found = [a for a in cache.list(ADDRESSES) if _holder(a) == name]
    return Held(name, service, tuple(found)) if service or found else None


def _holder(address: Object) -> Key | None:
    """The Service in whose name we wrote an address down."""
    ref = get(address, "spec.parentRef", {})
    ours = get(address, "metadata.labels", {}).get(MANAGED) == MANAGER
    if not ours or ref.get("resource") != "services":
        return None
    return Key(ref.get("namespace", ""), ref.get("name", ""))


def decide_service(seen: Held, now: float) -> Plan:
    spec = (seen.service or {}).get("spec") or {}
    every = {spec.get("clusterIP"), *(spec.get("clusterIPs") or ())}
    wanted = {a for a in every if a and a != "None"} if spec.get("type") != "ExternalName" else set()
    known = {a["metadata"]["name"] for a in seen.addresses}
    actions: list[Action] = [Create(ADDRESSES, _address(ip, seen.name)) for ip in sorted(wanted - known)]
    for address in seen.addresses:
        if address["metadata"]["name"] not in wanted and "deletionTimestamp" not in address["metadata"]:
            if seen.service is None:
                actions.append(Absent("services", seen.name))
            actions.append(Delete(ADDRESSES, key(address), address["metadata"]["uid"]))
    return Plan(tuple(actions))


def _address(ip: str, holder: Key) -> Object:
    labels = {FAMILY: f"IPv{ipaddress.ip_address(ip).version}", MANAGED: MANAGER}
    ref = {"group": "", "resource": "services", "namespace": holder.namespace, "name": holder.name}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {"name": str(ipaddress.ip_address(ip)), "labels": labels},
        "spec": {"parentRef": ref},
    }


# Ranges


@dataclass(frozen=True, slots=True)
class Range:
    range: Object
    others: tuple[Object, ...]
    addresses: tuple[str, ...]


def observe_range(cache: Cache, name: Key) -> Range | None:
    found = cache.get(CIDRS, name)
    if found is None:
        return None
    others = [c for c in cache.list(CIDRS) if key(c) != name and "deletionTimestamp" not in c["metadata"]]
    return Range(found, tuple(others), tuple(a["metadata"]["name"] for a in cache.list(ADDRESSES)))


def decide_range(seen: Range, now: float) -> Plan:
    found = seen.range
    meta = found["metadata"]
    finalizers = list(meta.get("finalizers") or ())
    if "deletionTimestamp" in meta:
        if FINALIZER not in finalizers:
            return Plan()
        if _needed(seen):
            said = (
                "There are still IPAddresses referencing the ServiceCIDR, "
                "please remove them or create a new ServiceCIDR"
            )
            made = conditions.new("Ready", "False", "Terminating", said, now)
            return Plan(tuple(_set(found, made)))
        rest = [f for f in finalizers if f != FINALIZER]
        return Plan((Patch(CIDRS, key(found), {"metadata": {"uid": meta["uid"], "finalizers": rest}}),))
    actions: list[Action] = []
    if FINALIZER not in finalizers:
        patch = {"metadata": {"uid": meta["uid"], "finalizers": [*finalizers, FINALIZER]}}
        actions.append(Patch(CIDRS, key(found), patch))
    made = conditions.new("Ready", "True", "", "Kubernetes Service CIDR is ready", now)
    return Plan((*actions, *_set(found, made)))


def _needed(seen: Range) -> bool:
    """Whether an address lies in this range and in no other that stays."""
    own = _networks(seen.range)
    others = [n for other in seen.others for n in _networks(other)]
    for text in seen.addresses:
        address = ipaddress.ip_address(text)
        if any(address in n for n in own) and not any(address in n for n in others):
            return True
    return False


def _networks(found: Object) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(cidr) for cidr in get(found, "spec.cidrs", ())]


def _set(found: Object, made: Object) -> Iterable[Action]:
    before = conditions.of(found)
    after = conditions.with_(before, made)
    if after != before:
        yield Patch(CIDRS, key(found), {"status": {"conditions": list(after)}}, subresource="status")


def make_addresses(settings: Settings) -> Controller:
    def of_address(cache: Cache, address: Object) -> Iterable[Key]:
        holder = _holder(address)
        return (holder,) if holder else ()

    return Controller(
        name="service-ip-controller",
        watches=(Watch("services"), Watch(ADDRESSES, of_address)),
        observe=observe_service,
        decide=decide_service,
        workers=1,
    )


def make_ranges(settings: Settings) -> Controller:
    def going(cache: Cache, address: Object) -> Iterable[Key]:
        return [key(c) for c in cache.list(CIDRS) if "deletionTimestamp" in c["metadata"]]

    return Controller(
        name="service-cidrs-controller",
        watches=(Watch(CIDRS), Watch(ADDRESSES, going)),
        observe=observe_range,
        decide=decide_range,
        workers=1,
    )
