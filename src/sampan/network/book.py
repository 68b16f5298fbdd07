"""What the network knows of Services and their endpoints: the few fields that matter, not whole objects.

A `Book` is fed with objects as they change and says which services that changed. The rules (`services`) and the DNS
(`dns`) read it.

Source: the Kubernetes API, core/v1 Service and discovery.k8s.io/v1 EndpointSlice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from sampan.machinery.objects import Key, Object, key

SERVICE_LABEL = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """`protocol` in lower case, as nftables and DNS write it; `node_port` 0 where there is none."""

    name: str
    protocol: str
    port: int
    node_port: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """`addresses` are its IPv4 ClusterIPs: none for a headless one. `affinity` is ClientIP's timeout in seconds, or 0.

    `external` are addresses from outside that lead to it: externalIPs and a load balancer's. `not_ready` publishes
    endpoints before they are ready. At `health_port` a load balancer asks whether a node has endpoints.
    """

    key: Key
    addresses: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    external: tuple[str, ...] = ()
    affinity: int = 0
    internal_local: bool = False
    external_local: bool = False
    external_name: str = ""
    not_ready: bool = False
    health_port: int = 0

    @property
    def headless(self) -> bool:
        return not self.addresses and not self.external_name


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of a slice; `ready`, `serving` and `terminating` as its conditions say.

    `for_zones` and `for_nodes` are its hints: who should prefer it.
    """

    address: str
    node: str = ""
    hostname: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    for_zones: frozenset[str] = frozenset()
    for_nodes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Slice:
    """An EndpointSlice of IPv4 addresses. `ports` maps a service port's name and protocol to the endpoints' port."""

    service: Key
    ports: dict[tuple[str, str], int]
    endpoints: tuple[Endpoint, ...]


@dataclass(slots=True)
class Book:
    """Services by key, and the slices of each service by their own key; `zone` is the node's, where it has one."""

    services: dict[Key, Service] = field(default_factory=dict)
    slices: dict[Key, dict[Key, Slice]] = field(default_factory=dict)
    zone: str = ""
    _owners: dict[Key, Key] = field(default_factory=dict)

    def put_service(self, obj: Object) -> set[Key]:
        """Note a service; returns the keys of services that changed by it, as all methods do."""
        fresh = parse_service(obj)
        if self.services.get(fresh.key) == fresh:
            return set()
        self.services[fresh.key] = fresh
        return {fresh.key}

    def drop_service(self, gone: Key) -> set[Key]:
        return {gone} if self.services.pop(gone, None) else set()

    def put_slice(self, obj: Object) -> set[Key]:
        own, fresh = key(obj), parse_slice(obj)
        if fresh and self.slices.get(fresh.service, {}).get(own) == fresh:
            return set()
        changed = self.drop_slice(own)
        if fresh:
            self.slices.setdefault(fresh.service, {})[own] = fresh
            self._owners[own] = fresh.service
            changed.add(fresh.service)
        return changed

    def drop_slice(self, gone: Key) -> set[Key]:
        owner = self._owners.pop(gone, None)
        if owner is None:
            return set()
        of_service = self.slices[owner]
        del of_service[gone]
        if not of_service:
            del self.slices[owner]
        return {owner}

    def put_node(self, obj: Object) -> set[Key]:
        """Note the node that this is."""
        zone = (obj["metadata"].get("labels") or {}).get(ZONE_LABEL, "")
        if zone == self.zone:
            return set()
        self.zone = zone
        return {
            service
            for service, parts in self.slices.items()
            if any(e.for_zones for part in parts.values() for e in part.endpoints)
        }

    def endpoints(self, service: Key, port: ServicePort) -> list[tuple[Endpoint, int]]:
        """Every endpoint of one port of a service, with the port number there; each address once, in order."""
        found: dict[tuple[str, int], Endpoint] = {}
        for part in self.slices.get(service, {}).values():
            number = part.ports.get((port.name, port.protocol))
            if number:
                for endpoint in part.endpoints:
                    found.setdefault((endpoint.address, number), endpoint)
        return [(found[k], k[1]) for k in sorted(found)]


def parse_service(obj: Object) -> Service:
    spec: dict[str, Any] = obj.get("spec", {})
    if spec.get("type") == "ExternalName":
        return Service(key(obj), external_name=spec.get("externalName", ""))
    ingress = obj.get("status", {}).get("loadBalancer", {}).get("ingress", ())
    balancers = [i["ip"] for i in ingress if i.get("ip") and i.get("ipMode", "VIP") == "VIP"]
    timeout = spec.get("sessionAffinityConfig", {}).get("clientIP", {}).get("timeoutSeconds", 10800)
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP", "")]
    return Service(
        key(obj),
        addresses=tuple(a for a in addresses if _is_v4(a)),
        ports=tuple(_parse_port(p) for p in spec.get("ports", ())),
        external=tuple(a for a in (*spec.get("externalIPs", ()), *balancers) if _is_v4(a)),
        affinity=timeout if spec.get("sessionAffinity") == "ClientIP" else 0,
        internal_local=spec.get("internalTrafficPolicy") == "Local",
        external_local=spec.get("externalTrafficPolicy") == "Local",
        not_ready=bool(spec.get("publishNotReadyAddresses")),
        health_port=spec.get("healthCheckNodePort") or 0,
    )


def _parse_port(port: dict[str, Any]) -> ServicePort:
    protocol = port.get("protocol", "TCP").lower()
    return ServicePort(port.get("name", ""), protocol, port["port"], port.get("nodePort", 0))


def parse_slice(obj: Object) -> Slice | None:
    """The slice, or None where it belongs to no service or is not of IPv4 addresses."""
    meta = obj["metadata"]
    owner = meta.get("labels", {}).get(SERVICE_LABEL)
    if not owner or obj.get("addressType") != "IPv4":
        return None
    ports = {
        (p.get("name") or "", p.get("protocol", "TCP").lower()): p["port"]
        for p in obj.get("ports") or ()
        if 0 < (p.get("port") or 0) < 1 << 16
    }
    return Slice(
        Key(meta.get("namespace", ""), owner),
        ports,
        tuple(
            _parse_endpoint(e)
            for e in obj.get("endpoints") or ()
            if e.get("addresses") and _is_v4(e["addresses"][0])
        ),
    )


def _parse_endpoint(endpoint: dict[str, Any]) -> Endpoint:
    conditions = endpoint.get("conditions") or {}
    ready = conditions.get("ready")
    serving = conditions.get("serving")
    hints = endpoint.get("hints") or {}
    return Endpoint(
        # Consumers use the first, as the API says; the others are not different endpoints.
        endpoint["addresses"][0],
        node=endpoint.get("nodeName") or "",
        hostname=endpoint.get("hostname") or "",
        ready=ready is not False,  # unknown counts as ready
        serving=(ready is not False) if serving is None else serving,
        terminating=bool(conditions.get("terminating")),
        for_zones=frozenset(z["name"] for z in hints.get("forZones") or ()),
        for_nodes=frozenset(n["name"] for n in hints.get("forNodes") or ()),
    )


def _is_v4(address: str) -> bool:
    """Whether rules can be made of it: one that is malformed would spoil those of every service."""
    try:
        IPv4Address(address)
    except ValueError:
        return False
    return True
