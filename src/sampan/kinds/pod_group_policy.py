"""What a PodGroup and a Workload's template of one share: how its pods are scheduled and disrupted together.

Source: scheduling.k8s.io/v1beta1 (KEP-4671); fields of gates that are off in 1.37 are dropped, as upstream does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sampan.kinds import faults
from sampan.kinds.kind import Invalid
from sampan.kinds.priority_class import HIGHEST_OF_USERS
from sampan.machinery import names
from sampan.machinery.objects import Object

# CompositePodGroup, DRAWorkloadResourceClaims and PodGroupPreemptionPolicy are off by default.
_OFF = ("parentCompositePodGroupName", "resourceClaims", "preemptionPolicy")
_IMMUTABLE = ("schedulingConstraints", "disruptionMode", "priorityClassName", "priority")


def drop_disabled(spec: Object) -> None:
    for name in _OFF:
        spec.pop(name, None)


def validate(spec: Object, old: Object | None, path: str) -> list[Invalid]:
    """Faults of a PodGroup's spec or of one template."""
    found = _policy(spec.get("schedulingPolicy") or {}, f"{path}.schedulingPolicy")
    found += _constraints(spec.get("schedulingConstraints") or {}, f"{path}.schedulingConstraints")
    found += _one_at_most(spec.get("disruptionMode"), ("single", "all"), f"{path}.disruptionMode")
    if class_name := spec.get("priorityClassName"):
        at = f"{path}.priorityClassName"
        found += faults.each_invalid(at, class_name, names.dns_subdomain(class_name))
    if (spec.get("priority") or 0) > HIGHEST_OF_USERS:
        text = f"must be less than or equal to {HIGHEST_OF_USERS}"
        found.append(faults.invalid(f"{path}.priority", spec["priority"], text))
    if old is not None:
        found += _changes(spec, old, path)
    return found


def _policy(policy: Object, path: str) -> list[Invalid]:
    found = _union(policy, ("basic", "gang"), path)
    if "gang" in policy:
        least = policy["gang"].get("minCount")
        if least is None:
            found.append(faults.required(f"{path}.gang.minCount"))
        elif least < 1:
            found.append(faults.invalid(f"{path}.gang.minCount", least, "must be greater than or equal to 1"))
    return found


def _union(value: Object, members: Sequence[str], path: str) -> list[Invalid]:
    """A fault unless exactly one member is set."""
    listed = ", ".join(f"`{m}`" for m in members)
    given = [m for m in members if m in value]
    if not given:
        return [faults.invalid(path, "", f"must specify one of: {listed}")]
    if len(given) > 1:
        return [faults.invalid(path, f"{{{', '.join(given)}}}", f"must specify exactly one of: {listed}")]
    return []


def _one_at_most(value: Any, members: Sequence[str], path: str) -> list[Invalid]:
    return [] if value is None else _union(value, members, path)


def _constraints(constraints: Object, path: str) -> list[Invalid]:
    topology = constraints.get("topology") or []
    if len(topology) > 1:
        return [faults.too_many(f"{path}.topology", len(topology), 1)]
    found: list[Invalid] = []
    for i, each in enumerate(topology):
        at, key = f"{path}.topology[{i}].key", each.get("key")
        found += faults.each_invalid(at, key, names.qualified(key)) if key else [faults.required(at)]
    return found


def _changes(spec: Object, old: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for name in _IMMUTABLE:
        found += faults.immutable(f"{path}.{name}", spec.get(name), old.get(name))
    new_gang, old_gang = ("gang" in (s.get("schedulingPolicy") or {}) for s in (spec, old))
    if new_gang and not old_gang:
        found.append(
            faults.invalid(f"{path}.schedulingPolicy.gang", None, "field cannot be set once created")
        )
    if old_gang and not new_gang:
        found.append(
            faults.invalid(f"{path}.schedulingPolicy.gang", None, "field cannot be cleared once set")
        )
    return found
