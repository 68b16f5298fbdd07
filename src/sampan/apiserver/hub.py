"""Hubs: what the store tells of a prefix, handed to all who watch it.

A hub follows one prefix of the store, once, and gives what happens to its subscribers, a few milliseconds' worth in one
callback; those that want the same bytes share them. Who begins further back than the hub stands gets a hub of its own
until it has caught up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from sampan.apiserver.moments import Moment, Moments
from sampan.store.api import Store, StoreError

log = logging.getLogger(__name__)
# How long a hub hands out before others get the loop, and after how many subscribers it looks at the clock.
SECONDS, STRIDE = 0.004, 16
# How many events are handed out together.
SLICE = 50
# Has what is about to be handed out at hand in every form that somebody may want, under a prefix.
Prepare = Callable[[str, Sequence[Moment]], Awaitable[None]]


class Batch:
    """What happened, in order; and what was made of it, by what it was made for."""

    __slots__ = ("_made", "first", "last", "moments")

    def __init__(self, moments: Sequence[Moment]):
        self.moments = moments
        self.first, self.last = moments[0].event.revision, moments[-1].event.revision
        self._made: dict[object, bytes] = {}

    def once(self, key: object, make: Callable[[], bytes]) -> bytes:
        """What `make` makes, made by the first who asks for `key`."""
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make()
        return found


class Subscriber(Protocol):
    """`trigger` is the only node whose pods it wants to hear of, or empty."""

    trigger: str

    def take(self, batch: Batch) -> None:
        """What happened, part of which it may know already; must neither wait nor raise."""

    @property
    def crowded(self) -> bool:
        """Whether so much lies with it that it should not get more now."""

    async def ready(self) -> None:
        """Wait until there is room for more."""

    def lost(self, error: StoreError | None, ended: bool) -> None:
        """The hub goes no further: the store has `ended`, or named an error, or the hub fell behind."""


class Hub:
    """One prefix, from a revision on. `position` is the revision of the last event that was handed out."""

    def __init__(self, store: Store, moments: Moments, prefix: str, position: int, prepare: Prepare):
        self._prepare = prepare
        self.prefix, self.position = prefix, position
        self._store, self._moments = store, moments
        self._all: dict[Subscriber, None] = {}
        self._triggered: dict[str, dict[Subscriber, None]] = {}
        self.task: asyncio.Task[None] | None = None
        # Whether it waits for somebody slow.
        self.waiting = False

    def join(self, subscriber: Subscriber) -> None:
        among = self._triggered.setdefault(subscriber.trigger, {}) if subscriber.trigger else self._all
        among[subscriber] = None

    def leave(self, subscriber: Subscriber) -> bool:
        """Whether it was here."""
        among = self._triggered.get(subscriber.trigger, {}) if subscriber.trigger else self._all
        if subscriber not in among:
            return False
        del among[subscriber]
        if not among and subscriber.trigger:
            del self._triggered[subscriber.trigger]
        return True

    @property
    def subscribers(self) -> list[Subscriber]:
        return [*self._all, *(s for among in self._triggered.values() for s in among)]

    async def run(self, caught_up: Callable[[], bool], patient: Callable[[], bool]) -> None:
        """Hand out until cancelled, or `caught_up` says so: then it is another's turn. While `patient`, it waits for
        those who are slow.
        """
        error: StoreError | None = None
        ended = False
        try:
            source = self._store.watch(self.prefix, self.position)
            try:
                async for events in source:
                    for start in range(0, len(events), SLICE):
                        await self._hand_out([self._moments.of(e) for e in events[start : start + SLICE]])
                        if patient() and (slow := [s for s in self.subscribers if s.crowded]):
                            self.waiting = True
                            await asyncio.gather(*(s.ready() for s in slow))
                            self.waiting = False
                    if caught_up():
                        return
                ended = True
            finally:
                source.close()
        except StoreError as e:
            error = e
        for subscriber in self.subscribers:
            self.leave(subscriber)
            subscriber.lost(error, ended)

    async def _hand_out(self, moments: Sequence[Moment]) -> None:
        await self._prepare(self.prefix, moments)
        batch = Batch(moments)
        self.position = batch.last
        begun = time.perf_counter()
        for n, subscriber in enumerate([*self._all, *self._concerned(moments)]):
            subscriber.take(batch)
            if n % STRIDE == STRIDE - 1 and time.perf_counter() - begun > SECONDS:
                await asyncio.sleep(0)
                begun = time.perf_counter()

    def _concerned(self, moments: Iterable[Moment]) -> list[Subscriber]:
        """The subscribers with a trigger that something of this happened to."""
        if not self._triggered:
            return []
        nodes: dict[str, None] = {}
        for moment in moments:
            for obj in (moment.object, moment.before):
                if obj and (name := (obj.get("spec") or {}).get("nodeName")):
                    nodes[name] = None
        return [s for node in nodes for s in self._triggered.get(node, ())]


class Hubs:
    """The hub of each prefix that is watched, and those that are catching up."""

    def __init__(self, store: Store, moments: Moments, prepare: Prepare):
        self._store, self._moments, self._prepare = store, moments, prepare
        self._shared: dict[str, Hub] = {}
        self._apart: set[Hub] = set()

    def join(self, prefix: str, subscriber: Subscriber, after: int) -> None:
        """Have everything after a revision handed to a subscriber; some events before may come too."""
        shared = self._shared.get(prefix)
        if shared and shared.waiting:
            # Nobody else waits for one who is slow.
            self._apart.add(self._shared.pop(prefix))
            shared = None
        if shared and after >= shared.position:
            shared.join(subscriber)
            return
        hub = Hub(self._store, self._moments, prefix, after, self._prepare)
        hub.join(subscriber)
        if shared:
            self._apart.add(hub)
        else:
            self._shared[prefix] = hub
        hub.task = asyncio.create_task(self._run(hub), name=f"hub {prefix}")

    def leave(self, prefix: str, subscriber: Subscriber) -> None:
        shared = [self._shared[prefix]] if prefix in self._shared else []
        for hub in [*shared, *self._apart]:
            if hub.leave(subscriber):
                if not hub.subscribers and hub.task:
                    self._drop(hub)
                    hub.task.cancel()
                return

    async def _run(self, hub: Hub) -> None:
        try:
            await hub.run(
                lambda: self._caught_up(hub), lambda: hub in self._apart or len(hub.subscribers) == 1
            )
        except Exception:
            log.exception("the hub of %s failed", hub.prefix)
            for subscriber in hub.subscribers:
                subscriber.lost(None, True)
        finally:
            self._drop(hub)

    def _caught_up(self, hub: Hub) -> bool:
        """Whether a hub that stood apart has handed its subscribers over."""
        if hub not in self._apart:
            return False
        shared = self._shared.setdefault(hub.prefix, hub)
        if shared is hub:
            self._apart.discard(hub)
            return False
        if hub.position < shared.position:
            return False
        for subscriber in hub.subscribers:
            hub.leave(subscriber)
            shared.join(subscriber)
        return True

    def _drop(self, hub: Hub) -> None:
        self._apart.discard(hub)
        if self._shared.get(hub.prefix) is hub:
            del self._shared[hub.prefix]

    async def close(self) -> None:
        """End every hub; whoever still listens hears nothing more."""
        tasks = [h.task for h in (*self._shared.values(), *self._apart) if h.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
