"""Resource lists: amounts of cpu, memory and others by name, and what a whole pod asks for and is limited to.

Amounts keep the form in which their author wrote them (`500m`, `1Gi`), since refusals and quotas show them again.
Source: k8s.io/component-helpers resource/helpers.go; the sidecar containers' KEP-753; KEP-1287 for resized pods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sampan.machinery import conditions, quantities
from sampan.machinery.objects import Object
from sampan.machinery.quantities import ZERO, Quantity

Amounts = dict[str, Quantity]


def parse(found: Mapping[str, Any] | None) -> Amounts:
    """A resource list of an object. Raises ValueError for what is no quantity."""
    return {name: quantities.parse(value) for name, value in (found or {}).items()}


def written(amounts: Amounts) -> dict[str, str]:
    """A resource list as objects hold it."""
    return {name: str(amount) for name, amount in amounts.items()}


def text(amounts: Amounts) -> str:
    """As refusals show them: `cpu=1,memory=1Gi`, by name."""
    return ",".join(f"{name}={amounts[name]}" for name in sorted(amounts))


def add(*lists: Amounts) -> Amounts:
    total: Amounts = {}
    for one in lists:
        for name, amount in one.items():
            total[name] = total[name] + amount if name in total else amount
    return total


def subtract(left: Amounts, right: Amounts) -> Amounts:
    """The difference for every name of either."""
    return {name: left.get(name, ZERO) - right.get(name, ZERO) for name in {**left, **right}}


def most(*lists: Amounts) -> Amounts:
    """The largest amount of each name."""
    total: Amounts = {}
    for one in lists:
        for name, amount in one.items():
            if name not in total or total[name] < amount:
                total[name] = amount
    return total


def only(amounts: Amounts, names: Iterable[str]) -> Amounts:
    wanted = set(names)
    return {name: amount for name, amount in amounts.items() if name in wanted}


# Pods

Choose = Callable[[Object, Object], Amounts]


def requests(pod: Object, *, running: bool = False, overhead: bool = True) -> Amounts:
    """What a pod asks for: the sum of its containers, or the peak of its start; pod-level requests go before.

    With `running`, what its status says was allocated counts where it is more: a resize down is not yet done.
    """
    return _whole(pod, "requests", running) if not overhead else _burdened(pod, "requests", running)


def limits(pod: Object, *, running: bool = False, overhead: bool = True) -> Amounts:
    """What a pod may use at most, where its containers say."""
    return _whole(pod, "limits", running) if not overhead else _burdened(pod, "limits", running)


def pod_level(pod: Object) -> bool:
    """Whether the pod says of itself, beside its containers, what it needs."""
    found = pod["spec"].get("resources") or {}
    return any(_at_pod_level(n) for field in ("requests", "limits") for n in found.get(field) or ())


def _at_pod_level(name: str) -> bool:
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def _burdened(pod: Object, field: str, running: bool) -> Amounts:
    """With the runtime's overhead; a limit of zero, which is none, gets none."""
    whole, overhead = _whole(pod, field, running), parse(pod["spec"].get("overhead"))
    if field == "limits":
        overhead = {name: amount for name, amount in overhead.items() if whole.get(name)}
    return add(whole, overhead)


def _whole(pod: Object, field: str, running: bool) -> Amounts:
    spec = pod["spec"]

    def wished(container: Object, status: Object) -> Amounts:
        return parse((container.get("resources") or {}).get(field))

    total = _sum(pod, wished)
    if running:
        fields = ("allocated", "actual") if field == "requests" else ("actual",)
        known = [_sum(pod, _known(field, which, wished)) for which in fields]
        total = most(*known) if _infeasible(pod) else most(total, *known)
    own = parse((spec.get("resources") or {}).get(field))
    return total | {name: amount for name, amount in own.items() if _at_pod_level(name)}


def _known(field: str, which: str, wished: Choose) -> Choose:
    """What the status of a container says; the spec where it says nothing."""

    def choose(container: Object, status: Object) -> Amounts:
        allocated = status.get("allocatedResources")
        actual = (status.get("resources") or {}).get(field)
        if which == "actual" and actual is not None:
            return parse(actual)
        if field == "requests" and allocated is not None:
            return parse(allocated)
        return wished(container, status)

    return choose


def _infeasible(pod: Object) -> bool:
    found = conditions.find(pod, "PodResizePending")
    return found is not None and found.get("reason") == "Infeasible"


def _sum(pod: Object, choose: Choose) -> Amounts:
    """Containers together, or the peak of the init containers if it is higher.

    Sidecars, the init containers that restart Always, run beside whatever starts after them.
    """
    spec, status = pod["spec"], pod.get("status") or {}
    known = {
        s["name"]: s
        for field in ("containerStatuses", "initContainerStatuses")
        for s in status.get(field) or ()
    }
    running = add(*(choose(c, known.get(c.get("name"), {})) for c in spec.get("containers") or ()))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        needed = add(choose(container, known.get(container.get("name"), {})), sidecars)
        if container.get("restartPolicy") == "Always":
            sidecars = needed
        peak = most(peak, needed)
    return most(add(running, sidecars), peak)
