"""The past of what is stored, as far as it is kept: reads as of then, the history of an object, undo, and recordings.

    /sampan/v1/at/WHEN/api...     get and list as of WHEN: a revision, or a time (RFC 3339, or seconds since the epoch)
    /sampan/v1/history/api...     who changed this object, when, and what, as differences of fields
    /sampan/v1/undo/api...        POST: write it as it was, an ordinary update with admission; `dryRun` shows what that
                                  would change, `toRevision` says which state, `resourceVersion` which present is meant
    /sampan/v1/record             everything that is kept, line by line, for `sampan up --replay`

What follows the first three is the object's own path, and needs the verb on it (get, list, update) as of today. Secret
values appear only as hashes.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from sampan.apiserver import codec, errors
from sampan.apiserver.call import Answer, Call, Made, One
from sampan.apiserver.reading import Reader
from sampan.apiserver.secrets import Redaction
from sampan.http.messages import Response
from sampan.machinery.differences import differences
from sampan.machinery.objects import Object
from sampan.store.api import Compacted, Entry, Page, Record, Store

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

# What the server sets, so that undoing leaves it as it is.
_SERVERS = ("apiVersion", "kind", "metadata", "status")
_RESTORED = ("labels", "annotations")
_OWN = tuple(f"metadata.{name}" for name in _RESTORED)
_CONTROLLERS = "deployment.kubernetes.io/revision"
# Lines of a recording between two turns of the loop.
_SLICE = 200


class Past:
    """Answers calls whose `view` is not the present."""

    def __init__(self, server: ApiServer):
        self._server = server
        self._store = server.store
        self._redaction = Redaction(server.settings.service_account_key)

    async def __call__(self, call: Call) -> Answer:
        if call.view == "at":
            return await self._at(call)
        if call.view == "record":
            return self._record(call)
        if not call.kind or not call.name or call.subresource:
            raise errors.no_such_path()
        if call.verb != {"history": "get", "undo": "update"}[call.view]:
            raise errors.method_not_allowed(call.kind)
        return await (self._history(call) if call.view == "history" else self._undo(call))

    # As of then

    async def _at(self, call: Call) -> Answer:
        if call.kind is None:
            return await self._server.paths(call)
        if call.verb not in ("get", "list") or call.subresource or not call.kind.stored:
            raise errors.method_not_allowed(
                call.kind,
                because=f"this is the cluster as of {call.moment}: it can be read by get and list, and no more",
            )
        revision = await self.revision(call.moment)
        past: Any = AsOf(self._store, revision, self._redaction)
        reader = Reader(past, codec.Decoded(), self._server.conversion.records)
        for name in ("resourceVersion", "resourceVersionMatch"):
            call.query.pop(name, None)
        try:
            return await (reader.get(call) if call.verb == "get" else reader.list(call))
        except Compacted as e:
            raise errors.expired(f"the cluster as of {call.moment} is not kept any more: {e}") from e

    async def revision(self, moment: str) -> int:
        """The revision that a moment means. Raises 400, and 410 for what is not kept."""
        if moment.isdigit() and len(moment) < 10:
            revision = int(moment)
        else:
            revision = await self._store.revision_at(_seconds(moment))
        if revision > self._store.revision:
            raise errors.future(revision, self._store.revision)
        if not revision or revision < self._store.oldest:
            kept = (
                f"what is kept begins at revision {self._store.oldest}"
                if self._store.oldest
                else "nothing was written yet"
            )
            raise errors.expired(f"the cluster as of {moment} is not kept: {kept}")
        return revision

    # History

    async def _history(self, call: Call) -> Answer:
        entries = await self._store.history(call.key)
        if not entries:
            raise errors.not_found(call.resource, call.name)
        origins = await self._origins(entries)
        shown: list[Object] = []
        before: Object | None = None
        for n, entry in enumerate(entries):
            if n % 20 == 19:
                await asyncio.sleep(0)
            now = self._shown(call, entry)
            shown.append(_told(entry, before, now, origins.get(entry.cause, {}), first=n == 0))
            before = now
        return Made(
            {
                "apiVersion": "sampan.io/v1",
                "kind": "History",
                "metadata": {"name": call.name},
                "entries": shown,
            }
        )

    def _shown(self, call: Call, entry: Entry) -> Object | None:
        if entry.value is None:
            return None
        obj = codec.view(call.resource, Record(entry.key, entry.value, entry.revision))
        return self._redaction.shown(entry.key, obj)

    async def _origins(self, entries: Sequence[Entry]) -> dict[str, Object]:
        """Who is behind each cause, as far as traces are kept."""
        ask = self._server.settings.origins
        causes = [e.cause for e in entries if e.cause]
        return await ask(causes) if ask and causes else {}

    # Undo

    async def _undo(self, call: Call) -> Answer:
        entries = await self._store.history(call.key)
        now = await self._store.get(call.key)
        target = self._target(call, entries, now)
        assert target.value is not None
        wanted = codec.view(call.resource, Record(target.key, target.value, target.revision))
        answer = await (self._restore(call, wanted) if now else self._remake(call, wanted))
        before = codec.view(call.resource, now) if now else {}
        after = answer.object if isinstance(answer, Made) else codec.view(call.resource, answer.record)
        shown = [self._redaction.shown(call.key, codec.copied(o)) for o in (before, after)]
        found: Object = {"apiVersion": "sampan.io/v1", "kind": "Undo", "toRevision": str(target.revision)}
        found["resourceVersion"] = str(now.revision) if now else ""
        return Made(found | {"differences": _beyond_status(differences(*shown))})

    def _target(self, call: Call, entries: Sequence[Entry], now: Record | None) -> Entry:
        """The state to go back to: the one asked for, or the one before the last change that was not to its status."""
        kept = [e for e in entries if e.value is not None]
        if not kept:
            raise errors.not_found(call.resource, call.name)
        if asked := call.parameter("toRevision"):
            found = [e for e in kept if asked.isdigit() and e.revision <= int(asked)]
            if not found:
                raise errors.expired(
                    f"{call.resource.resource} {call.name!r} is not kept as of revision {asked}"
                )
            return found[-1]
        if now is None:
            return kept[-1]
        present = codec.decode(now)
        for entry in reversed(kept):
            if entry.value is not None and _beyond_status(differences(orjson.loads(entry.value), present)):
                return entry
        raise errors.bad_request(
            f"nothing is kept of {call.resource.resource} {call.name!r} that differs from what it is now"
        )

    async def _restore(self, call: Call, wanted: Object) -> One | Made:
        expected = call.parameter("resourceVersion")

        async def change(obj: Object) -> Object:
            made = {k: v for k, v in wanted.items() if k not in _SERVERS}
            made |= {k: obj[k] for k in _SERVERS if k in obj}
            meta = made["metadata"]
            counted = (meta.get("annotations") or {}).get(_CONTROLLERS)
            for name in _RESTORED:
                meta.pop(name, None)
                if restored := wanted["metadata"].get(name):
                    meta[name] = restored
            if counted is not None:
                meta.setdefault("annotations", {})[_CONTROLLERS] = counted
            if expected:
                meta["resourceVersion"] = expected
            return made

        return _written(await self._server.writer.change(call, change))

    async def _remake(self, call: Call, wanted: Object) -> One | Made:
        """Create what was deleted, as it was."""
        await self._server.writer.check_create(call)
        kept = ("name", "namespace", *_RESTORED)
        wanted["metadata"] = {k: v for k, v in wanted["metadata"].items() if k in kept}
        wanted.pop("status", None)
        call.verb = "create"
        return _written(await self._server.writer.create_from(call, wanted))

    # Recording

    def _record(self, call: Call) -> Answer:
        if call.verb != "get":
            raise errors.method_not_allowed()
        return Response(200, self._lines(), {"content-type": "application/x-ndjson"})

    async def _lines(self) -> AsyncIterator[bytes]:
        """What the recording is of, then each write that is kept, with JSON in place of its bytes."""
        store, until = self._store, self._store.revision
        floors = {p: min(f, until) for p, f in store.floors.items()}
        head = {"sampan": "recording/v1", "time": time.time(), "revision": until, "floors": floors}
        yield orjson.dumps(head) + b"\n"
        after = 0
        while after < until and (page := await store.writes(after)):
            for start in range(0, len(page), _SLICE):
                chosen = [e for e in page[start : start + _SLICE] if e.revision <= until]
                yield b"".join(map(self._line, chosen))
                await asyncio.sleep(0)
            after = page[-1].revision

    def _line(self, entry: Entry) -> bytes:
        value = None if entry.value is None else self._redaction.value(entry.key, entry.value)
        line: dict[str, Any] = {"r": entry.revision, "k": entry.key, "c": entry.cause, "t": entry.time}
        if value is not None and value[:1] == b"{":
            line["o"] = orjson.Fragment(value)
        elif value is not None:
            line["b"] = base64.b64encode(value).decode()
        return orjson.dumps(line) + b"\n"


@dataclass(slots=True)
class AsOf:
    """As much of a store as a `Reader` needs, as of one revision."""

    store: Store
    revision: int
    redaction: Redaction

    async def get(self, key: str, revision: int = 0) -> Record | None:
        found = await self.store.get(key, revision or self.revision)
        return self.redaction.record(found) if found else None

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        page = await self.store.list(prefix, after=after, limit=limit, revision=revision or self.revision)
        return Page([self.redaction.record(r) for r in page.records], page.revision, page.remaining)


def _written(answer: Answer) -> One | Made:
    assert isinstance(answer, One | Made), "a write answers an object"
    return answer


def _seconds(moment: str) -> float:
    """Seconds since the epoch. Raises 400."""
    try:
        if moment.replace(".", "", 1).isdigit():
            return float(moment)
        found = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except ValueError as e:
        raise errors.bad_request(f"{moment!r} is no revision, and no time as in 2026-11-23T17:00:00Z") from e


def _told(entry: Entry, before: Object | None, now: Object | None, origin: Object, *, first: bool) -> Object:
    """One change, as it is answered."""
    told: Object = {"revision": str(entry.revision), "time": entry.time, "cause": entry.cause, **origin}
    told.setdefault("by", _manager(now, before))
    if now is None:
        told["change"] = "deleted"
    elif before is None:
        told["change"] = "created" if not first or _made_then(now, entry.time) else "kept"
    else:
        told["change"] = "changed"
        told["differences"] = differences(before, now)
    return told


def _made_then(obj: Object, when: float) -> bool:
    made = obj["metadata"].get("creationTimestamp", "")
    return bool(made) and abs(_seconds(made) - when) < 5.0


def _manager(obj: Object | None, before: Object | None) -> str:
    """Who wrote last, by the object's own account: its times are in whole seconds, so whose fields became more."""
    entries, known = (((o or {}).get("metadata") or {}).get("managedFields") or [] for o in (obj, before))
    had = {(e.get("manager"), e.get("operation"), e.get("subresource")): len(str(e)) for e in known}

    def rank(entry: Object) -> tuple[str, int]:
        key = (entry.get("manager"), entry.get("operation"), entry.get("subresource"))
        return entry.get("time", ""), len(str(entry)) - had.get(key, 0)

    changed = [e for e in entries if e not in known] or entries
    return str(max(changed, key=rank).get("manager", "")) if changed else ""


def _beyond_status(found: Sequence[Object]) -> list[Object]:
    """The differences that somebody may want to undo."""
    return [d for d in found if _meant(d["path"])]


def _meant(path: str) -> bool:
    if not path.startswith("metadata"):
        return not path.startswith("status")
    return path.startswith(_OWN) and _CONTROLLERS not in path
