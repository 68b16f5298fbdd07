"""create, update and patch: every write passes `Writer.admitted`, then reaches the store once, encoded once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sampan.apiserver import codec, errors, managers
from sampan.apiserver.authorization import attributes
from sampan.apiserver.bodies import body
from sampan.apiserver.call import Answer, Call, Made, One
from sampan.host import trace
from sampan.kinds import faults, shapes
from sampan.kinds.kind import Kind
from sampan.machinery import generated, times
from sampan.machinery.objects import Object
from sampan.store.api import Conflict, Exists, Record

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

ATTEMPTS = 8
# Kinds whose update creates what is not there, as upstream's.
_CREATED_BY_UPDATE = frozenset({"leases.coordination.k8s.io", "events", "events.events.k8s.io", "endpoints"})
# Metadata that only the server sets: a writer may leave it out, and may not change it.
_OURS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")

Change = Callable[[Object], Awaitable[Object]]


def now() -> str:
    return times.time(time.time())


class Writer:
    def __init__(self, server: ApiServer):
        self._server = server
        self._store = server.store

    async def create(self, call: Call) -> Answer:
        return await self.create_from(call, await body(call, call.resource))

    async def check_create(self, call: Call) -> None:
        """Raises 403 where the user of an update or an apply, which is about to create, may not create."""
        asked = attributes(call)._replace(verb="create")
        if not await self._server.allowed(call.user, asked):
            raise errors.denied(call.user.name, asked)

    async def create_from(self, call: Call, given: Object, *, tracked: bool = True) -> Answer:
        """Create an object in the form that is stored; under a generated name, another where that is taken."""
        kind = call.resource
        meta = self._begun(call, given)
        for attempt in range(ATTEMPTS):
            obj = given if meta.get("name") else codec.copied(given)
            call.name = meta.get("name") or _generated(meta)
            if call.name:
                obj["metadata"]["name"] = call.name
            try:
                return await self._create(call, obj, tracked)
            except Exists as e:
                undo(call)
                if meta.get("name") or attempt == ATTEMPTS - 1:
                    raise errors.exists(kind, call.name) from e
            except BaseException:
                undo(call)
                raise
        raise AssertionError("the last attempt returns or raises")

    def _begun(self, call: Call, obj: Object) -> Object:
        """The metadata as a creator may say it: in the path's namespace, and without what is the server's."""
        meta: Object = obj["metadata"]
        if meta.get("resourceVersion") not in (None, "", "0"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        placed(call, meta)
        for name in (
            "resourceVersion",
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
        ):
            meta.pop(name, None)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = now()
        return meta

    async def _create(self, call: Call, obj: Object, tracked: bool = True) -> Answer:
        obj = await self.admitted(call, obj, None, tracked=tracked)
        if call.dry_run:
            if await self._store.get(call.key):
                raise Exists(call.key)
            undo(call)
            return Made(obj, 201)
        value = codec.encode(await self._server.conversion.stored(call.resource, obj))
        revision = await self._store.create(call.key, value, trace.cause())
        self._server.written(call.key, value, revision)
        obj["metadata"]["resourceVersion"] = str(revision)
        written = Record(call.key, value, revision)
        await self._server.conversion.records(call.resource, [written])
        return One(written, 201, obj)

    async def update(self, call: Call) -> Answer:
        given = await body(call, call.resource)
        placed(call, given["metadata"])
        same_name(call, given["metadata"])
        if call.resource.strict and not given["metadata"].get("resourceVersion"):
            fault = faults.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise errors.invalid(call.resource, call.name, [fault])
        if call.resource.resource in _CREATED_BY_UPDATE and not await self._store.get(call.key):
            await self.check_create(call)
            self._begun(call, given)
            return await self._create(call, given)

        async def replace(old: Object) -> Object:
            return codec.copied(given)

        return await self.change(call, replace)

    async def change(self, call: Call, change: Change, *, tracked: bool = True, ours: bool = False) -> Answer:
        """Write what `change` makes of the object as it is now, again where somebody else was quicker.

        `change` may alter the object that it gets. With `tracked`, what it changes comes to be owned by the caller. A
        change of `ours`, which no writer worded, passes neither the kind's rules nor admission.
        Raises 404, 409, 422 and what admission refuses.
        """
        for attempt in range(ATTEMPTS):
            record = await self._server.reader.record(call.resource, call.namespace, call.name)
            obj = await change(codec.view(call.resource, record))
            expected = obj["metadata"].get("resourceVersion")
            if expected and expected not in ("0", str(record.revision)):
                raise errors.conflict(call.resource, call.name)
            try:
                return await self._replace(call, record, obj, tracked, ours)
            except Conflict as e:
                undo(call)
                if not e.found:
                    raise errors.not_found(call.resource, call.name) from e
                if attempt == ATTEMPTS - 1:
                    raise errors.conflict(call.resource, call.name) from e
            except BaseException:
                undo(call)
                raise
        raise AssertionError("the last attempt returns or raises")

    async def _replace(self, call: Call, record: Record, obj: Object, tracked: bool, ours: bool) -> Answer:
        kind = call.resource
        old = codec.view(kind, record)
        same_name(call, obj["metadata"])
        self._keep(kind, obj, old)
        if not ours:
            obj = await self.admitted(call, obj, old, tracked=tracked)
        if call.dry_run:
            undo(call)
            obj["metadata"]["resourceVersion"] = str(record.revision)  # nothing was written
            return Made(obj)
        value = codec.encode(await self._server.conversion.stored(kind, obj))
        if value == record.value:
            obj["metadata"]["resourceVersion"] = str(record.revision)
            return One(record, 200, obj)
        if finished(obj):
            revision = await self._store.delete(record.key, record.revision, trace.cause())
            self._server.written(record.key, None, revision)
        else:
            revision = await self._store.update(record.key, value, record.revision, trace.cause())
            self._server.written(record.key, value, revision)
        obj["metadata"]["resourceVersion"] = str(revision)
        written = Record(record.key, value, revision)
        await self._server.conversion.records(kind, [written])
        return One(written, 200, obj)

    def _keep(self, kind: Kind, obj: Object, old: Object) -> None:
        """Put the server's own metadata back as it was. Raises 409 for the uid of another object."""
        meta, before = obj["metadata"], old["metadata"]
        if meta.get("uid") and meta["uid"] != before["uid"]:
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {before['uid']}"
            raise errors.conflict(kind, before["name"], why)
        if before.get("namespace"):
            meta.setdefault("namespace", before["namespace"])
        for name in _OURS:
            if name in before:
                meta[name] = before[name]
            else:
                meta.pop(name, None)
        meta.pop("resourceVersion", None)

    async def admitted(self, call: Call, obj: Object, old: Object | None, *, tracked: bool = True) -> Object:
        """The object as it is to be stored: defaults, owners of fields, preparation, admission, validation.

        Raises what refuses it.
        """
        kind = call.resource
        kind.default(obj)
        if tracked:
            track(call, obj, old)
        await self._server.admission.mutate(call, obj, old)
        if kind.prepare:
            kind.prepare(obj, old, call.subresource)
        found = kind.validators.get(call.subresource, kind.validate)(obj, old)
        if found:
            raise errors.invalid(kind, obj["metadata"].get("name", ""), found)
        await self._server.admission.validate(call, obj, old)
        return obj


def track(call: Call, obj: Object, old: Object | None) -> None:
    """Note that the caller owns what it writes here."""
    kind, meta = call.resource, obj["metadata"]
    left_alone = managers.ignored(kind.subresources, call.subresource)
    who = managers.manager(call, "Update")
    meta["managedFields"] = managers.updated(old, obj, shapes.of(kind), who, left_alone)
    if not meta["managedFields"]:
        del meta["managedFields"]


def undo(call: Call) -> None:
    """Give back what admission reserved for a write that does not happen."""
    while call.undo:
        call.undo.pop()()


def placed(call: Call, meta: Object) -> None:
    """Put the object into the path's namespace. Raises 400 where it names another."""
    if not call.resource.namespaced:
        if not meta.get("namespace"):
            meta.pop("namespace", None)
        return
    if meta.get("namespace") and call.namespace and meta["namespace"] != call.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if not call.namespace:
        raise errors.bad_request("an empty namespace may not be set during creation")
    meta["namespace"] = call.namespace


def same_name(call: Call, meta: Object) -> None:
    """The object's name is the path's. Raises 400 where it says another."""
    if meta.setdefault("name", call.name) != call.name:
        message = f"the name of the object ({meta['name']}) does not match the name on the URL ({call.name})"
        raise errors.bad_request(message)


def finished(obj: Object) -> bool:
    """Whether an object that is being deleted is held by nothing any more."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return not (obj["kind"] == "Namespace" and (obj.get("spec") or {}).get("finalizers"))


def _generated(meta: Object) -> str:
    stem = meta.get("generateName") or ""
    return generated.random_name(stem) if stem else ""
