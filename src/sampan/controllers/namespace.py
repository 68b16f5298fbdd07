"""Empties a namespace that is being deleted, then lets it go.

    deleted ─> all pods are deleted ─> they are gone ─> all else is deleted ─> it is gone ─> finalized
             (ContentRemaining is set)                (DiscoveryFailure is set)

Pods go first, so that none outlives the policies that guard it (KEP-5080). The status's conditions tell how
far it is: which of them are there marks the step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sampan.controllers import custom_kinds
from sampan.controllers.settings import Settings
from sampan.kinds import registry
from sampan.kinds.kind import Kind
from sampan.machinery import conditions
from sampan.machinery.objects import Key, Object, changed, key
from sampan.reconcile.controller import Action, Cache, Controller, DeleteAll, Patch, Plan, Update, Watch

KIND = "namespaces"
FINALIZER = "kubernetes"
REMAINING = "NamespaceContentRemaining"
DISCOVERED = "NamespaceDeletionDiscoveryFailure"


@dataclass(frozen=True, slots=True)
class Observed:
    """`left` counts the remaining objects by kind, `finalizers` those that hold some of them back."""

    namespace: Object
    kinds: tuple[str, ...]
    left: Counter[str]
    finalizers: Counter[str]


def contents() -> tuple[Kind, ...]:
    """The kinds that a namespace holds and that can be deleted."""
    found = (k for k in registry.builtin() if k.namespaced and {"list", "delete"} <= set(k.verbs))
    return tuple(k for k in found if not k.storage or k.plural == "events")


def watched(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    """Those worth an informer: Events only expire, and nobody waits for them."""
    return tuple(k for k in kinds if k.plural != "events" and "watch" in k.verbs)


def observe(cache: Cache, name: Key) -> Observed | None:
    found = cache.get(KIND, name)
    if found is None or "deletionTimestamp" not in found["metadata"]:
        return None
    if FINALIZER not in (found["spec"].get("finalizers") or ()):
        return None
    left: Counter[str] = Counter()
    finalizers: Counter[str] = Counter()
    custom = tuple(k for k in custom_kinds.served(cache) if k.namespaced)
    for kind in (*watched(contents()), *custom):
        for obj in cache.list(kind.resource, name.name):
            left[kind.resource] += 1
            finalizers.update(obj["metadata"].get("finalizers") or ())
    return Observed(found, tuple(k.resource for k in (*contents(), *custom)), left, finalizers)


def decide(seen: Observed, now: float) -> Plan:
    ns = seen.namespace
    name = ns["metadata"]["name"]
    if conditions.find(ns, REMAINING) is None:
        # What the cache says now may be old; the conditions mark that the server itself was asked.
        return Plan((DeleteAll("pods", name), *_status(ns, *_progress(seen, now))))
    if conditions.find(ns, DISCOVERED) is None:
        if seen.left["pods"]:
            return Plan(_status(ns, *_progress(seen, now)))
        found = _discovered(now)
        return Plan((*(DeleteAll(kind, name) for kind in seen.kinds), *_status(ns, *found)))
    if not seen.left:
        rest = [f for f in ns["spec"].get("finalizers") or () if f != FINALIZER]
        return Plan((Update(KIND, changed(ns, ("spec", "finalizers"), rest), "finalize"),))
    return Plan(_status(ns, *_progress(seen, now)))


def _progress(seen: Observed, now: float) -> tuple[Object, ...]:
    message = "All content successfully deleted, may be waiting on finalization"
    deleted = conditions.new("NamespaceDeletionContentFailure", "False", "ContentDeleted", message, now)
    return deleted, _remaining(seen, now), _held(seen, now)


def _discovered(now: float) -> tuple[Object, ...]:
    kinds = "All resources successfully discovered"
    versions = "All legacy kube types successfully parsed"
    return (
        conditions.new(DISCOVERED, "False", "ResourcesDiscovered", kinds, now),
        conditions.new(
            "NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions", versions, now
        ),
    )


def _remaining(seen: Observed, now: float) -> Object:
    if not seen.left:
        return conditions.new(REMAINING, "False", "ContentRemoved", "All content successfully removed", now)
    # A core kind has an empty group, which upstream's message shows by its dot.
    parts = [
        f"{kind if '.' in kind else f'{kind}.'} has {n} resource instances"
        for kind, n in sorted(seen.left.items())
    ]
    message = f"Some resources are remaining: {', '.join(parts)}"
    return conditions.new(REMAINING, "True", "SomeResourcesRemain", message, now)


def _held(seen: Observed, now: float) -> Object:
    type_ = "NamespaceFinalizersRemaining"
    if not seen.finalizers:
        return conditions.new(
            type_, "False", "ContentHasNoFinalizers", "All content-preserving finalizers finished", now
        )
    parts = [f"{name} in {n} resource instances" for name, n in sorted(seen.finalizers.items())]
    message = f"Some content in the namespace has finalizers remaining: {', '.join(parts)}"
    return conditions.new(type_, "True", "SomeFinalizersRemain", message, now)


def _status(ns: Object, *made: Object) -> tuple[Action, ...]:
    """Set conditions; here the message counts too, since it names what is awaited."""
    before = tuple((ns.get("status") or {}).get("conditions") or ())
    after = before
    for condition in made:
        after = conditions.with_(after, condition)
        after = tuple(
            {**c, "message": condition["message"]} if c["type"] == condition["type"] else c for c in after
        )
    if after == before:
        return ()
    return (Patch(KIND, key(ns), {"status": {"conditions": list(after)}}, subresource="status"),)


def _if_going(cache: Cache, obj: Object) -> Iterable[Key]:
    """An object wakes its namespace only while that is being deleted."""
    name = Key("", obj["metadata"].get("namespace", ""))
    found = cache.get(KIND, name)
    return (name,) if found and "deletionTimestamp" in found["metadata"] else ()


def make(settings: Settings) -> Controller:
    inside = tuple(Watch(k.resource, _if_going) for k in watched(contents()))
    return Controller(
        name="namespace-controller",
        watches=(Watch(KIND), *inside),
        observe=observe,
        decide=decide,
        custom=lambda resource: (Watch(resource, _if_going), ()),
    )
