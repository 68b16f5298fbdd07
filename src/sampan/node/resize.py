"""Resizing a pod while it runs: what of it is not yet as its spec says, and whether the node has room. Plain functions.

    spec changed ─> has the node room? ─no─> PodResizePending (Infeasible: never; Deferred: asked again)
                                       └yes─> PodResizeInProgress ─> containers updated, or restarted ─> done

What is in effect is what the runtime says of its containers, so nothing has to be remembered.
Source: KEP-1287; the tasks' page "Resize CPU and Memory Resources assigned to Containers".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sampan.machinery import placement
from sampan.machinery.objects import Object, get
from sampan.node import pods, resources
from sampan.node.observed import Container, Observed

INFEASIBLE, DEFERRED = "Infeasible", "Deferred"
Refusal = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """A running container that is not as its spec says; `wanted` is CRI's LinuxContainerResources.

    `grows`: it gets more memory or CPU; `restart`: only a new one can have that.
    """

    name: str
    id: str
    wanted: Any
    grows: bool
    restart: bool


@dataclass(frozen=True, slots=True)
class Resizing:
    """How far a resize is: why it waits, whether it is under way, and what went wrong there."""

    pending: Refusal | None = None
    active: bool = False
    error: str = ""
    # The containers whose old resources are still in effect.
    unsettled: frozenset[str] = frozenset()


def changes(pod: Object, seen: Observed, memory: int) -> list[Change]:
    """What is to be done so that the running containers are as the spec says; `memory` is the machine's, in bytes."""
    if pod["metadata"].get("generation", 1) == 1:
        return []  # nobody has changed it
    sidecars = [c for c in pods.init_containers(pod) if pods.is_sidecar(c)]
    found = []
    for container in [*sidecars, *pods.main_containers(pod)]:
        newest = seen.latest(container["name"])
        if newest is None or newest.state != "running" or newest.resources is None:
            continue
        if change := _change(pod, container, newest, newest.resources, memory):
            found.append(change)
    return found


def _change(
    pod: Object, container: Object, seen: Container, now: tuple[int, int, int], memory: int
) -> Change | None:
    wanted = resources.container_resources(pod, container, memory)
    shares, quota, limit = wanted.cpu_shares, wanted.cpu_quota, wanted.memory_limit_in_bytes
    cpu, space = (shares, quota) != now[:2], limit != now[2]
    if not cpu and not space:
        return None
    policies = {p.get("resourceName"): p.get("restartPolicy") for p in container.get("resizePolicy") or ()}
    restart = (cpu and policies.get("cpu") == "RestartContainer") or (
        space and policies.get("memory") == "RestartContainer"
    )
    grows = shares > now[0] or quota > now[1] or limit > now[2]
    return Change(seen.name, seen.id, wanted, grows, restart)


def verdict(pod: Object, others: Iterable[Object], node: Object) -> Refusal | None:
    """Why the node does not give a pod what its spec says now; None where it does."""
    wanted = placement.requests(pod["spec"])
    room = placement.resources(get(node, "status.allocatable"))
    for name in ("cpu", "memory"):
        if wanted.get(name, 0) > room.get(name, 0):
            said = f"{name}, requested: {wanted[name]}, capacity: {room.get(name, 0)}"
            return INFEASIBLE, f"Node didn't have enough capacity: {said}"
    taken = [placement.requests(other["spec"]) for other in others]
    for name in ("cpu", "memory"):
        used = sum(t.get(name, 0) for t in taken)
        if wanted.get(name, 0) + used > room.get(name, 0):
            said = f"{name}, requested: {wanted.get(name, 0)}, used: {used}, capacity: {room.get(name, 0)}"
            return DEFERRED, f"Node didn't have enough resource: {said}"
    return None
