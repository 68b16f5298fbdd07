"""Taints of devices, as ResourceSlices and DeviceTaintRules write them: the time added, and checks.

Source: k8s.io/kubernetes/pkg/apis/resource/v1 (defaults) and validation of 1.37.
"""

from __future__ import annotations

import time

from sampan.kinds import faults
from sampan.kinds.kind import Invalid
from sampan.machinery import names, times
from sampan.machinery.objects import Object

EFFECTS = ("NoExecute", "NoSchedule", "None")


def default(taint: Object) -> None:
    """A taint whose writer does not say when it was added was added now."""
    if not taint.get("timeAdded"):
        taint["timeAdded"] = times.time(time.time())


def validate(taint: Object, old: Object | None, path: str) -> list[Invalid]:
    """All faults of a taint; an effect that was there before may stay."""
    key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
    found = faults.each_invalid(f"{path}.key", key, names.qualified(key))
    found += faults.each_invalid(f"{path}.value", value, names.label_value(value) if value else ())
    if old is None or old.get("effect", "") != effect:
        if not effect:
            found.append(faults.required(f"{path}.effect"))
        elif effect not in EFFECTS:
            found.append(faults.unsupported(f"{path}.effect", effect, EFFECTS))
    return found
