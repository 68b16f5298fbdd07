"""Gives each Node a /24 of the cluster's pod range, recorded in its spec, never the same to two.

A node that set its own spec.podCIDR keeps it, and nobody else gets what overlaps it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from sampan.controllers.settings import Settings
from sampan.machinery.objects import Key, Object, key
from sampan.reconcile.controller import Action, Cache, Controller, Emit, Patch, Plan, Watch

PREFIX = 24


# All nodes are one piece of work: who gets which range depends on all of them.
ALL_NODES = Key("", "ranges")


@dataclass(frozen=True, slots=True)
class Observed:
    """The nodes that lack a range, and the ranges that are given."""

    lacking: tuple[Object, ...]
    taken: tuple[str, ...]


def observe(cache: Cache, name: Key) -> Observed | None:
    nodes = sorted(cache.list("nodes"), key=lambda n: str(n["metadata"]["name"]))
    lacking = [n for n in nodes if not _ranges(n) and "deletionTimestamp" not in n["metadata"]]
    return Observed(tuple(lacking), tuple(cidr for n in nodes for cidr in _ranges(n))) if lacking else None


def _ranges(node: Object) -> list[str]:
    spec = node.get("spec") or {}
    return spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])


def decide(pods: str, seen: Observed, now: float) -> Plan:
    taken = list(seen.taken)
    actions: list[Action] = []
    for node in seen.lacking:
        free = first_free(pods, taken)
        if free is None:
            message = f"Node {node['metadata']['name']} status is now: CIDRNotAvailable"
            return Plan((*actions, Emit(node, "Normal", "CIDRNotAvailable", message)), again=60)
        taken.append(free)
        actions.append(Patch("nodes", key(node), {"spec": {"podCIDR": free, "podCIDRs": [free]}}))
    return Plan(tuple(actions))


def first_free(pods: str, taken: Iterable[str]) -> str | None:
    """The first /24 of `pods` that overlaps none of `taken`, or None where all are given."""
    used = [ipaddress.ip_network(cidr, strict=False) for cidr in taken]
    whole = ipaddress.ip_network(pods)
    for part in whole.subnets(new_prefix=max(PREFIX, whole.prefixlen)):
        if not any(part.version == other.version and part.overlaps(other) for other in used):
            return str(part)
    return None


def make(settings: Settings) -> Controller:
    return Controller(
        name="node-controller",
        watches=(Watch("nodes", lambda cache, node: (ALL_NODES,)),),
        observe=observe,
        decide=partial(decide, settings.config.ranges.pods),
        workers=1,
    )
