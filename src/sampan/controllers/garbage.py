"""The garbage collector: deletes what only absent owners hold, and carries out foreground and orphaning deletes.

Every object of every built-in kind is a node, its owner references are the edges; the informers' `owners`
index has the edges backwards, so no graph is kept. A change wakes the object itself, and what it owns when
it goes away. Three decisions:

    with the finalizer `foregroundDeletion`: wait until no blocking dependent is left, then drop the finalizer
    with the finalizer `orphan`: take its reference from its dependents, then drop the finalizer
    owners all absent, or waiting for it to go: delete it; if only some are, drop the references to those

An owner is absent where no object of its kind, name and uid exists: a namesake with another uid is not the
owner. Source: the concepts' pages on garbage collection and on owners and dependents; upstream's
pkg/controller/garbagecollector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache as once
from functools import partial

from sampan.client.api import Propagation
from sampan.controllers import custom_kinds
from sampan.controllers.settings import Settings
from sampan.kinds import registry
from sampan.kinds.kind import Kind
from sampan.machinery.objects import Key, Object, key
from sampan.reconcile.controller import Absent, Action, Cache, Controller, Delete, Index, Patch, Plan, Watch

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Observed:
    """`owners` pairs each owner reference with the owner, or None where it is absent.

    `dependents` are pairs of kind and object.
    """

    kind: str
    object: Object
    owners: tuple[tuple[Object, Object | None], ...]
    dependents: tuple[tuple[str, Object], ...]
    custom: tuple[Kind, ...] = ()


@once
def collected() -> tuple[Kind, ...]:
    """The kinds that take part: those that can be listed, watched and deleted, save Events, which only expire."""
    wanted = {"list", "watch", "delete"}
    found = (k for k in registry.builtin() if wanted <= set(k.verbs) and k.plural != "events")
    return tuple(k for k in found if not k.storage)


@once
def _by_kind() -> dict[tuple[str, str], Kind]:
    return {(k.group, k.kind): k for k in collected()}


def _kind_of(ref: Object, custom: tuple[Kind, ...]) -> Kind | None:
    group, name = ref["apiVersion"].rpartition("/")[0], ref["kind"]
    found = _by_kind().get((group, name))
    return found or next((k for k in custom if (k.group, k.kind) == (group, name)), None)


def work(kind: str, obj: Object) -> Key:
    """The key of an object among all kinds: its name is `RESOURCE/NAME`."""
    namespace, name = key(obj)
    return Key(namespace, f"{kind}/{name}")


def observe(cache: Cache, name: Key) -> Observed | None:
    kind, _, plain = name.name.partition("/")
    found = cache.get(kind, Key(name.namespace, plain))
    if found is None:
        return None
    meta = found["metadata"]
    going = {FOREGROUND, ORPHAN} & set(meta.get("finalizers") or ()) and "deletionTimestamp" in meta
    if not going and not meta.get("ownerReferences"):
        return None
    refs = meta.get("ownerReferences") or ()
    owners = tuple((ref, _owner(cache, ref, name.namespace)) for ref in refs)
    awaited = any(owner and _waits(owner) for _, owner in owners)
    dependents = dependents_of(cache, found) if going or awaited else ()
    return Observed(kind, found, owners, tuple(dependents), custom_kinds.served(cache))


# Stands for an owner of a kind that we do not know: it may exist, so what it owns is kept.
UNKNOWN: Object = {"metadata": {}}


def _owner(cache: Cache, ref: Object, namespace: str) -> Object | None:
    kind = _kind_of(ref, custom_kinds.served(cache))
    if kind is None:
        return UNKNOWN
    found = cache.get(kind.resource, Key(namespace if kind.namespaced else "", ref["name"]))
    return found if found and found["metadata"].get("uid") == ref["uid"] else None


def dependents_of(cache: Cache, obj: Object) -> Iterable[tuple[str, Object]]:
    uid = obj["metadata"].get("uid", "")
    kinds = (*collected(), *custom_kinds.served(cache))
    return [(k.resource, found) for k in kinds for found in cache.index(k.resource, "owners", uid)]


def decide(seen: Observed, now: float) -> Plan:
    meta = seen.object["metadata"]
    if "deletionTimestamp" in meta:
        if FOREGROUND in (meta.get("finalizers") or ()):
            return Plan(tuple(_foreground(seen)))
        if ORPHAN in (meta.get("finalizers") or ()):
            return Plan(tuple(_orphan(seen)))
        return Plan()
    return Plan(tuple(_attend(seen)))


def _foreground(seen: Observed) -> list[Action]:
    uid = seen.object["metadata"]["uid"]
    blocking = [
        d
        for _, d in seen.dependents
        if any(r["uid"] == uid and r.get("blockOwnerDeletion") for r in _references(d))
    ]
    # Each dependent was woken, and decides for itself: another owner may hold it.
    return [] if blocking else [_drop_finalizer(seen, FOREGROUND)]


def _orphan(seen: Observed) -> list[Action]:
    uid = seen.object["metadata"]["uid"]
    freed = [_keep_owners(kind, d, lambda ref: ref["uid"] != uid) for kind, d in seen.dependents]
    return [*freed, _drop_finalizer(seen, ORPHAN)]


def _attend(seen: Observed) -> list[Action]:
    """Delete an object that no owner holds any more; while another still does, drop the others' references."""
    absent = {ref["uid"] for ref, owner in seen.owners if owner is None}
    waiting = {ref["uid"] for ref, owner in seen.owners if owner and _waits(owner)}
    solid = [ref for ref, _ in seen.owners if ref["uid"] not in absent | waiting]
    if not absent and not waiting:
        return []
    if solid:
        keep = _keep_owners(seen.kind, seen.object, lambda ref: ref["uid"] not in absent | waiting)
        return [*_confirm(seen), keep]
    uid = seen.object["metadata"]["uid"]
    propagation: Propagation = "Foreground" if waiting else "Background"
    delete = Delete(seen.kind, key(seen.object), uid, propagation=propagation)
    if waiting and any(_waits(dependent) for _, dependent in seen.dependents):
        # Its owner waits for it, and it would wait for a dependent that waits already: perhaps a circle.
        return [*_confirm(seen), _unblock(seen), delete]
    return [*_confirm(seen), delete]


def _unblock(seen: Observed) -> Action:
    """Let its owners go before it does."""
    meta = seen.object["metadata"]
    free = [{**ref, "blockOwnerDeletion": False} for ref in _references(seen.object)]
    return Patch(seen.kind, key(seen.object), {"metadata": {"uid": meta["uid"], "ownerReferences": free}})


def _confirm(seen: Observed) -> list[Action]:
    """Nothing is deleted for an owner that is only missing from our copy."""
    steps: list[Action] = []
    for ref, owner in seen.owners:
        kind = _kind_of(ref, seen.custom)
        if owner is None and kind:
            namespace = key(seen.object).namespace if kind.namespaced else ""
            steps.append(Absent(kind.resource, Key(namespace, ref["name"]), ref["uid"]))
    return steps


def _waits(owner: Object) -> bool:
    """Whether an owner is in a foreground deletion, so that its dependents are to go first."""
    meta = owner["metadata"]
    return "deletionTimestamp" in meta and FOREGROUND in (meta.get("finalizers") or ())


def _references(obj: Object) -> list[Object]:
    return list(obj["metadata"].get("ownerReferences") or ())


def _keep_owners(kind: str, obj: Object, keep: Callable[[Object], bool]) -> Action:
    meta = {"uid": obj["metadata"]["uid"], "ownerReferences": [r for r in _references(obj) if keep(r)]}
    return Patch(kind, key(obj), {"metadata": meta})


def _drop_finalizer(seen: Observed, finalizer: str) -> Action:
    meta = seen.object["metadata"]
    rest = [f for f in meta["finalizers"] if f != finalizer]
    return Patch(seen.kind, key(seen.object), {"metadata": {"uid": meta["uid"], "finalizers": rest}})


def _wakes(kind: str, cache: Cache, obj: Object) -> Iterable[Key]:
    """A change wakes the object, its dependents where it goes or is gone, and owners that wait for it to go."""
    meta = obj["metadata"]
    namespace, name = key(obj)
    woken: list[Key] = []
    present = cache.get(kind, Key(namespace, name))
    gone = present is None or present["metadata"].get("uid") != meta.get("uid")
    if not gone and (meta.get("ownerReferences") or "deletionTimestamp" in meta):
        woken.append(work(kind, obj))
    if gone or _waits(obj):
        woken += [work(k, d) for k, d in dependents_of(cache, obj)]
    if gone or "deletionTimestamp" in meta:
        for ref in meta.get("ownerReferences") or ():
            found = _owner(cache, ref, namespace)
            owners_kind = _kind_of(ref, custom_kinds.served(cache))
            if found and owners_kind and _waits(found):
                woken.append(work(owners_kind.resource, found))
    return woken


def _owner_uids(obj: Object) -> Iterable[str]:
    return [ref["uid"] for ref in obj["metadata"].get("ownerReferences") or ()]


def _custom(kind: str) -> tuple[Watch, tuple[Index, ...]]:
    return Watch(kind, partial(_wakes, kind)), (Index(kind, "owners", _owner_uids),)


def make(settings: Settings) -> Controller:
    kinds = [k.resource for k in collected()]
    return Controller(
        name="generic-garbage-collector",
        watches=tuple(Watch(kind, partial(_wakes, kind)) for kind in kinds),
        observe=observe,
        decide=decide,
        indexes=tuple(Index(kind, "owners", _owner_uids) for kind in kinds),
        subject="owners of",
        custom=_custom,
    )
