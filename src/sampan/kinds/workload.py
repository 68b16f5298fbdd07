"""Workload (scheduling.k8s.io/v1beta1): templates of the PodGroups that a controller makes for its pods."""

from __future__ import annotations

from sampan.kinds import faults, metadata, pod_group_policy, strategy
from sampan.kinds.columns import AGE, NAME
from sampan.kinds.kind import Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object

MOST_TEMPLATES = 8


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    spec = obj.setdefault("spec", {})
    spec.pop("compositePodGroupTemplates", None)
    for template in spec.get("podGroupTemplates") or ():
        pod_group_policy.drop_disabled(template)
    strategy.counted_whole(obj, old, subresource)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj.get("spec") or {}
    path, templates = "spec.podGroupTemplates", spec.get("podGroupTemplates") or []
    found = _reference(spec.get("controllerRef"), "spec.controllerRef")
    if not templates:
        found.append(faults.invalid("spec", "", "must specify one of: `podGroupTemplates`"))
    if len(templates) > MOST_TEMPLATES:
        found.append(faults.too_many(path, len(templates), MOST_TEMPLATES))
    before = {t.get("name"): t for t in ((old or {}).get("spec") or {}).get("podGroupTemplates") or ()}
    seen: set[str] = set()
    for i, template in enumerate(templates):
        at, name = f"{path}[{i}]", template.get("name")
        if not name:
            found.append(faults.required(f"{at}.name"))
            continue
        found += faults.each_invalid(f"{at}.name", name, names.dns_label(name))
        if name in seen:
            found.append(faults.duplicate(at, {"name": name}))
        seen.add(name)
        if old is not None and name not in before:
            found.append(faults.forbidden(at, "item may not be added"))
        found += pod_group_policy.validate(template, before.get(name), at)
    if old is not None:
        found += [faults.forbidden(path, "item may not be removed") for n in before if n not in seen]
        was = (old.get("spec") or {}).get("controllerRef")
        found += faults.immutable("spec.controllerRef", spec.get("controllerRef"), was)
    return found + _priorities(templates)


def _reference(reference: Object | None, path: str) -> list[Invalid]:
    if reference is None:
        return []
    return [faults.required(f"{path}.{n}") for n in ("kind", "name") if not reference.get(n)]


def _priorities(templates: list[Object]) -> list[Invalid]:
    """All templates have one priority: their groups wait for one another."""
    if len({(t.get("priorityClassName") or "", t.get("priority")) for t in templates}) > 1:
        return [faults.invalid("spec", None, "detected multiple priority configurations")]
    return []


KIND = Kind(
    group="scheduling.k8s.io",
    version="v1beta1",
    kind="Workload",
    plural="workloads",
    namespaced=True,
    columns=(NAME, AGE),
    prepare=_prepare,
    validate=metadata.checked(_validate),
)
