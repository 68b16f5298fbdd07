"""What may change of a pod once it is there: images, a few numbers, and tolerations may grow."""

from __future__ import annotations

from typing import Any

from sampan.kinds import faults, pod_spec
from sampan.kinds.kind import Invalid
from sampan.machinery.objects import Object, get

_FORBIDDEN = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
# What other endpoints of the pod may set; they check it themselves, and it stays as it was in a plain update.
_ELSEWHERE = ("ephemeralContainers", "nodeName", "schedulingGates")


def validate(new: Object, old: Object) -> list[Invalid]:
    spec, before = new["spec"], old["spec"]
    found = [*_images(spec, before, "containers"), *_images(spec, before, "initContainers")]
    found += _deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    found += _tolerations(spec.get("tolerations") or [], before.get("tolerations") or [])
    found += _elsewhere(spec, before)
    if _fixed(spec) != _fixed(before):
        found.append(faults.forbidden("spec", _FORBIDDEN))
    return found


def _images(spec: Object, before: Object, field: str) -> list[Invalid]:
    found: list[Invalid] = []
    if len(spec.get(field) or ()) != len(before.get(field) or ()):
        return [faults.forbidden(f"spec.{field}", "pod updates may not add or remove containers")]
    for index, container in enumerate(spec.get(field) or ()):
        if not container.get("image"):
            found.append(faults.required(f"spec.{field}[{index}].image"))
    return found


def _deadline(new: int | None, old: int | None) -> list[Invalid]:
    path = "spec.activeDeadlineSeconds"
    if new == old:
        return []
    if new is None:
        return [faults.invalid(path, new, "must not update from a positive integer to nil value")]
    if new < 0:
        return [faults.invalid(path, new, "must be greater than or equal to 0")]
    if old is not None and new > old:
        return [faults.invalid(path, new, f"must be less than or equal to previous value {old}")]
    return []


def _tolerations(new: list[Any], old: list[Any]) -> list[Invalid]:
    if new[: len(old)] == old or all(t in new for t in old):
        return pod_spec.tolerations(new, "spec.tolerations") if new != old else []
    text = "existing toleration can not be modified except its tolerationSeconds"
    kept = [_without_seconds(t) for t in new]
    return (
        [] if all(_without_seconds(t) in kept for t in old) else [faults.forbidden("spec.tolerations", text)]
    )


def _without_seconds(toleration: Object) -> Object:
    return {k: v for k, v in toleration.items() if k != "tolerationSeconds"}


def _elsewhere(spec: Object, before: Object) -> list[Invalid]:
    """A binding sets the node; gates only go, ephemeral containers only come."""
    found: list[Invalid] = []
    if spec.get("nodeName") != before.get("nodeName"):
        found.append(faults.forbidden("spec", _FORBIDDEN))
    gates, known = spec.get("schedulingGates") or [], before.get("schedulingGates") or []
    if any(g not in known for g in gates):
        text = "only deletion is allowed, but found new scheduling gate"
        found.append(faults.forbidden("spec.schedulingGates", text))
    temporary, earlier = spec.get("ephemeralContainers") or [], before.get("ephemeralContainers") or []
    if temporary != earlier:
        found += pod_spec.validate(spec, "spec")
    names = [c["name"] for c in temporary]
    for container in earlier:
        if container["name"] not in names:
            text = f'existing ephemeral containers "{container["name"]}" may not be removed'
            found.append(faults.forbidden("spec.ephemeralContainers", text))
    return found


def _fixed(spec: Object) -> Object:
    """The spec without what may change."""
    changeable = ("activeDeadlineSeconds", "tolerations", "containers", "initContainers", *_ELSEWHERE)
    fixed = {k: v for k, v in spec.items() if k not in changeable and v not in (None, [], {})}
    if fixed.get("terminationGracePeriodSeconds", 0) <= 1:
        fixed.pop("terminationGracePeriodSeconds", None)
    for field in ("containers", "initContainers"):
        fixed[field] = [_container(c) for c in get(spec, field, ())]
    return fixed


def _container(container: Object) -> Object:
    return {k: v for k, v in container.items() if k != "image" and v not in (None, [], {})}
