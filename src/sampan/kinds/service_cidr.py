"""ServiceCIDR (networking.k8s.io/v1): a range, one for each address family, from which Services get their addresses."""

from __future__ import annotations

import ipaddress

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get

_NO_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def _cidrs(obj: Object, now: float) -> str:
    return ",".join(get(obj, "spec.cidrs", ()))


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    cidrs, path = get(obj, "spec.cidrs", []), "spec.cidrs"
    if not cidrs:
        return [faults.required(path, "at least one CIDR required")]
    if len(cidrs) > 2:
        return [faults.invalid(path, cidrs, "may only hold up to 2 values")]
    found: list[Invalid] = []
    families: list[int] = []
    for index, cidr in enumerate(cidrs):
        try:
            network = ipaddress.ip_network(cidr)
            families.append(network.version)
            if str(network) != cidr:
                text = f'must be in canonical form ("{network}")'
                found.append(faults.invalid(f"{path}[{index}]", cidr, text))
        except ValueError:
            found.append(faults.invalid(f"{path}[{index}]", cidr, _NO_CIDR))
    if len(families) == 2 and families[0] == families[1]:
        text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        found.append(faults.invalid(path, cidrs, text))
    return found + (_changes(cidrs, get(old, path, [])) if old else [])


def _changes(new: list[str], old: list[str]) -> list[Invalid]:
    """A range stays; one of the other family may come."""
    if len(new) < len(old):
        return [faults.invalid("spec.cidrs", new, faults.IMMUTABLE)]
    return [
        faults.invalid(f"spec.cidrs[{index}]", new[index], faults.IMMUTABLE)
        for index, cidr in enumerate(old)
        if new[index] != cidr
    ]


KIND = Kind(
    group="networking.k8s.io",
    version="v1",
    kind="ServiceCIDR",
    plural="servicecidrs",
    namespaced=False,
    subresources=("status",),
    columns=(NAME, Column("CIDRs", _cidrs, description="The ranges."), AGE),
    prepare=strategy.uncounted,
    validate=metadata.checked(_validate, namespaced=False),
)
