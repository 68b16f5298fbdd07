"""NetworkPolicy (networking.k8s.io/v1): which pods may talk to which."""

from __future__ import annotations

import ipaddress
from typing import Any

from sampan.kinds import faults, label_selectors, metadata, strategy
from sampan.kinds.columns import AGE, NAME, selector_text
from sampan.kinds.containers import PROTOCOLS, port
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec["podSelector"] = spec.get("podSelector") or {}
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for item in rule.get("ports") or ():
            item["protocol"] = item.get("protocol") or "TCP"


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found = label_selectors.validate(spec.get("podSelector"), "spec.podSelector", needed=False)
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{index}]"
            for number, item in enumerate(rule.get("ports") or ()):
                found += _port(item, f"{path}.ports[{number}]")
            for number, peer in enumerate(rule.get(peers) or ()):
                found += _peer(peer, f"{path}.{peers}[{number}]")
    for index, kind in enumerate(spec.get("policyTypes") or ()):
        found += faults.one_of(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"), needed=True)
    return found


def _port(item: Object, path: str) -> list[Invalid]:
    found = faults.one_of(f"{path}.protocol", item.get("protocol"), PROTOCOLS)
    number, last = item.get("port"), item.get("endPort")
    if number is not None:
        found += port(number, f"{path}.port")
    if last is not None:
        if number is None:
            found.append(faults.required(f"{path}.port", "must be specified when `endPort` is specified"))
        elif isinstance(number, str):
            text = "may not be specified when `port` is non-numeric"
            found.append(faults.invalid(f"{path}.endPort", last, text))
        elif last < number:
            found.append(faults.invalid(f"{path}.endPort", last, "must be greater than or equal to `port`"))
    return found


def _peer(peer: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for field in ("podSelector", "namespaceSelector"):
        found += label_selectors.validate(peer.get(field), f"{path}.{field}", needed=False)
    given = [f for f in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(f) is not None]
    if not given:
        return [faults.required(path, "must specify a peer")]
    if "ipBlock" not in given:
        return found
    if len(given) > 1:
        return [faults.forbidden(path, "may not specify both ipBlock and another peer")]
    block = peer["ipBlock"]
    whole = _network(block.get("cidr"), f"{path}.ipBlock.cidr", found)
    for index, text in enumerate(block.get("except") or ()):
        at = f"{path}.ipBlock.except[{index}]"
        part = _network(text, at, found)
        if whole and part and (part.version != whole.version or not part.subnet_of(whole) or part == whole):
            found.append(faults.invalid(at, text, "must be a strict subset of `cidr`"))
    return found


def _network(text: str | None, path: str, found: list[Invalid]) -> Any:
    """The network that `text` stands for, or None with a fault added."""
    if not text:
        found.append(faults.required(path))
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        found.append(faults.invalid(path, text, detail))
        return None


def _selector(obj: Object, now: float) -> str:
    return selector_text(get(obj, "spec.podSelector", {}))


KIND = Kind(
    group="networking.k8s.io",
    version="v1",
    kind="NetworkPolicy",
    plural="networkpolicies",
    namespaced=True,
    short_names=("netpol",),
    columns=(NAME, Column("Pod-Selector", _selector, description="The pods it is for."), AGE),
    default=_default,
    prepare=strategy.counted_whole,
    validate=metadata.checked(_validate),
)
