"""Questions about pods that several rooms ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sampan.machinery import quantities
from sampan.machinery.conditions import is_true
from sampan.machinery.objects import Object, get
from sampan.machinery.quantities import Quantity

Amounts = dict[str, Quantity]


def is_ready(pod: Object) -> bool:
    """Whether the pod takes traffic."""
    return is_true(pod, "Ready")


def is_terminated(pod: Object) -> bool:
    """Whether all its containers have ended for good."""
    return get(pod, "status.phase") in ("Succeeded", "Failed")


def is_terminating(pod: Object) -> bool:
    """Whether it is being deleted."""
    return bool(get(pod, "metadata.deletionTimestamp"))


def is_active(pod: Object) -> bool:
    """Whether it counts among the replicas of its owner."""
    return not is_terminated(pod) and not is_terminating(pod)


def is_sidecar(container: Object) -> bool:
    """Whether an init container keeps running beside the main ones (KEP-753)."""
    return bool(container.get("restartPolicy") == "Always")


def requests(pod: Object) -> Amounts:
    """What the pod needs of each resource: the scheduler reserves that much (KEP-753, KEP-2837)."""
    return _total(pod, "requests")


def limits(pod: Object) -> Amounts:
    """What the pod may use of each resource, of those that every container limits."""
    return _total(pod, "limits")


def _total(pod: Object, field: str) -> Amounts:
    """Main containers and sidecars together, or an init container with the sidecars before it, whichever is
    more.

    Amounts for the pod as a whole (spec.resources) go before; overhead is added.
    """
    spec = pod["spec"]
    total: Amounts = {}
    for container in spec.get("containers") or ():
        total = _add(total, _amounts(get(container, f"resources.{field}")))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _amounts(get(container, f"resources.{field}"))
        if is_sidecar(container):
            total, sidecars = _add(total, own), _add(sidecars, own)
            own = {}
        peak = _most(peak, _add(sidecars, own))
    total = {**_most(total, peak), **_amounts(get(spec, f"resources.{field}"))}
    overhead = _amounts(spec.get("overhead"))
    if field == "limits":
        overhead = {k: v for k, v in overhead.items() if k in total}
    return _add(total, overhead)


def _amounts(found: Mapping[str, Any] | None) -> Amounts:
    return {name: quantities.parse(value) for name, value in (found or {}).items()}


def _add(a: Amounts, b: Amounts) -> Amounts:
    return {name: a.get(name, quantities.ZERO) + b.get(name, quantities.ZERO) for name in a | b}


def _most(a: Amounts, b: Amounts) -> Amounts:
    return {name: max(a.get(name, quantities.ZERO), b.get(name, quantities.ZERO)) for name in a | b}


def qos(pod: Object) -> str:
    """The quality of service class: Guaranteed, Burstable or BestEffort."""
    spec = pod["spec"]
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    each = [spec] if get(spec, "resources.requests") or get(spec, "resources.limits") else containers
    asked = [_compute(get(c, "resources.requests")) for c in each]
    limited = [_compute(get(c, "resources.limits")) for c in each]
    if not any(asked) and not any(limited):
        return "BestEffort"
    whole = all(
        len(most) == 2 and (least or most) == most for least, most in zip(asked, limited, strict=True)
    )
    return "Guaranteed" if whole and each else "Burstable"


def _compute(found: Mapping[str, Any] | None) -> Amounts:
    """CPU and memory, where they are not zero."""
    return {k: v for k, v in _amounts(found).items() if k in ("cpu", "memory") and v}
