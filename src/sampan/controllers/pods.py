"""What the workload controllers share: the state of pods, pods from templates, and who owns what.

Sources: the concepts' pages on the pod life cycle and on owners; upstream's pkg/controller and
pkg/api/v1/pod.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sampan.machinery import conditions, generated, selectors, times
from sampan.machinery.objects import Key, Object, key, owner
from sampan.reconcile.controller import Action, Cache, Index, Patch

ORPHAN_PODS = Index(
    "pods", "orphans", lambda pod: () if owner(pod) else (pod["metadata"].get("namespace", ""),)
)


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def is_terminating(obj: Object) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def is_finished(pod: Object) -> bool:
    """Whether it has run to its end, well or not."""
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    return not is_finished(pod) and not is_terminating(pod)


def is_ready(pod: Object) -> bool:
    return conditions.is_true(pod, "Ready")


def ready_since(pod: Object) -> float | None:
    """When a ready pod became so, in seconds, or None where it is not ready."""
    found = conditions.find(pod, "Ready")
    if found is None or found.get("status") != "True":
        return None
    when = found.get("lastTransitionTime")
    return times.seconds(when) if when else 0.0


def available_at(pod: Object, min_ready: int) -> float | None:
    """When a ready pod counts as available: at once, or when it has been ready for `min_ready` seconds."""
    since = ready_since(pod)
    if since is None:
        return None
    return since + min_ready if min_ready else 0.0


def is_available(pod: Object, min_ready: int, now: float) -> bool:
    when = available_at(pod, min_ready)
    return when is not None and when <= now


def until_available(pods: Iterable[Object], min_ready: int, now: float) -> float | None:
    """Seconds until the next ready pod becomes available by waiting alone."""
    waits = [when - now for pod in pods if (when := available_at(pod, min_ready)) is not None and when > now]
    return min(waits, default=None)


def created(obj: Object) -> float:
    when = obj["metadata"].get("creationTimestamp")
    return times.seconds(when) if when else 0.0


def reference(obj: Object, *, controller: bool = True) -> Object:
    """An owner reference to `obj`, as its controller."""
    ref = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
    }
    return {**ref, "controller": True, "blockOwnerDeletion": True} if controller else ref


def free_names(base: str, count: int, known: Iterable[Object], *seed: Any) -> list[str]:
    """`count` generated names that none of the known objects has."""
    taken = {obj["metadata"]["name"] for obj in known}
    candidates = (generated.name(base, *seed, i) for i in itertools.count())
    return list(itertools.islice((name for name in candidates if name not in taken), count))


def from_template(template: Object, name: str, controller: Object) -> Object:
    """The pod called `name` that a pod template describes, owned by `controller`."""
    meta = template.get("metadata") or {}
    copied: Object = {k: dict(meta[k]) for k in ("labels", "annotations") if meta.get(k)}
    if meta.get("finalizers"):
        copied["finalizers"] = list(meta["finalizers"])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": controller["metadata"]["namespace"],
            **copied,
            "ownerReferences": [reference(controller)],
        },
        "spec": template["spec"],
    }


@dataclass(frozen=True, slots=True)
class Claimed:
    """The objects that belong to a controller, and the patches that adopt the unowned and release the unfit."""

    owned: tuple[Object, ...]
    actions: tuple[Action, ...]


def claim(
    controller: Object,
    kind: str,
    owned: Iterable[Object],
    orphans: Iterable[Object],
    fits: Callable[[Object], bool] | None = None,
) -> Claimed:
    """Decide which of `owned` stay with `controller` and which of `orphans` join it, by its selector.

    A controller that is being deleted adopts and releases nothing. Adoption carries the uid that was seen,
    so a namesake is never adopted.
    """
    selector = selectors.of(controller["spec"].get("selector"))
    wanted = fits or (lambda obj: selector.matches(obj["metadata"].get("labels")))
    going = is_terminating(controller)
    kept, actions = [], []
    for obj in owned:
        if wanted(obj) or going:
            kept.append(obj)
        elif not is_terminating(obj):
            actions.append(_release(controller, kind, obj))
    for obj in orphans:
        if not going and wanted(obj) and not is_terminating(obj):
            kept.append(obj)
            actions.append(_adopt(controller, kind, obj))
    return Claimed(tuple(kept), tuple(actions))


def _adopt(controller: Object, kind: str, obj: Object) -> Action:
    patch = {
        "metadata": {
            "uid": obj["metadata"]["uid"],
            "ownerReferences": [*(obj["metadata"].get("ownerReferences") or ()), reference(controller)],
        }
    }
    return Patch(kind, key(obj), patch)


def _release(controller: Object, kind: str, obj: Object) -> Action:
    uid = controller["metadata"]["uid"]
    rest = [ref for ref in obj["metadata"].get("ownerReferences") or () if ref["uid"] != uid]
    return Patch(kind, key(obj), {"metadata": {"uid": obj["metadata"]["uid"], "ownerReferences": rest}})


def wakes(kind: str, resource: str) -> Callable[[Cache, Object], Iterable[Key]]:
    """Wakes the controlling owner of `kind`; for an object without one, every `resource` that might adopt it."""

    def keys(cache: Cache, obj: Object) -> Iterable[Key]:
        ref = owner(obj)
        namespace = obj["metadata"].get("namespace", "")
        if ref:
            return (Key(namespace, ref["name"]),) if ref["kind"] == kind else ()
        labels = obj["metadata"].get("labels")
        if not labels:
            return ()
        return [
            key(candidate)
            for candidate in cache.list(resource, namespace)
            if selectors.of(candidate["spec"].get("selector")).matches(labels)
        ]

    return keys


def status_patch(kind: str, obj: Object, status: Object) -> tuple[Action, ...]:
    """A patch of the status where it differs: what `status` leaves out or has as None is removed."""
    old = obj.get("status") or {}
    wanted = {k: v for k, v in status.items() if v is not None}
    if all(old.get(k) == v for k, v in wanted.items()) and set(old) <= set(wanted):
        return ()
    patch = {**dict.fromkeys(set(old) - set(wanted)), **wanted}
    return (Patch(kind, key(obj), {"status": patch}, subresource="status"),)
