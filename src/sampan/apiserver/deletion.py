"""What deleting an object means now: a plain decision, without I/O or clock.

An object goes at once unless something holds it: finalizers, a pod's grace, or a namespace's content. Then it gets a
deletionTimestamp and stays until its last holder lets go.
Sources: k8s.io/apiserver pkg/registry/rest/delete.go and registry/generic/registry/store.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from sampan.kinds.custom_resource_definition import CLEANUP
from sampan.kinds.kind import Kind
from sampan.machinery import times
from sampan.machinery.objects import Object, changed, get

# A definition stays until the objects of its kind are gone.
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


@dataclass(frozen=True, slots=True)
class Wish:
    """How a delete was asked for; `grace` None and `propagation` empty mean the object's own."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    revision: str = ""


def decide(kind: Kind, obj: Object, wish: Wish, now: float) -> Object | None:
    """The object as it is to be kept for now, which may be as it was; None where it is to go."""
    obj = changed(obj, ("metadata", "finalizers"), _finalizers(kind, obj, wish) or None)
    if kind.resource == "namespaces":
        return _namespace(obj, now)
    grace = _grace(kind, obj, wish)
    if not grace and not obj["metadata"].get("finalizers"):
        return None
    return _ending(obj, grace, now)


def _finalizers(kind: Kind, obj: Object, wish: Wish) -> list[str]:
    found = list(obj["metadata"].get("finalizers") or ())
    if kind.resource == DEFINITIONS and not obj["metadata"].get("deletionTimestamp"):
        found = [*(f for f in found if f != CLEANUP), CLEANUP]
    propagation = wish.propagation
    if not propagation:
        if kind.resource != "jobs.batch" or ORPHAN in found or FOREGROUND in found:
            return found
        propagation = "Orphan"
    kept = [f for f in found if f not in (ORPHAN, FOREGROUND)]
    return kept + {"Orphan": [ORPHAN], "Foreground": [FOREGROUND]}.get(propagation, [])


def _grace(kind: Kind, obj: Object, wish: Wish) -> int:
    """Seconds for an orderly end: only a pod has any, and only while it may run somewhere."""
    if kind.resource != "pods":
        return 0
    if not get(obj, "spec.nodeName") or get(obj, "status.phase") in ("Succeeded", "Failed"):
        return 0
    asked: int = wish.grace if wish.grace is not None else get(obj, "spec.terminationGracePeriodSeconds", 30)
    return asked if asked >= 0 else 1


def _ending(obj: Object, grace: int, now: float) -> Object:
    meta = dict(obj["metadata"])
    before = meta.get("deletionGracePeriodSeconds")
    if meta.get("deletionTimestamp"):
        if before is None or grace >= before:
            return obj
        begun = times.seconds(meta["deletionTimestamp"]) - before
        meta["deletionTimestamp"] = times.time(begun + grace)
    else:
        meta["deletionTimestamp"] = times.time(now + grace)
        if meta.get("generation"):
            meta["generation"] += 1
    meta["deletionGracePeriodSeconds"] = grace
    return {**obj, "metadata": meta}


def _namespace(obj: Object, now: float) -> Object | None:
    if not obj["metadata"].get("finalizers") and not get(obj, "spec.finalizers"):
        return None
    obj = changed(obj, ("status", "phase"), "Terminating")
    if obj["metadata"].get("deletionTimestamp"):
        return obj
    return changed(obj, ("metadata", "deletionTimestamp"), times.time(now))
