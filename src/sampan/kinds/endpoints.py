"""Endpoints (core/v1): the addresses behind a Service, in the old form; EndpointSlices are what is used."""

from __future__ import annotations

from sampan.kinds import faults, metadata
from sampan.kinds.columns import AGE, NAME, more
from sampan.kinds.containers import PROTOCOLS
from sampan.kinds.endpoint_slice import is_ours, unreachable
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object


def _addresses(obj: Object, now: float) -> str:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [a.get("ip", "") for a in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        found += [joined(a, p.get("port")) for p in ports for a in addresses] if ports else addresses
    return more(found)


def joined(host: str, port: int | None) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _default(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    found: list[Invalid] = []
    if is_ours(obj) or (old is not None and obj.get("subsets") == old.get("subsets")):
        return found
    for index, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{index}]"
        addresses = [*(subset.get("addresses") or ()), *(subset.get("notReadyAddresses") or ())]
        if not addresses:
            text = "must specify `addresses` or `notReadyAddresses`"
            found.append(faults.required(path, text))
        for field in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(field) or ()):
                found += _address(address, f"{path}.{field}[{number}]")
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            found += _port(port, f"{path}.ports[{number}]", named=len(ports) > 1)
    return found


def _address(address: Object, path: str) -> list[Invalid]:
    text = address.get("ip") or ""
    found = faults.each_invalid(f"{path}.ip", text, names.ip(text) or unreachable(text))
    if host := address.get("hostname"):
        found += faults.each_invalid(f"{path}.hostname", host, names.dns_label(host))
    if node := address.get("nodeName"):
        found += faults.each_invalid(f"{path}.nodeName", node, names.dns_subdomain(node))
    return found


def _port(port: Object, path: str, *, named: bool) -> list[Invalid]:
    name, number = port.get("name") or "", port.get("port") or 0
    found = [faults.required(f"{path}.name")] if named and not name else []
    found += faults.each_invalid(f"{path}.name", name, names.dns_label(name) if name else [])
    found += faults.each_invalid(f"{path}.port", number, names.port_number(number))
    return found + faults.one_of(f"{path}.protocol", port.get("protocol"), PROTOCOLS, needed=True)


KIND = Kind(
    group="",
    version="v1",
    kind="Endpoints",
    plural="endpoints",
    namespaced=True,
    short_names=("ep",),
    deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    columns=(NAME, Column("Endpoints", _addresses, description="Addresses and ports."), AGE),
    default=_default,
    validate=metadata.checked(_validate),
)
