"""What /resize of a pod may change: CPU and memory of its containers and of the pod as a whole.

Source: the tasks' page "Resize CPU and Memory Resources assigned to Containers"; k8s.io/kubernetes
pkg/apis/core/validation (ValidatePodResize).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sampan.kinds import faults, pod_spec, strategy
from sampan.kinds.kind import Invalid
from sampan.machinery import quantities
from sampan.machinery.objects import Object, get
from sampan.machinery.qos import qos

_FIELDS = ("containers", "initContainers")
_RESIZABLE = ("cpu", "memory")
_MIRROR = "kubernetes.io/config.mirror"
_EMPTY: tuple[Any, ...] = (None, [], {})


def prepare(obj: Object, old: Object) -> None:
    """Keep all but resources as it was; containers that do not match stay for validation to refuse."""
    spec, before = obj["spec"], old["spec"]
    if any(len(spec.get(f) or ()) != len(before.get(f) or ()) for f in _FIELDS):
        return
    merged = {**before}
    for field in _FIELDS:
        if spec.get(field):
            merged[field] = _merged(spec[field], before[field])
    if spec.get("resources") is not None:
        merged["resources"] = spec["resources"]
    obj["spec"] = merged
    meta = obj["metadata"]
    strategy.keep_all_but_status(obj, {**old, "spec": merged, "metadata": {**old["metadata"]}})
    obj["metadata"]["generation"] = meta["generation"]


def _merged(new: list[Object], old: list[Object]) -> list[Object]:
    if [c.get("name") for c in new] != [c.get("name") for c in old]:
        return new
    kept = [{k: v for k, v in c.items() if k not in ("resources", "resizePolicy")} for c in old]
    taken = [{k: v for k, v in c.items() if k in ("resources", "resizePolicy")} for c in new]
    return [{**a, **b} for a, b in zip(kept, taken, strict=True)]


def validate(obj: Object, old: Object | None) -> list[Invalid]:
    if old is None:
        return []
    spec, before = obj["spec"], old["spec"]
    if _MIRROR in (old["metadata"].get("annotations") or {}):
        return [faults.forbidden("", "static pods cannot be resized")]
    if get(before, "os.name") == "windows":
        return [faults.forbidden("", "windows pods cannot be resized")]
    found = pod_spec.validate(spec, "spec")
    if (get(old, "status.qosClass") or qos(old)) != qos(obj):
        value = get(obj, "status.qosClass", "")
        found.append(faults.invalid("spec", value, "Pod QOS Class may not change as a result of resizing"))
    if not _supported(old):
        found.append(faults.forbidden("spec", "Pod running on node without support for resize"))
    found += _whole(spec.get("resources"), before.get("resources"))
    unordered = [fault for field in _FIELDS for fault in _order(spec, before, field)]
    return [*found, *(unordered or _containers(spec, before))]


def _supported(pod: Object) -> bool:
    """A node that can resize tells what resources its running containers have."""
    running = [s for s in get(pod, "status.containerStatuses", ()) if get(s, "state.running") is not None]
    return not running or running[0].get("resources") is not None


def _whole(new: Object | None, old: Object | None) -> list[Invalid]:
    """The resources of the pod itself."""
    if not any(get(r or {}, f) for r in (new, old) for f in ("requests", "limits")):
        return []
    if old is not None and new is None:
        return [faults.forbidden("spec.resources", "pod-level resources cannot be removed")]
    found = [
        faults.forbidden(f"spec.resources.{field}", f"pod-level resource {field} cannot be removed")
        for field in ("requests", "limits")
        if _removed(new or {}, old or {}, field)
    ]
    if _other(new) != _other(old):
        found.append(faults.forbidden("spec", "only cpu and memory resources are mutable at pod-level"))
    return found


def _order(spec: Object, before: Object, field: str) -> Iterator[Invalid]:
    new, old = spec.get(field) or [], before.get(field) or []
    if len(new) != len(old):
        yield faults.forbidden(f"spec.{field}", f"{field} may not be added or removed on resize")
        return
    for index, (one, other) in enumerate(zip(new, old, strict=True)):
        if one.get("name") != other.get("name"):
            text = f"{field} may not be renamed or reordered on resize"
            yield faults.forbidden(f"spec.{field}[{index}].name", text)


def _containers(spec: Object, before: Object) -> list[Invalid]:
    found: list[Invalid] = []
    for field in ("initContainers", "containers"):
        for index, (new, old) in enumerate(zip(spec.get(field) or (), before.get(field) or (), strict=True)):
            at = f"spec.{field}[{index}]"
            found += [
                faults.forbidden(f"{at}.resources.{amounts}", f"resource {amounts} cannot be removed")
                for amounts in ("requests", "limits")
                if _removed(new.get("resources") or {}, old.get("resources") or {}, amounts)
            ]
            if field == "containers":
                found += _only(new, old, "spec", "only cpu and memory resources are mutable")
                continue
            text = "only cpu and memory resources for init or sidecar containers are mutable"
            found += [*_only(new, old, at, text), *_starting(new, old, at)]
    return found


def _only(new: Object, old: Object, path: str, text: str) -> list[Invalid]:
    return [] if _fixed(new) == _fixed(old) else [faults.forbidden(path, text)]


def _starting(new: Object, old: Object, path: str) -> list[Invalid]:
    """Init containers that end cannot be restarted for a resize."""
    if new == old or new.get("restartPolicy") == "Always":
        return []
    text = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
    return [
        faults.forbidden(path, text)
        for policy in new.get("resizePolicy") or ()
        if policy.get("restartPolicy") == "RestartContainer"
    ]


def _removed(new: Object, old: Object, field: str) -> bool:
    return not (old.get(field) or {}).keys() <= (new.get(field) or {}).keys()


def _fixed(container: Object) -> Object:
    """The container without what a resize may change."""
    found = {k: v for k, v in container.items() if k != "resources" and v not in _EMPTY}
    return {**found, "resources": _other(container.get("resources"))}


def _other(found: Object | None) -> Object:
    """Resources that are neither CPU nor memory, as amounts."""
    kept: Object = {}
    for field, value in (found or {}).items():
        if field in ("requests", "limits"):
            value = {k: quantities.parse(v).nano for k, v in (value or {}).items() if k not in _RESIZABLE}
        if value not in _EMPTY:
            kept[field] = value
    return kept
