"""delete and deletecollection."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from sampan.apiserver import codec, errors
from sampan.apiserver.bodies import content
from sampan.apiserver.call import Answer, Call, Made, One
from sampan.apiserver.deletion import Wish, decide
from sampan.client.api import ApiError
from sampan.host import trace
from sampan.machinery.objects import Object, changed, get
from sampan.store.api import Conflict, Record

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

ATTEMPTS = 8
# Kinds whose delete answers the object where upstream's does; the others answer a Status.
_ANSWERED = frozenset({
    "pods", "services", "serviceaccounts", "persistentvolumeclaims", "persistentvolumes", "podtemplates",
    "resourcequotas", "namespaces",
})  # fmt: skip
_PURGING = (
    "The system is ensuring all content is removed from this namespace.  "
    "Upon completion, this namespace will automatically be purged by the system."
)


class Deleter:
    def __init__(self, server: ApiServer):
        self._server = server
        self._store = server.store

    async def delete(self, call: Call) -> Answer:
        return await self._delete(call, await _wish(call))

    async def collection(self, call: Call) -> Answer:
        """Delete everything that the selectors choose; answers what was chosen."""
        wish = await _wish(call)
        chosen = await self._server.reader.list(call)
        kind = call.resource
        for record in chosen.records:
            meta = self._server.decoded(record)["metadata"]
            one = replace(call, verb="delete", name=meta["name"], namespace=meta.get("namespace", ""))
            try:
                await self._delete(one, wish)
            except ApiError as e:
                if e.code != 404:
                    raise
        return Made(
            {
                "apiVersion": kind.api_version,
                "kind": kind.list_kind or f"{kind.kind}List",
                "metadata": {"resourceVersion": str(chosen.revision)},
                "items": [codec.view(kind, r) for r in chosen.records],
            }
        )

    async def _delete(self, call: Call, wish: Wish) -> Answer:
        for _ in range(ATTEMPTS):
            record = await self._server.reader.record(call.resource, call.namespace, call.name)
            old = codec.decode(record)
            self._check(call, old, wish)
            await self._server.admission.validate(call, None, old)
            try:
                return await self._end(call, record, old, wish)
            except Conflict as e:
                if not e.found:
                    raise errors.not_found(call.resource, call.name) from e
        raise errors.conflict(call.resource, call.name)

    def _check(self, call: Call, old: Object, wish: Wish) -> None:
        meta = old["metadata"]
        if wish.uid and wish.uid != meta["uid"]:
            why = f"Precondition failed: UID in precondition: {wish.uid}, UID in object meta: {meta['uid']}"
            raise errors.conflict(call.resource, call.name, why)
        if wish.revision and wish.revision != meta["resourceVersion"]:
            why = (
                f"Precondition failed: ResourceVersion in precondition: {wish.revision}, "
                f"ResourceVersion in object meta: {meta['resourceVersion']}"
            )
            raise errors.conflict(call.resource, call.name, why)
        if (
            call.resource.resource == "namespaces"
            and meta.get("deletionTimestamp")
            and get(old, "spec.finalizers")
        ):
            raise errors.conflict(call.resource, call.name, _PURGING)

    async def _end(self, call: Call, record: Record, old: Object, wish: Wish) -> Answer:
        kind = call.resource
        kept = decide(kind, old, wish, time.time())
        if kept is None:
            revision = record.revision
            if not call.dry_run:
                revision = await self._store.delete(record.key, record.revision, trace.cause())
                self._server.written(record.key, None, revision)
            if kind.resource in _ANSWERED:
                return One(Record(record.key, record.value, revision))
            return Made(errors.success(kind, call.name, old["metadata"]["uid"]))
        value = codec.encode(kept)
        if value == record.value or call.dry_run:
            shown = kind.from_storage(kept)
            return Made(changed(shown, ("metadata", "resourceVersion"), str(record.revision)))
        revision = await self._store.update(record.key, value, record.revision, trace.cause())
        return One(Record(record.key, value, revision))


async def _wish(call: Call) -> Wish:
    """DeleteOptions, from the body or from the query."""
    options = await content(call) or {}
    if "All" in (options.get("dryRun") or ()):
        call.query = {**call.query, "dryRun": ["All"]}
    conditions = options.get("preconditions") or {}
    grace = options.get("gracePeriodSeconds", call.parameter("gracePeriodSeconds") or None)
    propagation = options.get("propagationPolicy") or call.parameter("propagationPolicy")
    orphan = options.get("orphanDependents", call.parameter("orphanDependents") or None)
    if orphan is not None and not propagation:
        propagation = "Orphan" if str(orphan).lower() == "true" else "Background"
    if propagation not in ("", "Background", "Foreground", "Orphan"):
        raise errors.bad_request(
            f'DeleteOptions is invalid: propagationPolicy: Unsupported value: "{propagation}": '
            'supported values: "Background", "Foreground", "Orphan"'
        )
    try:
        seconds = None if grace is None else int(grace)
    except (TypeError, ValueError) as e:
        raise errors.bad_request(f'gracePeriodSeconds: "{grace}" is no number of seconds') from e
    return Wish(seconds, propagation, conditions.get("uid") or "", conditions.get("resourceVersion") or "")
