"""The store in etcd v3, for several API servers beside one another.

    PREFIX/core/pods/default/web    each record under its own key, its value as it is
    PREFIX.                         the latest write: when, whose, its cause and its key; written with every write

Revisions are etcd's, less one, since an empty etcd is at revision 1 and an empty store at 0. Other keys in the same
etcd leave gaps. The key PREFIX. is what makes etcd's history a log: its value as of a revision tells the cause and time
of that write, also of a delete; and its latest revision, read with etcd's own consistency, tells how far a copy must
have come to miss nothing (`sync`). Each process keeps such a copy (`State`), follows etcd by one watch, and answers
reads from it; older ones come from etcd. etcd compacts everything alike: a prefix compacted further is only no
longer shown.
Sources: etcd's docs, "Data model" and "API guarantees"; KEP-2340 (consistent reads from a cache).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import os
import ssl
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sampan.store.api import Compacted, Conflict, Entry, Event, Exists, Future, Page, Record, StoreError
from sampan.store.encryption import NONE, Encryption
from sampan.store.rpc import Client, Refused, Stale, Unsure, message
from sampan.store.sqlite import WINDOW_BYTES, WINDOW_EVENTS
from sampan.store.state import Floors, State, Watch, prefix_end

DEFAULT_PREFIX = "/sampan"
DEFAULT_PORT = 2379
_PAGE = 1000  # records that one Range brings
_SYNC_SECONDS = 5.0  # how long the copy may lag before a read that must be current fails
_RETRY_SECONDS = 1.0
_WRITES = 3  # how often a write is tried whose outcome etcd did not tell
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the store is: `etcd://host:port,host:port/prefix`."""

    endpoints: tuple[tuple[str, int], ...]
    prefix: str = DEFAULT_PREFIX


def parse(url: str) -> Address:
    """Raises ValueError, which says what is wrong."""
    parts = urlsplit(url)
    if parts.scheme != "etcd" or not parts.netloc or "@" in parts.netloc or parts.query:
        raise ValueError(f"{url!r} is not etcd://HOST:PORT[,HOST:PORT...][/PREFIX]")
    prefix = parts.path.rstrip("/") or DEFAULT_PREFIX
    return Address(tuple(_endpoint(e) for e in parts.netloc.split(",")), prefix)


def _endpoint(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, str(DEFAULT_PORT)
    if not host or not port.isdigit():
        raise ValueError(f"{text!r} is no HOST:PORT of an etcd server")
    return host.strip("[]"), int(port)


async def open(address: Address, tls: ssl.SSLContext | None = None, encryption: Encryption = NONE) -> Etcd:
    """Open the store. Raises StoreError where no server answers, or what is there cannot be decrypted."""
    store = Etcd(Client(address.endpoints, tls), address, encryption)
    try:
        await store.begin()
    except BaseException:
        await store.close()
        raise
    return store


@dataclass(frozen=True, slots=True)
class _Mark:
    """What PREFIX. says of a write: `tag` is the writer's own name for it."""

    time: float
    tag: str
    cause: str
    key: str

    def encode(self) -> bytes:
        return f"{self.time:.6f} {self.tag} {self.cause or '-'} {self.key}".encode()


def _mark(value: bytes) -> _Mark:
    """The inverse of `encode`; an empty one of what somebody else wrote there."""
    try:
        when, tag, cause, key = value.decode().split(" ", 3)
        return _Mark(float(when), tag, "" if cause == "-" else cause, key)
    except ValueError:
        return _Mark(0.0, "", "", "")


class Etcd:
    """A `Store` in etcd, used from one event loop. `begin` comes first."""

    def __init__(self, client: Client, address: Address, encryption: Encryption = NONE) -> None:
        self.address = address
        self._encryption = encryption
        self._client = client
        self._prefix = address.prefix
        self._last = f"{address.prefix}.".encode()
        self._state = State(keep_events=WINDOW_EVENTS, keep_bytes=WINDOW_BYTES)
        self._floors = Floors()
        self._writer = os.urandom(6).hex()
        self._numbers = itertools.count(1)
        self._last_time = 0.0
        # Whoever waits for a revision; and our own writes on their way, with the revision that the watch has shown.
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._mine: dict[str, int] = {}
        self._asking: asyncio.Task[int] | None = None
        self._next_asking: asyncio.Task[int] | None = None
        self._follower: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def revision(self) -> int:
        return self._state.revision

    @property
    def shared(self) -> bool:
        return True

    @property
    def oldest(self) -> int:
        return self._floors.of_all

    async def begin(self) -> None:
        """Load what is there, and follow it from there on."""
        await self._load()
        self._floors.raise_to("", await self._compacted())
        self._follower = asyncio.create_task(self._follow(), name="store: etcd")

    async def _load(self) -> None:
        records, revision = await self._records("", 0)
        self._state.load(records, revision)
        self._wake()

    async def _compacted(self) -> int:
        """The oldest revision that etcd still has; only a watch that begins too early tells which it is."""
        with suppress(Refused):
            await self._client.call("Range", message("RangeRequest")(key=self._last, revision=1))
            return 0
        create = {"key": self._last + b"\0", "start_revision": 1}
        async with aclosing(self._client.watch(create)) as responses:
            try:
                async for _ in responses:
                    pass
            except Stale as e:
                return e.oldest - 1
        return 0

    # Names and ranges

    def _key(self, key: str) -> bytes:
        return (self._prefix + key).encode()

    def _range(self, prefix: str, after: str = "") -> tuple[bytes, bytes]:
        low = self._key(prefix or "/")
        high = prefix_end(self._prefix + (prefix or "/")).encode()
        return (max(low, self._key(after) + b"\0") if after else low), high

    def _record(self, kv: Any) -> Record:
        key = kv.key.decode(errors="replace")[len(self._prefix) :]
        return Record(key, self._opened(key, kv.value), kv.mod_revision - 1)

    def _opened(self, key: str, value: bytes) -> bytes:
        return self._encryption.open(key, value) if value[:1] == b"k" else value

    async def _ask(self, key: bytes, end: bytes = b"", *, revision: int = 0, **more: Any) -> Any:
        """A Range, as of one of our revisions or now. Raises Compacted, Future."""
        asked = message("RangeRequest")(
            key=key, range_end=end, revision=revision + 1 if revision else 0, **more
        )
        try:
            return await self._client.call("Range", asked)
        except Refused as e:
            raise await self._out_of_range(e) from e

    async def _out_of_range(self, error: Refused) -> StoreError:
        """What a refusal of etcd means in the contract's terms."""
        if error.code != "OUT_OF_RANGE":
            return error
        if "compacted" not in str(error):
            return Future(str(error))
        self._floors.raise_to("", await self._compacted())
        return Compacted(self._floors.of_all)

    async def _records(self, prefix: str, revision: int) -> tuple[list[Record], int]:
        """All records of a prefix, in key order, and as of when."""
        found: list[Record] = []
        after = ""
        while True:
            low, high = self._range(prefix, after)
            answer = await self._ask(low, high, revision=revision, limit=_PAGE)
            revision = revision or answer.header.revision - 1
            found += map(self._record, answer.kvs)
            if not answer.more:
                return found, revision
            after = found[-1].key

    # Reads

    async def get(self, key: str, revision: int = 0) -> Record | None:
        if not revision:
            return self._state.get(key)
        self._floors.check(key, revision, self.revision)
        if revision >= self._state.floor:
            return self._state.get_as_of(key, revision)
        answer = await self._ask(self._key(key), revision=revision)
        return self._record(answer.kvs[0]) if answer.kvs else None

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        if not revision:
            return self._state.page(prefix, after, limit)
        self._floors.check(prefix, revision, self.revision)
        if revision >= self._state.floor:
            return self._state.page_as_of(prefix, after, limit, revision)
        if not limit:
            records, _ = await self._records(prefix, revision)
            return Page([r for r in records if r.key > after], revision, 0)
        answer = await self._ask(*self._range(prefix, after), revision=revision, limit=limit)
        return Page([self._record(kv) for kv in answer.kvs], revision, answer.count - len(answer.kvs))

    async def count(self, prefix: str) -> int:
        return self._state.count(prefix)

    async def cause(self, revision: int) -> str:
        recent = self._state.cause(revision)
        if recent is not None or revision > self.revision:
            return recent or ""
        mark, written = await self._mark_at(revision)
        return mark.cause if mark and written == revision else ""

    async def _mark_at(self, revision: int) -> tuple[_Mark | None, int]:
        """The last write at or before a revision, and its own; None where it is no longer kept."""
        try:
            answer = await self._ask(self._last, revision=revision)
        except Compacted:
            return None, 0
        if not answer.kvs:
            return None, 0
        return _mark(answer.kvs[0].value), answer.kvs[0].mod_revision - 1

    async def history(self, key: str) -> Sequence[Entry]:
        kept: list[Entry] = []
        floor = self.oldest
        if floor and (before := await self._known(key, floor)):
            kept.append(before)
        kept += [e async for e in self._entries(key, floor)]
        shown = self._floors.of(key)
        latest = max((e.revision for e in kept if e.revision <= shown), default=0)
        return [e for e in kept if e.revision > shown or (e.revision == latest and e.value is not None)]

    async def _known(self, key: str, revision: int) -> Entry | None:
        """The write that a compaction left of a key; what was told of it may be gone."""
        answer = await self._ask(self._key(key), revision=revision)
        if not answer.kvs:
            return None
        record = self._record(answer.kvs[0])
        mark, written = await self._mark_at(record.revision)
        known = mark if mark and written == record.revision else _Mark(0.0, "", "", key)
        return Entry(key, record.revision, record.value, known.cause, known.time)

    async def _entries(self, key: str, after: int) -> AsyncGenerator[Entry, None]:
        """The writes of a key, found among the marks of all writes, which are short."""
        latest = await self._latest()
        create = {"key": self._last, "start_revision": after + 2}
        if latest <= after:
            return
        async with aclosing(self._client.watch(create)) as responses:
            async for response in responses:
                for event in response.events:
                    mark, revision = _mark(event.kv.value), event.kv.mod_revision - 1
                    if mark.key == key:
                        answer = await self._ask(self._key(key), revision=revision)
                        value = self._record(answer.kvs[0]).value if answer.kvs else None
                        yield Entry(key, revision, value, mark.cause, mark.time)
                    if revision >= latest:
                        return

    @property
    def floors(self) -> Mapping[str, int]:
        return self._floors.named()

    async def writes(self, after: int) -> Sequence[Entry]:
        oldest = self.oldest
        if after < oldest:
            records, _ = await self._records("", oldest)
            kept = sorted(records, key=lambda record: record.revision)
            if found := [Entry(r.key, r.revision, r.value, "", 0.0) for r in kept if r.revision > after]:
                return found
        latest = await self._latest()
        events = [e async for e in self._past("", max(after, oldest), latest)] if latest > after else []
        return [Entry(e.key, e.revision, e.value, e.cause, e.time) for e in events]

    async def revision_at(self, time: float) -> int:
        low, high = max(self.oldest, 1), self.revision
        found = 0
        while low <= high:
            middle = (low + high) // 2
            mark, written = await self._mark_at(middle)
            if mark and mark.time > time:
                high = min(middle, written) - 1
            else:
                found, low = (written if mark else found), middle + 1
        return found

    async def size(self) -> int:
        return int((await self._client.call("Status", message("StatusRequest")())).dbSizeInUse)

    # Being current

    async def sync(self, revision: int = 0) -> None:
        """See `api.Store`."""
        if revision and revision <= self.revision:
            return
        await self._reached(await self._latest())
        if revision > self.revision:
            raise Future(f"revision {revision} is not written yet; the latest is {self.revision}")

    async def _latest(self) -> int:
        """The revision of the latest write by anyone. Those who ask at the same time share one question.

        A question that is on its way began too early for who asks now, so there may be one more.
        """
        if self._next_asking is None:
            self._next_asking = asyncio.create_task(self._ask_latest(self._asking))
        return await asyncio.shield(self._next_asking)

    async def _ask_latest(self, before: asyncio.Task[int] | None) -> int:
        if before is not None:
            await asyncio.wait({before})
        self._asking, self._next_asking = self._next_asking, None
        answer = await self._ask(self._last)
        latest = answer.kvs[0].mod_revision - 1 if answer.kvs else 0
        # Nothing of ours was written between that and etcd's own revision.
        await self._reached(latest)
        self._state.advance(answer.header.revision - 1)
        self._wake()
        return latest

    async def _reached(self, revision: int) -> None:
        """Wait until the copy is at `revision`. Raises StoreError where that takes too long."""
        if revision <= self.revision:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (revision, id(future), future))
        try:
            async with asyncio.timeout(_SYNC_SECONDS):
                await future
        except TimeoutError:
            raise StoreError(
                f"this server's copy is at revision {self.revision} and etcd at {revision}: "
                f"etcd at {self._client.name} sends nothing"
            ) from None

    def _wake(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.revision:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    # Following etcd

    async def _follow(self) -> None:
        told = False
        while not self._closed:
            begun = self.revision
            try:
                await self._take_all()
            except Stale as e:
                log.warning("%s, and this server had seen it up to %d: loading anew", e, begun + 1)
                self._floors.raise_to("", e.oldest - 1)
                await self._reload()
            except StoreError as e:
                if not told:
                    log.warning("%s; trying again", e)
                told = self.revision == begun
                await asyncio.sleep(_RETRY_SECONDS if told else 0.05)
            except Exception:
                # Nobody else would bring the copy up to date again.
                log.exception("the writes of others cannot be followed; trying again")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _reload(self) -> None:
        """Begin with a new copy; watches go on from etcd's history, or learn that it is gone."""
        try:
            await self._load()
        except StoreError as e:
            log.warning("%s; trying again", e)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _take_all(self) -> None:
        create = {
            "key": self._last,
            "range_end": prefix_end(self._prefix + "/").encode(),
            "start_revision": self.revision + 2,
            "progress_notify": True,
        }
        async with aclosing(self._client.watch(create)) as responses:
            async for response in responses:
                if response.events:
                    self._take(response.events)

    def _take(self, events: Sequence[Any]) -> None:
        """Apply the events of one response: all of a revision are in the same."""
        mine = self._key("/")
        marks: dict[int, _Mark] = {}
        for event in events:
            if event.kv.key == self._last and event.type == 0:
                mark = marks[event.kv.mod_revision] = _mark(event.kv.value)
                if mark.tag in self._mine:
                    self._mine[mark.tag] = event.kv.mod_revision - 1
        for event in events:
            revision = event.kv.mod_revision - 1
            if revision > self.revision and event.kv.key.startswith(mine):
                told = marks.get(event.kv.mod_revision)
                if made := self._event(event, revision, self._state.get, told):
                    self._state.apply([made])
        self._wake()

    def _event(self, event: Any, revision: int, previous: Any, told: _Mark | None) -> Event | None:
        """An event as the contract has it; None for the delete of what was not there."""
        key = event.kv.key.decode(errors="replace")[len(self._prefix) :]
        value = None if event.type else self._opened(key, event.kv.value)
        before = previous(key)
        if value is None and before is None:
            return None
        told = told or _Mark(time.time(), "", "", key)
        return Event(key, revision, value, before, told.cause, told.time)

    def watch(self, prefix: str, after: int) -> Watch:
        self._floors.check(prefix, after, self.revision)
        return self._state.watch(prefix, after, self._older)

    async def _older(self, prefix: str, after: int) -> tuple[Sequence[Event], int]:
        """A page of events after `after`, up to where the window begins. Waits for etcd, however long it takes."""
        while True:
            if after < (oldest := self._floors.of(prefix)):
                raise Compacted(oldest)
            until = self._state.floor
            try:
                _, last = await self._mark_at(until)
                if after < self._floors.of(prefix):
                    continue  # it was compacted meanwhile, and so may the mark have been
                events = [e async for e in self._past(prefix, after, last)] if last > after else []
                break
            except Stale as e:
                self._floors.raise_to("", e.oldest - 1)
            except StoreError as e:
                if self._closed or isinstance(e, Compacted):
                    raise
                log.info("older events are not to be had: %s; trying again", e)
                await asyncio.sleep(_RETRY_SECONDS)
        return (events, events[-1].revision) if len(events) >= _PAGE else (events, until)

    async def _past(self, prefix: str, after: int, last: int) -> AsyncGenerator[Event, None]:
        """At least a page of the events after `after`, or all up to `last`, which is a write's revision."""
        create = {
            "key": self._last,
            "range_end": prefix_end(self._prefix + "/").encode(),
            "start_revision": after + 2,
            "prev_kv": True,
        }
        mine, count = self._key(prefix or "/"), 0
        async with aclosing(self._client.watch(create)) as responses:
            async for response in responses:
                marks = {
                    e.kv.mod_revision: _mark(e.kv.value) for e in response.events if e.kv.key == self._last
                }
                for event in response.events:
                    revision = event.kv.mod_revision - 1
                    if revision > last:
                        return
                    if event.kv.key.startswith(mine):
                        before = self._record(event.prev_kv) if event.HasField("prev_kv") else None
                        told = marks.get(event.kv.mod_revision)
                        if made := self._event(event, revision, lambda key, b=before: b, told):
                            count += 1
                            yield made
                if count >= _PAGE or (response.events and revision >= last):
                    return

    # Writes

    async def create(self, key: str, value: bytes, cause: str = "") -> int:
        try:
            return await self._write(key, value, -1, cause)
        except Conflict as e:
            raise Exists(f"{key} exists") from e

    async def update(self, key: str, value: bytes, expected: int, cause: str = "") -> int:
        return await self._write(key, value, expected, cause)

    async def delete(self, key: str, expected: int, cause: str = "") -> int:
        return await self._write(key, None, expected, cause)

    async def _write(self, key: str, value: bytes | None, expected: int, cause: str) -> int:
        """Write where the key is at `expected`, -1 for a key that is not there; shown by the copy when this returns.

        A write of unknown outcome is tried again: at most one attempt can take effect, and the watch shows which.
        """
        if self._closed:
            raise StoreError("the store is closed")
        self._last_time = now = max(time.time(), self._last_time)
        mark = _Mark(now, f"{self._writer}-{next(self._numbers)}", cause, key)
        self._mine[mark.tag] = 0
        try:
            answer = await self._carried_out(self._transaction(key, value, expected + 1, mark))
            if answer.succeeded:
                await self._reached(answer.header.revision - 1)
                return int(answer.header.revision - 1)
            return await self._not_written(key, answer, mark.tag)
        finally:
            del self._mine[mark.tag]

    async def _carried_out(self, request: Any) -> Any:
        """The answer to a transaction. Raises Unsure where none came, again and again."""
        for _ in range(_WRITES - 1):
            with suppress(Unsure):
                return await self._client.call("Txn", request, repeat=False)
        return await self._client.call("Txn", request, repeat=False)

    def _transaction(self, key: str, value: bytes | None, expected: int, mark: _Mark) -> Any:
        name = self._key(key)
        change: dict[str, Any] = (
            {"request_delete_range": {"key": name}}
            if value is None
            else {"request_put": {"key": name, "value": self._encryption.seal(key, value)}}
        )
        return message("TxnRequest")(
            compare=[{"key": name, "target": "MOD", "result": "EQUAL", "mod_revision": expected}],
            success=[change, {"request_put": {"key": self._last, "value": mark.encode()}}],
            failure=[{"request_range": {"key": name}}, {"request_range": {"key": self._last}}],
        )

    async def _not_written(self, key: str, answer: Any, tag: str) -> int:
        """The revision of an earlier attempt that took effect after all; else raises Conflict."""
        kvs, last = (r.response_range.kvs for r in answer.responses)
        await self._reached(last[0].mod_revision - 1 if last else 0)
        if earlier := self._mine[tag]:
            return earlier
        raise Conflict(key, self._record(kvs[0]) if kvs else None)

    async def encrypt(self, encryption: Encryption) -> None:
        """Seal what is written from now on as `encryption` says, and write anew what is there and sealed otherwise.

        etcd's own history keeps what it has until that is compacted.
        """
        self._encryption = encryption
        after, more = "", True
        while more:
            answer = await self._ask(*self._range("", after), limit=_PAGE)
            for kv in answer.kvs:
                record = self._record(kv)
                if encryption.stale(record.key, kv.value):
                    with suppress(Conflict):  # who wrote it since then sealed it
                        await self.update(record.key, record.value, record.revision)
                after = record.key
            more = answer.more

    # Compaction

    async def compact(self, revision: int, prefix: str = "") -> None:
        revision = min(revision, self.revision)
        if not prefix and revision > self.oldest:
            try:
                await self._client.call("Compact", message("CompactionRequest")(revision=revision + 1))
            except Refused as e:
                # Another server was quicker, and maybe went further.
                raised = await self._out_of_range(e)
                if not isinstance(raised, Compacted):
                    raise raised from e
            self._state.forget(revision)
        self._floors.raise_to(prefix, revision)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._state.close()
        tasks = [t for t in (self._follower, self._asking, self._next_asking) if t and not t.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._client.close()
