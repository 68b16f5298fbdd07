"""Runs controllers over shared informers: queues, decides, carries out plans, and comes back when needed.

One `Runner` for each controller. A change wakes keys; each key is observed and decided by one task at a
time, at most `workers` of them at once. A plan that does something is a span, child of the first change
that woke it and linked to the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from sampan.client.api import ApiError, Change, Client, Unavailable
from sampan.host import trace
from sampan.kinds.custom.definitions import established
from sampan.machinery.objects import Key, Object
from sampan.reconcile import actions
from sampan.reconcile.actions import Written
from sampan.reconcile.controller import DEFINITIONS, Cache, Controller, Plan, Watch
from sampan.reconcile.events import Recorder
from sampan.reconcile.queue import Queue

# How long a key waits for the informers to see its own writes before it is decided regardless.
PATIENCE = 10.0

log = logging.getLogger(__name__)


class Informers(Cache, Protocol):
    """The shared copies (`sampan.client.informer`), as the loop uses them."""

    def add_index(self, kind: str, name: str, values: Callable[[Object], Iterable[str]], /) -> None: ...

    def subscribe(self, kind: str, handler: Callable[[Change, Object | None], None], /) -> None: ...

    def forget(self, kind: str, /) -> None: ...

    async def synced(self, kinds: Iterable[str], /) -> None: ...


async def run(
    controllers: Iterable[Controller], client_for: Callable[[str], Client], informers: Informers
) -> None:
    """Run every controller, each through `client_for(its name)`, until cancelled.

    `informers.run()` is the caller's: the informers are shared with other components of the process.
    """
    async with asyncio.TaskGroup() as tasks:
        for controller in controllers:
            client = client_for(controller.name)
            recorder = Recorder(client, controller.name)
            tasks.create_task(recorder.run(), name=f"{controller.name} events")
            runner = Runner(controller, client, informers, recorder)
            tasks.create_task(runner.run(), name=controller.name)


class Progress:
    """Which writes the informers have seen, by the latest revision that came in for each kind."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._latest: dict[str, int] = {}

    def note(self, kind: str, obj: Object) -> None:
        self._latest[kind] = max(self._latest.get(kind, 0), actions.revision(obj))

    def seen(self, written: Written) -> bool:
        if written.key is None:
            return self._latest.get(written.kind, 0) >= written.revision
        found = self._cache.get(written.kind, written.key)
        if found is None or (written.uid and found["metadata"].get("uid") != written.uid):
            return True
        return "deletionTimestamp" in found["metadata"]


class Runner:
    """One controller's queue and workers."""

    def __init__(
        self, controller: Controller, client: Client, informers: Informers, events: actions.Events
    ) -> None:
        self._controller, self._client, self._informers, self._events = controller, client, informers, events
        self._queue = Queue()
        self._woken = asyncio.Event()
        self._slots = asyncio.Semaphore(controller.workers)
        self._progress = Progress(informers)
        self._pending: dict[Key, tuple[float, list[Written]]] = {}
        # Keys that wait for their own writes to be seen.
        self._parked: set[Key] = set()
        self._faults: dict[Key, str] = {}
        self._kinds = {watch.kind for watch in controller.watches}
        self._subject = controller.subject or controller.watches[0].kind
        for index in controller.indexes:
            informers.add_index(index.kind, index.name, index.values)
        for watch in controller.watches:
            informers.subscribe(watch.kind, self._handler(watch))
        if controller.custom:
            self._kinds.add(DEFINITIONS)
            informers.subscribe(DEFINITIONS, self._defined)

    def _defined(self, change: Change, old: Object | None) -> None:
        """Follow the objects of custom kinds while their definitions are there."""
        resource = change.object["metadata"]["name"]
        if change.type == "DELETED":
            self._kinds.discard(resource)
            self._informers.forget(resource)
        elif resource not in self._kinds and established(change.object):
            assert self._controller.custom is not None
            watch, indexes = self._controller.custom(resource)
            self._kinds.add(resource)
            for index in indexes:
                self._informers.add_index(index.kind, index.name, index.values)
            self._informers.subscribe(resource, self._handler(watch))

    async def run(self) -> None:
        await self._informers.synced(list(self._kinds))
        for key in self._controller.always:
            self._queue.add(key)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._slots.acquire()
                key, causes = await self._next()
                tasks.create_task(self._work(key, causes), name=f"{self._controller.name} {key}")

    def _handler(self, watch: Watch) -> Callable[[Change, Object | None], None]:
        def handle(change: Change, old: Object | None) -> None:
            self._progress.note(watch.kind, change.object)
            cause = trace.parse(change.cause)
            causes = (cause,) if cause else ()
            for obj in (change.object,) if old is None else (old, change.object):
                for key in watch.keys(self._informers, obj):
                    self._queue.add(key, causes)
            for key in [key for key in self._parked if self._caught_up(key)]:
                self._parked.discard(key)
                self._queue.add(key)
            if len(self._queue):
                self._woken.set()

        return handle

    async def _next(self) -> tuple[Key, list[trace.Cause]]:
        clock = asyncio.get_running_loop().time
        while (item := self._queue.pop(clock())) is None:
            self._woken.clear()
            try:
                async with asyncio.timeout_at(self._queue.next_time()):
                    await self._woken.wait()
            except TimeoutError:
                pass
        return item

    async def _work(self, key: Key, causes: list[trace.Cause]) -> None:
        now = asyncio.get_running_loop().time()
        try:
            if not self._caught_up(key) and now < self._pending[key][0]:
                self._parked.add(key)
                self._queue.add_at(key, self._pending[key][0], causes)
                return
            self._pending.pop(key, None)
            self._parked.discard(key)
            await self._reconcile(key, causes)
            if self._controller.failed:
                self._controller.failed(key, None)
            self._queue.forget(key)
            self._faults.pop(key, None)
        except (ApiError, Unavailable, actions.Stale) as e:
            if isinstance(e, ApiError) and _in_vain(e):
                return
            if isinstance(e, ApiError) and self._controller.failed:
                self._controller.failed(key, e)
            # Others change things too, and delete them.
            expected = isinstance(e, actions.Stale) or (
                isinstance(e, ApiError) and e.reason in ("Conflict", "NotFound")
            )
            if not expected and self._faults.get(key) != str(e):
                # Once: what cannot succeed is tried for ever, more and more rarely.
                log.warning("%s: %s: %s", self._controller.name, key, e)
                self._faults[key] = str(e)
            self._retry(key, causes)
        except Exception:
            log.exception("%s: cannot decide on %s", self._controller.name, key)
            self._retry(key, causes)
        finally:
            self._queue.done(key)
            self._slots.release()
            self._woken.set()

    async def _reconcile(self, key: Key, causes: list[trace.Cause]) -> None:
        observed = self._controller.observe(self._informers, key)
        if observed is None:
            return
        if self._controller.fetch:
            observed = await self._controller.fetch(self._client, observed)
        plan = self._controller.decide(observed, time.time())
        if plan.actions:
            with trace.span(f"reconcile {self._subject} {key}", self._controller.name, causes=causes):
                await self._perform(key, plan)
        if self._controller.remember and plan.note is not None:
            self._controller.remember(key, plan.note)
        if plan.again is not None:
            self._queue.add_at(key, asyncio.get_running_loop().time() + max(plan.again, 0.0))

    async def _perform(self, key: Key, plan: Plan) -> None:
        pending: list[Written] = []
        try:
            for batch in actions.batches(plan.actions):
                done = await asyncio.gather(
                    *(actions.perform(action, self._client, self._events) for action in batch),
                    return_exceptions=True,
                )
                pending += [w for w in done if isinstance(w, Written) and w.kind in self._kinds]
                for failure in (d for d in done if isinstance(d, BaseException)):
                    raise failure
        finally:
            if pending:
                self._pending[key] = (asyncio.get_running_loop().time() + PATIENCE, pending)

    def _caught_up(self, key: Key) -> bool:
        return key not in self._pending or all(map(self._progress.seen, self._pending[key][1]))

    def _retry(self, key: Key, causes: list[trace.Cause]) -> None:
        self._queue.retry(key, asyncio.get_running_loop().time(), causes)


def _in_vain(e: ApiError) -> bool:
    """Whether trying again is senseless: nothing can be made in a namespace that is being deleted."""
    causes = (e.status.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
