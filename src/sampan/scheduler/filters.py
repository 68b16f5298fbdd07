"""Which nodes a pod may go to, each filter with upstream's reason for a no.

`Wish` holds what is worked out once for each pod; `FILTERS` are asked in order for each node, and the first
reason counts. A node that lacks several resources gives one reason for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sampan.machinery import placement
from sampan.machinery.objects import Object
from sampan.machinery.placement import Resources
from sampan.scheduler import affinity, spread, volumes
from sampan.scheduler.simple_snapshot import Node, Port, Snapshot, host_ports


@dataclass(frozen=True, slots=True)
class Wish:
    pod: Object
    requests: Resources
    ports: tuple[Port, ...]
    affinity: affinity.Affinity
    spread: tuple[spread.Constraint, ...]
    volumes: volumes.Wanted

    @property
    def tolerations(self) -> list[Object]:
        return self.pod["spec"].get("tolerations") or []


def wish(pod: Object, snapshot: Snapshot) -> Wish:
    return Wish(
        pod,
        placement.requests(pod["spec"]),
        tuple(host_ports(pod["spec"])),
        affinity.of(pod, snapshot),
        tuple(spread.of(pod, snapshot)),
        volumes.of(pod, snapshot),
    )


def reasons(wanted: Wish, node: Node) -> list[str]:
    """Why the pod may not go to the node; empty where it may."""
    for check in FILTERS:
        if found := check(wanted, node):
            return found
    return []


def _unschedulable(wanted: Wish, node: Node) -> list[str]:
    taint = {"key": placement.UNSCHEDULABLE, "effect": "NoSchedule"}
    if (
        not node.spec.get("unschedulable")
        or placement.untolerated(wanted.tolerations, [taint], ("NoSchedule",)) is None
    ):
        return []
    return ["node(s) were unschedulable"]


def _name(wanted: Wish, node: Node) -> list[str]:
    name = wanted.pod["spec"].get("nodeName")
    return ["node(s) didn't match the requested node name"] if name and name != node.name else []


def _taints(wanted: Wish, node: Node) -> list[str]:
    taints = node.spec.get("taints") or ()
    found = placement.untolerated(wanted.tolerations, taints, ("NoSchedule", "NoExecute"))
    return [f"node(s) had untolerated taint {{{found['key']}: {found.get('value', '')}}}"] if found else []


def _affinity(wanted: Wish, node: Node) -> list[str]:
    if placement.affinity_matches(wanted.pod["spec"], node.object):
        return []
    return ["node(s) didn't match Pod's node affinity/selector"]


def _ports(wanted: Wish, node: Node) -> list[str]:
    if any(_clash(mine, theirs) for mine in wanted.ports for theirs, n in node.ports.items() if n > 0):
        return ["node(s) didn't have free ports for the requested pod ports"]
    return []


def _clash(a: Port, b: Port) -> bool:
    same_address = a[1] == b[1] or "0.0.0.0" in (a[1], b[1])
    return same_address and a[0] == b[0] and a[2] == b[2]


def _fit(wanted: Wish, node: Node) -> list[str]:
    found = []
    if len(node.pods) + 1 > node.allocatable.get("pods", 110):
        found.append("Too many pods")
    for name, amount in wanted.requests.items():
        if amount > 0 and amount > node.allocatable.get(name, 0) - node.taken.get(name, 0):
            found.append(f"Insufficient {name}")
    return found


def _volumes(wanted: Wish, node: Node) -> list[str]:
    found = wanted.volumes.reason(node)
    return [found] if found else []


def _spread(wanted: Wish, node: Node) -> list[str]:
    for constraint in wanted.spread:
        if constraint.hard and (found := constraint.reason(node)):
            return [found]
    return []


def _pods(wanted: Wish, node: Node) -> list[str]:
    found = wanted.affinity.reason(node)
    return [found] if found else []


FILTERS: tuple[Callable[[Wish, Node], list[str]], ...] = (
    _unschedulable, _name, _taints, _affinity, _ports, _fit, _volumes, _spread, _pods,
)  # fmt: skip
