"""Whether this node takes a pod that was bound to it: the node's own last word, beside the scheduler's.

A pod that is refused fails for good, with a reason; whoever owns it makes another. Pods come here unscheduled too, by
`spec.nodeName`, or by two schedulers that knew nothing of one another.
Source: the kubelet's admission handlers as the documentation on pod life cycle tells of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sampan.machinery import placement, sysctls
from sampan.machinery.objects import Object, get
from sampan.machinery.placement import Resources

Refusal = tuple[str, str]  # reason and message
AFFINITY = "NodeAffinity"
_ANY = ("", "0.0.0.0", "::")


def refusal(pod: Object, others: Iterable[Object], node: Object) -> Refusal | None:
    """Why `node` cannot take `pod` beside the `others` that it has taken; None where it can."""
    others = list(others)
    return next((found for check in _CHECKS if (found := check(pod, others, node))), None)


def _system(pod: Object, others: list[Object], node: Object) -> Refusal | None:
    if get(pod, "spec.os.name", "linux") != "linux":
        return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
    return None


def _sysctls(pod: Object, others: list[Object], node: Object) -> Refusal | None:
    for sysctl in get(pod, "spec.securityContext.sysctls", []):
        name = sysctls.dotted(sysctl["name"])
        if name not in sysctls.SAFE:
            return "SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted'
    return None


def _resources(pod: Object, others: list[Object], node: Object) -> Refusal | None:
    capacity = placement.resources(get(node, "status.allocatable", {}))
    wanted = _counted(pod, capacity)
    taken: Resources = {}
    for other in others:
        for name, amount in _counted(other, capacity).items():
            taken[name] = taken.get(name, 0) + amount
    for name, amount in wanted.items():
        used, most = taken.get(name, 0), capacity.get(name, 0)
        if amount and amount > most - used:
            said = f"{name}, requested: {amount}, used: {used}, capacity: {most}"
            return f"OutOf{name}", f"Node didn't have enough resource: {said}"
    return None


def _counted(pod: Object, capacity: Resources) -> Resources:
    """What a pod takes of a node, itself included; extended resources that the node does not know are not its own."""
    wanted = {k: v for k, v in placement.requests(pod["spec"]).items() if k in capacity or "/" not in k}
    return {"pods": 1, **wanted}


def _affinity(pod: Object, others: list[Object], node: Object) -> Refusal | None:
    if placement.affinity_matches(pod["spec"], node):
        return None
    return _failed(AFFINITY, "node(s) didn't match Pod's node affinity/selector")


def _ports(pod: Object, others: list[Object], node: Object) -> Refusal | None:
    taken = [port for other in others for port in _host_ports(other)]
    if any(_clash(mine, theirs) for mine in _host_ports(pod) for theirs in taken):
        return _failed("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    return None


def _host_ports(pod: Object) -> Iterator[tuple[int, str, str]]:
    """Port, protocol and address of each port of the node that a pod takes."""
    containers = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*containers, *pod["spec"].get("containers", ())):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port["hostPort"], port.get("protocol", "TCP"), port.get("hostIP", "")


def _clash(a: tuple[int, str, str], b: tuple[int, str, str]) -> bool:
    return a[:2] == b[:2] and (a[2] == b[2] or a[2] in _ANY or b[2] in _ANY)


def _taints(pod: Object, others: list[Object], node: Object) -> Refusal | None:
    taints = get(node, "spec.taints", [])
    if not placement.untolerated(pod["spec"].get("tolerations") or (), taints, ("NoExecute",)):
        return None
    return _failed("TaintToleration", "node(s) had taints that the pod didn't tolerate")


def _failed(predicate: str, why: str) -> Refusal:
    return predicate, f"Predicate {predicate} failed: {why}"


_CHECKS = (_system, _sysctls, _resources, _affinity, _ports, _taints)
