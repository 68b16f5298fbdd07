"""ResourceQuotas: counts afresh what each namespace uses, and says so in the quota's status.

The API server adds to that status whatever it lets in (`apiserver.admission.resource_quota`). This counts what it
cannot see: what is gone, what has ended, what was let in and then not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sampan.controllers import garbage
from sampan.controllers.settings import Settings
from sampan.kinds.kind import Kind
from sampan.machinery import amounts, quota
from sampan.machinery.objects import Key, Object, get, key
from sampan.reconcile.controller import Cache, Controller, Patch, Plan, Watch

KIND = "resourcequotas"
# How often everything is counted afresh, in seconds.
RESYNC = 300.0


@dataclass(frozen=True, slots=True)
class Observed:
    """`objects` are those of the quota's namespace, by each resource that it names and that we know."""

    quota: Object
    objects: dict[str, tuple[Object, ...]]


def observe(cache: Cache, name: Key) -> Observed | None:
    found = cache.get(KIND, name)
    if found is None or "deletionTimestamp" in found["metadata"]:
        return None
    named = {quota.resource_of(n) for n in get(found, "spec.hard", {})} & {k.resource for k in counted()}
    return Observed(found, {r: tuple(cache.list(r, name.namespace)) for r in named})


def decide(seen: Observed, now: float) -> Plan:
    found = seen.quota
    used = quota.total(found, {r: list(o) for r, o in seen.objects.items()}, now)
    hard, known = get(found, "spec.hard", {}), amounts.parse(get(found, "status.used"))
    if used == known and amounts.parse(get(found, "status.hard")) == amounts.parse(hard):
        return Plan(again=RESYNC)
    gone = dict.fromkeys([*get(found, "status.hard", {}), *get(found, "status.used", {})])
    status = {
        "hard": {**{n: None for n in gone if n not in hard}, **amounts.written(amounts.parse(hard))},
        "used": {**{n: None for n in gone if n not in hard}, **amounts.written(used)},
    }
    # Only from the revision that was seen: the API server adds to it.
    meta = {"resourceVersion": found["metadata"].get("resourceVersion", "")}
    return Plan(
        (Patch(KIND, key(found), {"metadata": meta, "status": status}, subresource="status"),), RESYNC
    )


def counted() -> list[Kind]:
    """The kinds that can be counted."""
    return [k for k in garbage.collected() if k.namespaced and k.resource not in quota.IGNORED]


def _new(cache: Cache, obj: Object) -> Iterable[Key]:
    """A quota is counted when what it asks for changes, not whenever the API server adds to it."""
    stale = amounts.parse(get(obj, "spec.hard")) != amounts.parse(get(obj, "status.hard"))
    return (key(obj),) if stale or get(obj, "status.used") is None else ()


def _wakes(resource: str) -> Callable[[Cache, Object], Iterable[Key]]:
    """What goes, or uses nothing any more, wakes the quotas that it was counted under."""

    def keys(cache: Cache, obj: Object) -> Iterable[Key]:
        namespace = obj["metadata"].get("namespace", "")
        quotas = list(cache.list(KIND, namespace))
        if not quotas or not (_gone(cache, obj) or _less(obj)):
            return ()
        return [key(q) for q in quotas if quota.tracked(resource, get(q, "spec.hard", {}))]

    def _gone(cache: Cache, obj: Object) -> bool:
        present = cache.get(resource, key(obj))
        return present is None or present["metadata"].get("uid") != obj["metadata"].get("uid")

    def _less(obj: Object) -> bool:
        return resource == "services" or get(obj, "status.phase") in ("Succeeded", "Failed")

    return keys


def make(settings: Settings) -> Controller:
    watches = [Watch(k.resource, _wakes(k.resource)) for k in counted() if k.resource != KIND]
    return Controller(
        name="resourcequota-controller",
        watches=(Watch(KIND, _new), Watch(KIND, _wakes(KIND)), *watches),
        observe=observe,
        decide=decide,
    )
