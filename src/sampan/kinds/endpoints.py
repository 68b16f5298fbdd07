"""Endpoints (core/v1): the addresses behind a Service, in the old form; EndpointSlices are what is used."""

from __future__ import annotations

from sampan.kinds import metadata
from sampan.kinds.columns import AGE, NAME, more
from sampan.kinds.kind import Column, Kind
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


KIND = Kind(
    group="",
    version="v1",
    kind="Endpoints",
    plural="endpoints",
    namespaced=True,
    short_names=("ep",),
    columns=(NAME, Column("Endpoints", _addresses, description="Addresses and ports."), AGE),
    default=_default,
    validate=metadata.checked(),
)
