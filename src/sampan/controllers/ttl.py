"""Deletes finished Jobs when their ttlSecondsAfterFinished is over. Source: KEP-592."""

from __future__ import annotations

from sampan.controllers import job
from sampan.controllers.settings import Settings
from sampan.machinery import conditions, times
from sampan.machinery.objects import Key, Object, key
from sampan.reconcile.controller import Cache, Controller, Delete, Plan, Watch


def observe(cache: Cache, name: Key) -> Object | None:
    found = cache.get(job.KIND, name)
    if found is None or "deletionTimestamp" in found["metadata"]:
        return None
    return found if "ttlSecondsAfterFinished" in found["spec"] and job.end(found) else None


def decide(seen: Object, now: float) -> Plan:
    condition = conditions.find(seen, job.end(seen))
    assert condition is not None
    wait = times.seconds(condition["lastTransitionTime"]) + seen["spec"]["ttlSecondsAfterFinished"] - now
    if wait > 0:
        return Plan(again=wait)
    return Plan((Delete(job.KIND, key(seen), seen["metadata"]["uid"], propagation="Foreground"),))


def make(settings: Settings) -> Controller:
    return Controller(
        name="ttl-after-finished-controller",
        watches=(Watch(job.KIND),),
        observe=observe,
        decide=decide,
        workers=1,
    )
