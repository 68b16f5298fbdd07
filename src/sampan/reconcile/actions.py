"""Carries out a plan: one API call for each action, in order.

What is already as the action wants it is no failure: a Delete of what is gone, a Create of what is there.
Every write gives a `Written`, by which the loop knows when the informers have caught up.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from sampan.client.api import ApiError, Client
from sampan.machinery.objects import Key, Object, key, owner
from sampan.reconcile.controller import Absent, Action, Create, Delete, DeleteAll, Emit, Patch, Update


class Events(Protocol):
    """Where Emit actions go; `events.Recorder` is the one that writes them."""

    def emit(self, about: Object, type: str, reason: str, message: str) -> None: ...


class Stale(Exception):
    """The cache was too old to decide by; decide again."""


@dataclass(frozen=True, slots=True)
class Written:
    """A write to await in the informers: `revision` must be seen, or, for a delete, the object `uid` be
    gone or going.
    """

    kind: str
    revision: int = 0
    key: Key | None = None
    uid: str = ""


def revision(obj: Object) -> int:
    """The object's resourceVersion as a number, comparable within a cluster (KEP-5504); 0 where it has none."""
    text = str(obj.get("metadata", {}).get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


async def perform(action: Action, client: Client, events: Events) -> Written | None:
    """Do one action. Raises ApiError and Unavailable, save where the outcome stands already."""
    match action:
        case Emit():
            events.emit(action.about, action.type, action.reason, action.message)
            return None
        case Create():
            return await _told(_create(action, client), action, "Create", events)
        case Update():
            made = await client.update(action.kind, action.object, subresource=action.subresource)
            return Written(action.kind, revision(made))
        case Patch():
            return await _patch(action, client)
        case Delete():
            return await _told(_delete(action, client), action, "Delete", events)
        case DeleteAll():
            return await _delete_all(action, client)
        case Absent():
            await _confirm_absent(action, client)
            return None


async def _told(
    doing: Coroutine[None, None, Written], action: Create | Delete, verb: str, events: Events
) -> Written:
    """Await `doing` and tell the object that the action is about how it went, in upstream's words."""
    if action.about is None:
        return await doing
    try:
        written = await doing
    except ApiError as e:
        events.emit(action.about, "Warning", f"Failed{verb}", f"Error {verb[:-1].lower()}ing: {e}")
        raise
    noun = action.kind.split(".")[0].removesuffix("s")
    name = action.object["metadata"]["name"] if isinstance(action, Create) else action.key.name
    events.emit(action.about, "Normal", f"Successful{verb}", f"{verb}d {noun}: {name}")
    return written


async def _create(action: Create, client: Client) -> Written:
    try:
        made = await client.create(action.kind, action.object)
    except ApiError as e:
        if e.reason != "AlreadyExists":
            raise
        made = await client.get(action.kind, *reversed(key(action.object)))
        # It may be the one we made before a crash; then decide again with what the informers say of it.
        if (owner(made) or {}).get("uid") != (owner(action.object) or {}).get("uid"):
            raise
    return Written(action.kind, revision(made))


async def _patch(action: Patch, client: Client) -> Written:
    made = await client.patch(
        action.kind,
        action.key.name,
        action.key.namespace,
        action.patch,
        type=action.type,
        subresource=action.subresource,
    )
    return Written(action.kind, revision(made))


async def _delete(action: Delete, client: Client) -> Written:
    try:
        await client.delete(
            action.kind,
            action.key.name,
            action.key.namespace,
            uid=action.uid,
            grace=action.grace,
            propagation=action.propagation,
        )
    except ApiError as e:
        # Conflict means that the name belongs to another object by now; ours is gone.
        if e.reason not in ("NotFound", "Conflict"):
            raise
    return Written(action.kind, key=action.key, uid=action.uid)


async def _delete_all(action: DeleteAll, client: Client) -> Written:
    listing = await client.list(action.kind, action.namespace)
    for obj in listing.items:
        if "deletionTimestamp" not in obj["metadata"]:
            await _delete(Delete(action.kind, key(obj), obj["metadata"].get("uid", "")), client)
    return Written(action.kind, int(listing.revision) if listing.items else 0)


async def _confirm_absent(action: Absent, client: Client) -> None:
    try:
        found = await client.get(action.kind, *reversed(action.key))
    except ApiError as e:
        if e.reason == "NotFound":
            return
        raise
    if action.uid in ("", found["metadata"].get("uid")):
        raise Stale(f"{action.kind} {action.key} is there, though the cache does not know it")


def batches(plan: Iterable[Action]) -> Iterator[list[Action]]:
    """The plan in groups that may be done at once: equal creates, or deletes, in 1, 2, 4, 8, ... at a time.

    That is upstream's slow start: where the first fails, as over a quota, not all the others are tried.
    """
    for (verb, _), same in groupby(plan, lambda a: (type(a), getattr(a, "kind", ""))):
        run, size = list(same), 1
        while run:
            yield run[:size]
            run = run[size:]
            size *= 2 if verb in (Create, Delete) else 1
