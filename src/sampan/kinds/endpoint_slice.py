"""EndpointSlice (discovery.k8s.io/v1): some of the addresses behind a Service."""

from __future__ import annotations

from collections.abc import Callable

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, UNSET, at, more
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object

_TYPES = ("IPv4", "IPv6", "FQDN")
_PROTOCOLS = ("TCP", "UDP", "SCTP")


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
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        found += _endpoint(endpoint, str(kind), f"endpoints[{index}]")
    seen: set[str] = set()
    for index, port in enumerate(obj.get("ports") or ()):
        path, name = f"ports[{index}]", port.get("name") or ""
        if name in seen:
            found.append(faults.duplicate(f"{path}.name", name))
        seen.add(name)
        found += faults.each_invalid(f"{path}.name", name, names.dns_label(name) if name else [])
        found += faults.one_of(f"{path}.protocol", port.get("protocol"), _PROTOCOLS)
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
        found += faults.each_invalid(f"{path}.addresses[{index}]", address, check(address))
    return found


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
