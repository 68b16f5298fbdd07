"""The quality of service class of a pod, by which the kernel chooses whom to kill when memory is short.

Source: the concepts' page "Pod Quality of Service Classes".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sampan.machinery import quantities
from sampan.machinery.objects import Object, get
from sampan.machinery.quantities import Quantity

Amounts = dict[str, Quantity]


def qos(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort."""
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
    amounts = {name: quantities.parse(value) for name, value in (found or {}).items()}
    return {k: v for k, v in amounts.items() if k in ("cpu", "memory") and v}
