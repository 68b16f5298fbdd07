"""The store on disk: an append-only log in SQLite, with group commit.

Writes wait in a list until the writer's thread is free; then all that wait go into one transaction, so that
they share one fsync. Reads come from memory (`State`), older ones from the log, in a thread of their own. A
key has at most one write on its way, so a write is checked only against what is durable, and one that fails
takes no other with it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from sampan.store.api import Compacted, Conflict, Entry, Event, Exists, Future, Page, Record, StoreError
from sampan.store.encryption import NONE, Encryption
from sampan.store.log import Log
from sampan.store.state import Floors, State, Watch

# How far back the window in memory reaches; what is older comes from the log.
WINDOW_EVENTS = 10_000
WINDOW_BYTES = 8 << 20
# The most writes in one transaction, so that the first of many need not wait for all.
BATCH = 1000

T = TypeVar("T")


async def open(path: Path, encryption: Encryption = NONE) -> Sqlite:
    """Open the store at `path`, or make it.

    Raises StoreError where it is damaged, or open in another process, or encrypted otherwise.
    """
    return await asyncio.to_thread(_load, path, encryption, asyncio.get_running_loop())


def _load(path: Path, encryption: Encryption, loop: asyncio.AbstractEventLoop) -> Sqlite:
    log = Log(path, encryption)
    try:
        records, revision = log.load()
    except StoreError:
        log.close()
        raise
    except sqlite3.DatabaseError as e:
        log.close()
        raise log.damaged(e) from e
    state = State(keep_events=WINDOW_EVENTS, keep_bytes=WINDOW_BYTES)
    state.load(records, revision)
    return Sqlite(log, state, loop)


class _Write:
    """A write on its way to the disk, who waits for it, and who waits for the key."""

    __slots__ = ("cause", "future", "key", "previous", "value", "waiters")

    def __init__(self, key: str, value: bytes | None, previous: Record | None, cause: str) -> None:
        self.key, self.value, self.previous, self.cause = key, value, previous, cause
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.waiters: list[asyncio.Future[None]] = []


class Sqlite:
    """A `Store` in the SQLite file that `open` opened, used from that event loop."""

    def __init__(self, log: Log, state: State, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._state = state
        self._loop = loop
        self._floors = Floors(log.floors.items())
        self._waiting: list[_Write] = []
        self._on_the_way: dict[str, _Write] = {}
        self._committing = False
        self._flushing = False
        self._closed = False
        self._last_time = 0.0
        self._writer = _Writer(loop)
        self._reader = ThreadPoolExecutor(1, "store-reader")

    @property
    def revision(self) -> int:
        return self._state.revision

    @property
    def shared(self) -> bool:
        return False

    @property
    def oldest(self) -> int:
        return self._floors.of_all

    # Reads

    async def sync(self, revision: int = 0) -> None:
        if revision > self.revision:
            raise Future(f"revision {revision} is not written yet; the latest is {self.revision}")

    async def get(self, key: str, revision: int = 0) -> Record | None:
        if not revision:
            return self._state.get(key)
        self._floors.check(key, revision, self.revision)
        if revision >= self._state.floor:
            return self._state.get_as_of(key, revision)
        record = await self._read(self._log.get, key, revision)
        self._floors.check(key, revision, self.revision)
        return record

    async def list(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        if not revision:
            return self._state.page(prefix, after, limit)
        self._floors.check(prefix, revision, self.revision)
        if revision >= self._state.floor:
            return self._state.page_as_of(prefix, after, limit, revision)
        page = await self._read(self._log.page, prefix, after, limit, revision)
        self._floors.check(prefix, revision, self.revision)
        return page

    async def count(self, prefix: str) -> int:
        return self._state.count(prefix)

    async def cause(self, revision: int) -> str:
        recent = self._state.cause(revision)
        return recent if recent is not None else await self._read(self._log.cause, revision)

    async def history(self, key: str) -> Sequence[Entry]:
        return await self._read(self._log.history, key)

    @property
    def floors(self) -> Mapping[str, int]:
        return self._floors.named()

    async def writes(self, after: int) -> Sequence[Entry]:
        return await self._read(self._log.writes, after)

    async def revision_at(self, time: float) -> int:
        return await self._read(self._log.revision_at, time)

    async def size(self) -> int:
        return await self._read(self._log.size)

    async def _read(self, read: Callable[..., T], *arguments: Any) -> T:
        if self._closed:
            raise StoreError("the store is closed")
        try:
            return await self._loop.run_in_executor(self._reader, read, *arguments)
        except sqlite3.DatabaseError as e:
            raise self._log.damaged(e) from e

    # Watches

    def watch(self, prefix: str, after: int) -> Watch:
        self._floors.check(prefix, after, self.revision)
        return self._state.watch(prefix, after, self._older)

    async def _older(self, prefix: str, after: int) -> tuple[Sequence[Event], int]:
        self._check_kept(prefix, after)
        found = await self._read(self._log.events, prefix, after, self.revision)
        # Compaction may have taken rows away meanwhile.
        self._check_kept(prefix, after)
        return found

    def _check_kept(self, prefix: str, after: int) -> None:
        if after < (oldest := self._floors.of(prefix)):
            raise Compacted(oldest)

    # Writes

    async def create(self, key: str, value: bytes, cause: str = "") -> int:
        await self._turn(key)
        if self._state.get(key):
            raise Exists(f"{key} exists")
        return await self._write(_Write(key, value, None, cause))

    async def update(self, key: str, value: bytes, expected: int, cause: str = "") -> int:
        await self._turn(key)
        return await self._write(_Write(key, value, self._expect(key, expected), cause))

    async def delete(self, key: str, expected: int, cause: str = "") -> int:
        await self._turn(key)
        return await self._write(_Write(key, None, self._expect(key, expected), cause))

    async def _turn(self, key: str) -> None:
        """Wait until no write of this key is on its way."""
        while before := self._on_the_way.get(key):
            waiter: asyncio.Future[None] = self._loop.create_future()
            before.waiters.append(waiter)
            await waiter

    def _expect(self, key: str, expected: int) -> Record:
        found = self._state.get(key)
        if found is None or found.revision != expected:
            raise Conflict(key, found)
        return found

    async def _write(self, write: _Write) -> int:
        if self._closed:
            raise StoreError("the store is closed")
        self._on_the_way[write.key] = write
        self._waiting.append(write)
        self._flush_soon()
        return await write.future

    def _flush_soon(self) -> None:
        # One turn of the loop later, so that all who are about to write in this turn are in one batch.
        if not self._flushing and not self._committing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if not self._waiting or self._committing:
            return
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        self._committing = True
        self._last_time = now = max(time.time(), self._last_time)
        first = self._state.revision + 1
        events = [Event(w.key, first + n, w.value, w.previous, w.cause, now) for n, w in enumerate(batch)]
        rows = [(e.revision, e.key, e.value, e.cause, e.time) for e in events]

        def done(error: Exception | None) -> None:
            self._settle(batch, events, self._refused(error) if error else None)

        self._writer.put(lambda: self._log.append(rows), done)

    def _settle(self, batch: Sequence[_Write], events: Sequence[Event], error: StoreError | None) -> None:
        """The batch is durable, or failed as a whole."""
        self._committing = False
        if not error:
            self._state.apply(events)
        for write, event in zip(batch, events, strict=True):
            del self._on_the_way[write.key]
            if not write.future.done():
                if error:
                    write.future.set_exception(StoreError(*error.args))
                else:
                    write.future.set_result(event.revision)
            for waiter in write.waiters:
                if not waiter.done():
                    waiter.set_result(None)
        self._flush_soon()

    def _refused(self, error: Exception) -> StoreError:
        hint = "; free some space on its disk" if "full" in str(error) else ""
        return StoreError(f"cannot write to the store {self._log.path}: {error}{hint}")

    # Compaction

    async def compact(self, revision: int, prefix: str = "") -> None:
        revision = min(revision, self.revision)
        await self._on_writer(lambda: self._log.begin_compaction(prefix, revision))
        self._floors.raise_to(prefix, revision)
        while await self._on_writer(lambda: self._log.compact(prefix)):
            pass

    async def _on_writer(self, work: Callable[[], T]) -> T:
        """Run `work` in the writer's thread, between two transactions."""
        if self._closed:
            raise StoreError("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        result: list[T] = []

        def done(error: Exception | None) -> None:
            if future.done():
                return
            if error:
                future.set_exception(self._refused(error))
            else:
                future.set_result(result[0])

        self._writer.put(lambda: result.append(work()), done)
        return await future

    async def encrypt(self, encryption: Encryption) -> None:
        """Seal what is written from now on as `encryption` says, and all that is there, history included."""
        await self._on_writer(lambda: self._log.begin_encryption(encryption))
        after = 0
        if not await self._on_writer(self._log.sealed_as_configured):
            while after := await self._on_writer(lambda: self._log.seal_anew(after)):
                pass

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for key in list(self._on_the_way):
            await self._turn(key)
        self._state.close()
        await asyncio.to_thread(self._writer.stop)
        await asyncio.to_thread(self._reader.shutdown)
        await asyncio.to_thread(self._log.close)


class _Writer:
    """A thread that does one piece of work after the other, and sleeps while there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: SimpleQueue[tuple[Callable[[], None], Callable[[Exception | None], None]] | None]
        self._queue = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, work: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        """Have `work` done, then `done` called on the loop with what it raised, or None."""
        self._queue.put((work, done))

    def stop(self) -> None:
        """End the thread once all work is done."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while item := self._queue.get():
            work, done = item
            error: Exception | None = None
            try:
                work()
            except Exception as e:
                error = e
            try:
                self._loop.call_soon_threadsafe(done, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
