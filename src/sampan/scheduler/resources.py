"""What pods ask of nodes and what nodes offer, exactly as kube-scheduler counts it.

CPU is counted in thousandths, all else in whole units, each rounded up once, after all sums. The request of a pod
that runs is the most of what its spec asks, what the node allocated and what is in effect, so that a resize in
flight is never undercounted.

Source: k8s.io/component-helpers/resource (helpers.go) and pkg/scheduler/framework (types.go) of 1.37; KEP-753
(sidecars), KEP-1287 (in-place resize), KEP-2837 and KEP-5419 (pod-level resources and their resize).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from sampan.machinery import names, quantities
from sampan.machinery.objects import Object

CPU, MEMORY, STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"
# What a container without a request is taken for when nodes are compared: 100m CPU and 200 MB.
DEFAULT_CPU = 100
DEFAULT_MEMORY = 200 * 2**20

# Amounts by resource name: thousandths of CPU, whole units of all else.
Resources = dict[str, int]
# The same in billionths, not yet rounded.
_Exact = dict[str, int]
_NANO = 10**9
# What a status may say of resources.
_STATED = frozenset(("containerStatuses", "initContainerStatuses", "resources", "allocatedResources"))
_DEFAULTS: _Exact = {CPU: DEFAULT_CPU * 10**6, MEMORY: DEFAULT_MEMORY * _NANO}


def resources(amounts: Mapping[str, Any] | None) -> Resources:
    """A ResourceList as the scheduler counts it; names that it does not know are left out."""
    return _rounded(_exact(amounts))


@lru_cache(1024)
def is_scalar(name: str) -> bool:
    """Whether a resource is counted besides CPU, memory and storage: extended, huge pages, attachable volumes."""
    return (
        is_extended(name)
        or name.startswith(("hugepages-", "attachable-volumes-"))
        or "kubernetes.io/" in name
    )


def is_extended(name: str) -> bool:
    """Whether a resource has a domain that is not Kubernetes' own, such as `example.com/gpu`."""
    native = "/" not in name or "kubernetes.io/" in name
    return not native and not name.startswith("requests.") and not names.qualified(f"requests.{name}")


def is_pod_level(name: str) -> bool:
    """Whether a resource may be requested for a pod as a whole."""
    return name in (CPU, MEMORY) or name.startswith("hugepages-")


def requests(
    pod: Object, *, status: bool = True, pod_level: bool = True, defaults: tuple[str, ...] = ()
) -> Resources:
    """What a pod requests, its overhead included.

    `status` counts what its status says of resources too; `pod_level` lets the pod's own requests replace the sum
    of its containers'; `defaults` names those of cpu and memory that count with a default in containers without a
    request for them.
    """
    missing = {name: _DEFAULTS[name] for name in defaults}
    if is_plain(pod):
        return _rounded(_sum(pod, missing))
    total = _of_containers(pod, status, missing)
    own = (pod["spec"].get("resources") or {}).get("requests") or {}
    if pod_level and any(is_pod_level(name) for name in own):
        effective = _effective_pod_level(pod, own) if status else _exact(own)
        total |= {name: n for name, n in effective.items() if is_pod_level(name)}
    _add(total, _exact(pod["spec"].get("overhead")))
    return _rounded(total)


def is_plain(pod: Object) -> bool:
    """Whether the pod takes what its containers request together, whatever its status: most pods, soonest counted."""
    spec, status = pod["spec"], pod.get("status") or {}
    return not (
        spec.get("initContainers")
        or spec.get("overhead")
        or spec.get("resources")
        or not _STATED.isdisjoint(status)
        or ("conditions" in status and resize_is_infeasible(pod))
    )


def _sum(pod: Object, missing: _Exact) -> _Exact:
    total: _Exact = {}
    for container in pod["spec"].get("containers") or ():
        asked = (container.get("resources") or {}).get("requests") or {}
        for name, amount in asked.items():
            total[name] = total.get(name, 0) + quantities.parse(amount).nano
        for name, amount in missing.items():
            if name not in asked:
                total[name] = total.get(name, 0) + amount
    return total


def taken(pod: Object) -> tuple[Resources, tuple[int, int]]:
    """What a pod requests, and its CPU and memory with defaults where containers request none."""
    if not is_plain(pod):
        found = requests(pod)
        return found, non_zero(pod, found)
    containers = pod["spec"].get("containers") or ()
    asked = [(c.get("resources") or {}).get("requests") or {} for c in containers]
    if len(asked) == 1:
        amounts = {name: _counted(name, amount) for name, amount in asked[0].items()}
        found = {name: n for name, n in amounts.items() if n is not None}
    else:
        found = _rounded(_sum(pod, {}))
    if all(CPU in one and MEMORY in one for one in asked):
        return found, (found.get(CPU, 0), found.get(MEMORY, 0))
    return found, non_zero(pod, found)


@lru_cache(4096)
def _counted(name: str, amount: str | int | float) -> int | None:
    """One amount as `resources` has it; None where the scheduler does not know the resource."""
    return resources({name: amount}).get(name)


def non_zero(pod: Object, counted: Resources) -> tuple[int, int]:
    """CPU and memory of a pod on its node, with defaults where containers request none; `counted` are its requests."""
    own = (pod["spec"].get("resources") or {}).get("requests") or {}
    missing: tuple[str, ...] = (CPU, MEMORY)
    if any(is_pod_level(name) for name in own):
        missing = tuple(name for name in missing if name not in counted)
    found = requests(pod, defaults=missing) if missing else counted
    return found.get(CPU, 0), found.get(MEMORY, 0)


def resize_is_infeasible(pod: Object) -> bool:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodResizePending":
            return bool(condition.get("reason") == "Infeasible")
    return False


def _effective_pod_level(pod: Object, own: Mapping[str, Any]) -> _Exact:
    found = pod.get("status") or {}
    if found.get("resources") is None:
        return _exact(own)
    total = {} if resize_is_infeasible(pod) else _exact(own)
    _most(total, _exact(found["resources"].get("requests")))
    _most(total, _exact(found.get("allocatedResources")))
    return total


def _of_containers(pod: Object, status: bool, missing: _Exact) -> _Exact:
    asked = _aggregate(pod, lambda container: _exact(_requests_of(container)), missing)
    if not status or not (found := pod.get("status")):
        return asked
    infeasible = resize_is_infeasible(pod)
    in_effect = (found.get("resources") or {}).get("requests")
    if found.get("allocatedResources") is not None and in_effect is not None:
        allocated, actual = _exact(found["allocatedResources"]), _exact(in_effect)
    else:
        statuses = _statuses(found)
        allocated = _aggregate(pod, lambda c: _exact(_allocated(c, statuses, infeasible)), missing)
        actual = _aggregate(pod, lambda c: _exact(_actual(c, statuses, infeasible)), missing)
    total = {} if infeasible else asked
    _most(total, actual)
    _most(total, allocated)
    return total


def _statuses(status: Object) -> dict[str, Object]:
    """The containers' statuses by name, those of containers before those of init containers."""
    listed = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return {s["name"]: s for s in reversed(listed)}


def _requests_of(container: Object) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (container.get("resources") or {}).get("requests")
    return found


def _allocated(container: Object, statuses: dict[str, Object], infeasible: bool) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (statuses.get(container.get("name", "")) or {}).get(
        "allocatedResources"
    )
    if found is not None:
        return found
    return None if infeasible else _requests_of(container)


def _actual(container: Object, statuses: dict[str, Object], infeasible: bool) -> Mapping[str, Any] | None:
    status = statuses.get(container.get("name", "")) or {}
    found: Mapping[str, Any] | None = (status.get("resources") or {}).get("requests")
    return found if found is not None else _allocated(container, statuses, infeasible)


def _aggregate(pod: Object, amounts: Callable[[Object], _Exact], missing: _Exact) -> _Exact:
    """The larger of what the containers need together and what any moment of the pod's start needs.

    Sidecars (init containers that always restart) run beside all that comes after them.
    """
    spec = pod["spec"]
    running: _Exact = {}
    for container in spec.get("containers") or ():
        _add(running, missing | amounts(container))
    sidecars: _Exact = {}
    starting: _Exact = {}
    for container in spec.get("initContainers") or ():
        needed = missing | amounts(container)
        if container.get("restartPolicy") == "Always":
            _add(running, needed)
            _add(sidecars, needed)
            needed = sidecars
        else:
            _add(needed, sidecars)
        _most(starting, needed)
    _most(running, starting)
    return running


def _exact(amounts: Mapping[str, Any] | None) -> _Exact:
    return {name: quantities.parse(amount).nano for name, amount in (amounts or {}).items()}


def _add(total: _Exact, more: _Exact) -> None:
    for name, n in more.items():
        total[name] = total.get(name, 0) + n


def _most(total: _Exact, other: _Exact) -> None:
    for name, n in other.items():
        if name not in total or n > total[name]:
            total[name] = n


def _rounded(total: _Exact) -> Resources:
    return {
        name: -(-n // (10**6 if name == CPU else _NANO))
        for name, n in total.items()
        if name in (CPU, MEMORY, STORAGE, PODS) or is_scalar(name)
    }
