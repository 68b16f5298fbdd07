"""Where a Service's traffic goes: policies, affinity, distribution, and what a load balancer reads.

Source: k8s.io/kubernetes pkg/apis/core/validation (ValidateService), pkg/registry/core/service (fields that belong to a
type are dropped with it).
"""

from __future__ import annotations

import ipaddress
from typing import Any

from sampan.kinds import faults
from sampan.kinds.kind import Invalid
from sampan.machinery import names
from sampan.machinery.objects import Object, get

DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_POLICIES = ("Cluster", "Local")
_MOST_AFFINITY = 86400
_BALANCED_ONLY = "may only be used when `type` is 'LoadBalancer'"


def reached_from_outside(spec: Object) -> bool:
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or bool(kind == "ClusterIP" and spec.get("externalIPs"))


def needs_health_check(spec: Object) -> bool:
    """Whether nodes must tell a load balancer if they have endpoints."""
    return bool(spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local")


def drop(spec: Object, old: Object) -> None:
    """What belonged to the type before, and was left as it was, goes with the type."""
    lost = []
    if needs_health_check(old) and not needs_health_check(spec):
        lost.append("healthCheckNodePort")
    if reached_from_outside(old) and not reached_from_outside(spec):
        lost.append("externalTrafficPolicy")
    if old.get("type") == "LoadBalancer" != spec.get("type"):
        lost += ["allocateLoadBalancerNodePorts", "loadBalancerClass"]
    for name in lost:
        if spec.get(name) == old.get(name):
            spec.pop(name, None)


def validate(spec: Object, old: Object | None) -> list[Invalid]:
    found = _affinity(spec)
    found += _balancer(spec, old)
    if not reached_from_outside(spec):
        if policy := spec.get("externalTrafficPolicy"):
            text = "may only be set for externally-accessible services"
            found.append(faults.invalid("spec.externalTrafficPolicy", policy, text))
    else:
        policy = spec.get("externalTrafficPolicy")
        found += faults.one_of("spec.externalTrafficPolicy", policy, _POLICIES, needed=True)
    found += _health(spec, old)
    found += faults.one_of("spec.internalTrafficPolicy", spec.get("internalTrafficPolicy"), _POLICIES)
    wanted = spec.get("trafficDistribution")
    if wanted is not None and wanted not in DISTRIBUTIONS:
        found.append(faults.unsupported("spec.trafficDistribution", wanted, DISTRIBUTIONS))
    return found


def _affinity(spec: Object) -> list[Invalid]:
    path, config = "spec.sessionAffinityConfig", spec.get("sessionAffinityConfig")
    if spec.get("sessionAffinity") != "ClientIP":
        text = "must not be set when session affinity is None"
        return [faults.forbidden(path, text)] if config is not None else []
    seconds = get(config or {}, "clientIP.timeoutSeconds")
    if seconds is None:
        return [faults.required(path, "when session affinity type is ClientIP")]
    if 0 < seconds <= _MOST_AFFINITY:
        return []
    text = f"must be greater than 0 and less than {_MOST_AFFINITY}"
    return [faults.invalid(f"{path}.clientIP.timeoutSeconds", seconds, text)]


def _balancer(spec: Object, old: Object | None) -> list[Invalid]:
    found: list[Invalid] = []
    balanced = spec.get("type") == "LoadBalancer"
    ranges = spec.get("loadBalancerSourceRanges") or []
    if ranges and not balanced:
        found.append(faults.forbidden("spec.LoadBalancerSourceRanges", _BALANCED_ONLY))
    for index, text in enumerate(ranges):
        found += _range(text.strip(), f"spec.LoadBalancerSourceRanges[{index}]")
    for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
        if not balanced and spec.get(name) is not None:
            found.append(faults.forbidden(f"spec.{name}", _BALANCED_ONLY))
    kind = spec.get("loadBalancerClass")
    if balanced and kind is not None:
        found += faults.each_invalid("spec.loadBalancerClass", kind, names.qualified(kind))
    if old and balanced and old.get("type") == "LoadBalancer" and old.get("loadBalancerClass") != kind:
        found.append(faults.invalid("spec.loadBalancerClass", kind, "may not change once set"))
    return found


def _range(text: str, path: str) -> list[Invalid]:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        wrong = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        return [faults.invalid(path, text, wrong)]
    return []


def _health(spec: Object, old: Object | None) -> list[Invalid]:
    path, port = "spec.healthCheckNodePort", spec.get("healthCheckNodePort") or 0
    if not needs_health_check(spec):
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        return [faults.invalid(path, port, text)] if port else []
    if not port:
        return [faults.required(path)]
    found: list[Any] = faults.each_invalid(path, port, names.port_number(port))
    if old and needs_health_check(old) and old.get("healthCheckNodePort") != port:
        found.append(faults.forbidden(path, "field is immutable"))
    return found
