"""EndpointSlice (discovery.k8s.io/v1): some of the addresses behind a Service."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, UNSET, at, more
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object

_TYPES = ("IPv4", "IPv6", "FQDN")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_MOST = {"endpoints": 1000, "ports": 100}
_MOST_HINTS, _MOST_LABELS = 8, 16
_LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))


_CHECKS: dict[str, Callable[[str], list[str]]] = {
    "FQDN": names.dns_subdomain,
    "IPv4": lambda text: (
        names.ip(text) or ([] if "." in text and ":" not in text else ["must be an IPv4 address"])
    ),
    "IPv6": lambda text: names.ip(text) or ([] if ":" in text else ["must be an IPv6 address"]),
}


def _ports(obj: Object, now: float) -> str:
    ports = obj.get("ports") or ()
    return more([str(p.get("port") or p.get("name") or "*") for p in ports]) if ports else UNSET


def _endpoints(obj: Object, now: float) -> str:
    found = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    return more(found) if found else UNSET


def _default(obj: Object) -> None:
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    kind = obj.get("addressType")
    found = faults.one_of("addressType", kind, _TYPES, needed=True)
    same = is_ours(obj) or (old is not None and obj.get("endpoints") == old.get("endpoints"))
    for index, endpoint in enumerate(() if same else obj.get("endpoints") or ()):
        found += _endpoint(endpoint, str(kind), f"endpoints[{index}]")
    for field, most in _MOST.items():
        if len(obj.get(field) or ()) > most:
            return [*found[:1], faults.too_many(field, len(obj[field]), most)]
    seen: set[str] = set()
    for index, port in enumerate(obj.get("ports") or ()):
        path, name = f"ports[{index}]", port.get("name") or ""
        if name in seen:
            found.append(faults.duplicate(f"{path}.name", name))
        seen.add(name)
        found += faults.each_invalid(f"{path}.name", name, names.dns_label(name) if name else [])
        found += faults.one_of(f"{path}.protocol", port.get("protocol"), _PROTOCOLS)
        if application := port.get("appProtocol"):
            found += faults.each_invalid(f"{path}.appProtocol", application, names.qualified(application))
        if (number := port.get("port")) is not None:
            found += faults.each_invalid(f"{path}.port", number, names.port_number(number))
    if old is not None:
        found += faults.immutable("addressType", kind, old.get("addressType"))
    return found


def _endpoint(endpoint: Object, kind: str, path: str) -> list[Invalid]:
    addresses = endpoint.get("addresses") or []
    if not addresses:
        return [faults.required(f"{path}.addresses", "must contain at least 1 address")]
    found: list[Invalid] = []
    if len(addresses) > 100:
        found.append(faults.too_many(f"{path}.addresses", len(addresses), 100))
    check = _CHECKS.get(kind, names.ip)
    for index, address in enumerate(addresses):
        at_address = f"{path}.addresses[{index}]"
        wrong = check(address) or (unreachable(address) if kind != "FQDN" else [])
        found += faults.each_invalid(at_address, address, wrong)
    if node := endpoint.get("nodeName"):
        found += faults.each_invalid(f"{path}.nodeName", node, names.dns_subdomain(node))
    if host := endpoint.get("hostname"):
        found += faults.each_invalid(f"{path}.hostname", host, names.dns_label(host))
    if len(endpoint.get("deprecatedTopology") or ()) > _MOST_LABELS:
        count = len(endpoint["deprecatedTopology"])
        found.append(faults.too_many(f"{path}.deprecatedTopology", count, _MOST_LABELS))
    hints = endpoint.get("hints") or {}
    found += _hints(hints.get("forZones") or [], f"{path}.hints.forZones", names.label_value)
    return found + _hints(hints.get("forNodes") or [], f"{path}.hints.forNodes", names.dns_subdomain)


def _hints(hints: list[Object], path: str, check: Callable[[str], list[str]]) -> list[Invalid]:
    if len(hints) > _MOST_HINTS:
        return [faults.too_many(path, len(hints), _MOST_HINTS)]
    found: list[Invalid] = []
    seen = set()
    for index, hint in enumerate(hints):
        at_name, name = f"{path}[{index}].name", hint.get("name") or ""
        if name in seen:
            found.append(faults.duplicate(at_name, name))
        seen.add(name)
        found += faults.each_invalid(at_name, name, check(name))
    return found


def is_ours(obj: Object) -> bool:
    """Whether it tells where the API server itself is, which may be the loopback of a cluster on one machine."""
    meta = obj["metadata"]
    return bool(meta.get("name") == "kubernetes" and meta.get("namespace") == "default")


def unreachable(address: str) -> list[str]:
    """Why nothing of the cluster can be at an IP address."""
    ip = ipaddress.ip_address(address)
    if ip.is_unspecified:
        return [f"may not be unspecified ({address})"]
    if ip.is_loopback:
        return ["may not be in the loopback range (127.0.0.0/8, ::1/128)"]
    if ip.is_link_local:
        return ["may not be in the link-local range (169.254.0.0/16, fe80::/10)"]
    if any(ip in net for net in _LINK_LOCAL_MULTICAST if net.version == ip.version):
        return ["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"]
    return []


KIND = Kind(
    group="discovery.k8s.io",
    version="v1",
    kind="EndpointSlice",
    plural="endpointslices",
    namespaced=True,
    columns=(
        NAME,
        Column("AddressType", at("addressType"), description="IPv4, IPv6 or FQDN."),
        Column("Ports", _ports, description="The ports of every endpoint."),
        Column("Endpoints", _endpoints, description="The addresses."),
        AGE,
    ),
    default=_default,
    prepare=strategy.counted_whole,
    validate=metadata.checked(_validate),
)
