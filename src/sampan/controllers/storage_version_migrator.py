"""StorageVersionMigrations: every object of a resource is written once more, so that it stands in today's form.

    asked ─> Running ─(each object: an empty patch)─> Succeeded, or Failed where the resource is not known

Source: KEP-4192; k8s.io/kubernetes pkg/controller/storageversionmigrator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sampan.client.api import ApiError, Client
from sampan.controllers.settings import Settings
from sampan.machinery import conditions, times
from sampan.machinery.objects import Key, Object, get, key
from sampan.reconcile.controller import Action, Cache, Controller, Patch, Plan, Watch

KIND = "storageversionmigrations.storagemigration.k8s.io"
PAGE = 500
# How long a resource may be unknown, since its definition may be about to come, and how often we look.
PATIENCE, AGAIN = 60.0, 5.0


@dataclass(frozen=True, slots=True)
class Observed:
    """`objects` are those to be written, as of `revision`; None where the resource cannot be listed."""

    migration: Object
    objects: tuple[Key, ...] | None = ()
    revision: str = ""
    fault: str = ""


def resource(migration: Object) -> str:
    name, group = get(migration, "spec.resource.resource", ""), get(migration, "spec.resource.group", "")
    return f"{name}.{group}" if group else str(name)


def observe(cache: Cache, name: Key) -> Observed | None:
    found = cache.get(KIND, name)
    if found is None or any(conditions.is_true(found, t) for t in ("Succeeded", "Failed")):
        return None
    return Observed(found)


async def fetch(client: Client, seen: Observed) -> Observed:
    try:
        found: list[Key] = []
        listing = await client.list(resource(seen.migration), limit=PAGE)
        revision = listing.revision
        found += [key(o) for o in listing.items]
        while listing.more:
            listing = await client.list(resource(seen.migration), limit=PAGE, more=listing.more)
            found += [key(o) for o in listing.items]
    except ApiError as e:
        return replace(seen, objects=None, fault=str(e))
    return replace(seen, objects=tuple(found), revision=revision)


def decide(seen: Observed, now: float) -> Plan:
    found = seen.migration
    if seen.objects is None:
        patience = times.seconds(found["metadata"]["creationTimestamp"]) + PATIENCE - now
        if patience > 0:
            return Plan((), again=min(patience, AGAIN))
        return Plan((_status(found, "Failed", "MigrationFailed", seen.fault, "", now),))
    if not conditions.is_true(found, "Running"):
        return Plan((_status(found, "Running", "StorageVersionMigrationInProgress", "", seen.revision, now),))
    kind = resource(found)
    writes: list[Action] = [Patch(kind, name, {}) for name in seen.objects]
    done = _status(found, "Succeeded", "StorageVersionMigrationSucceeded", "", "", now)
    return Plan((*writes, done))


def _status(found: Object, type: str, reason: str, message: str, revision: str, now: float) -> Action:
    known = conditions.of(found)
    if type != "Running" and conditions.among(known, "Running"):
        known = conditions.with_(known, conditions.new("Running", "False", reason, message, now))
    known = conditions.with_(known, conditions.new(type, "True", reason, message, now))
    status: Object = {"conditions": list(known)}
    if revision and not get(found, "status.resourceVersion"):
        status["resourceVersion"] = revision
    return Patch(KIND, key(found), {"status": status}, subresource="status")


def make(settings: Settings) -> Controller:
    return Controller(
        name="storage-version-migrator-controller",
        watches=(Watch(KIND),),
        observe=observe,
        fetch=fetch,
        decide=decide,
        workers=1,
    )
