"""IPAddress (networking.k8s.io/v1): an address that an object of the cluster holds; its name is the address."""

from __future__ import annotations

import ipaddress

from sampan.kinds import faults, metadata
from sampan.kinds.columns import AGE, NAME, NONE
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object, get


def canonical(text: str) -> list[str]:
    """What is wrong with an address in its one written form."""
    try:
        found = str(ipaddress.ip_address(text))
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if found == text else [f'must be in canonical form ("{found}")']


def _parent(obj: Object, now: float) -> str:
    ref = get(obj, "spec.parentRef")
    if not ref:
        return NONE
    resource = f"{ref.get('resource', '')}.{ref['group']}" if ref.get("group") else ref.get("resource", "")
    return "/".join([resource.lower(), *filter(None, [ref.get("namespace")]), ref.get("name", "")])


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    ref, path = get(obj, "spec.parentRef"), "spec.parentRef"
    if not ref:
        return [faults.required(path)]
    found: list[Invalid] = []
    if group := ref.get("group"):
        found += faults.each_invalid(f"{path}.group", group, names.dns_subdomain(group))
    for field in ("resource", "name", "namespace"):
        value = ref.get(field) or ""
        if not value and field != "namespace":
            found.append(faults.required(f"{path}.{field}"))
        elif value:
            found += faults.each_invalid(f"{path}.{field}", value, names.path_segment(value))
    return found + (faults.immutable(path, ref, get(old, path)) if old else [])


KIND = Kind(
    group="networking.k8s.io",
    version="v1",
    kind="IPAddress",
    plural="ipaddresses",
    namespaced=False,
    short_names=("ip",),
    columns=(NAME, Column("ParentRef", _parent, description="What holds the address."), AGE),
    fields=lambda obj: {},
    validate=metadata.checked(_validate, name=canonical, namespaced=False),
)
