"""What a container may use: its QoS class, and the numbers for the kernel. Plain functions.

Sources: the Pod QoS page of the Kubernetes documentation; the kernel's cgroup documentation (cpu shares and CFS
quota); the kubelet's published rule for oom_score_adj.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sampan.machinery import quantities
from sampan.machinery.cri import messages
from sampan.machinery.objects import Object
from sampan.node import pods

PERIOD = 100_000  # microseconds
CLASS_PARENTS = {"Guaranteed": "", "Burstable": "/burstable", "BestEffort": "/besteffort"}


def milli(quantity: str | int | float | None) -> int:
    """A quantity in thousandths, rounded up; 0 for none."""
    return quantities.parse(quantity).milli if quantity is not None else 0


def whole(quantity: str | int | float | None) -> int:
    """A quantity as an integer, rounded up; 0 for none."""
    return quantities.parse(quantity).value if quantity is not None else 0


def qos(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by the cpu and memory of its init and main containers."""
    requests, limits = _named(pod, "requests"), _named(pod, "limits")
    if not any(requests) and not any(limits):
        return "BestEffort"
    guaranteed = all(
        set(limit) == {"cpu", "memory"} and all(request.get(k, v) == v for k, v in limit.items())
        for request, limit in zip(requests, limits, strict=True)
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _named(pod: Object, field: str) -> list[dict[str, int]]:
    """For each container, what it says in `field` of cpu and memory, zeros left out."""
    every = [*pods.init_containers(pod), *pods.main_containers(pod)]
    found = []
    for c in every:
        given = (c.get("resources") or {}).get(field) or {}
        found.append({k: n for k in ("cpu", "memory") if (n := milli(given.get(k)))})
    return found


def cgroup_parent(pod: Object, root: str) -> str:
    """The pod's cgroup, below that of its QoS class: `/sampan0/burstable/pod<uid>`."""
    return f"/{root.strip('/')}{CLASS_PARENTS[qos(pod)]}/pod{pod['metadata']['uid']}"


def shares(cpu: int) -> int:
    """CPU shares for a request in thousandths of a core."""
    return min(262_144, max(2, cpu * 1024 // 1000))


def quota(cpu: int) -> int:
    """CFS quota in microseconds each period for a limit in thousandths of a core; 0 for none."""
    return max(1000, cpu * PERIOD // 1000) if cpu else 0


def oom_score_adj(pod: Object, container: Object, memory_capacity: int) -> int:
    """The less of the machine's memory a container asked for, the sooner it is killed when memory runs out."""
    priority = pod["spec"].get("priority") or 0
    kind = qos(pod)
    if priority >= 2_000_000_000 or kind == "Guaranteed":
        return -997
    if kind == "BestEffort":
        return 1000
    request = whole(_requests(container).get("memory"))
    return int(min(999, max(3, 1000 - 1000 * request // max(1, memory_capacity))))


def _requests(container: Object) -> Object:
    """Requests, where a limit stands in for one that is not given."""
    given = container.get("resources") or {}
    return {**(given.get("limits") or {}), **(given.get("requests") or {})}


def container_resources(pod: Object, container: Object, memory_capacity: int) -> Any:
    """A CRI LinuxContainerResources."""
    limits = (container.get("resources") or {}).get("limits") or {}
    cpu = milli(limits.get("cpu"))
    return messages.LinuxContainerResources(
        cpu_period=PERIOD,
        cpu_quota=quota(cpu),
        cpu_shares=shares(milli(_requests(container).get("cpu"))),
        memory_limit_in_bytes=whole(limits.get("memory")),
        oom_score_adj=oom_score_adj(pod, container, memory_capacity),
    )


def pod_resources(pod: Object) -> Any:
    """A CRI LinuxContainerResources for the whole pod, limits only where every container has one."""
    every = [*pods.main_containers(pod), *(c for c in pods.init_containers(pod) if pods.is_sidecar(c))]
    cpu = _total(every, "cpu")
    memory = _total(every, "memory")
    return messages.LinuxContainerResources(
        cpu_period=PERIOD,
        cpu_quota=quota(cpu),
        cpu_shares=shares(sum(milli(_requests(c).get("cpu")) for c in every)),
        memory_limit_in_bytes=memory // 1000,
    )


def _total(every: Iterable[Object], name: str) -> int:
    """The sum of the limits in thousandths, or 0 where one container has none."""
    limits = [milli(((c.get("resources") or {}).get("limits") or {}).get(name)) for c in every]
    return sum(limits) if all(limits) else 0
