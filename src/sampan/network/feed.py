"""Keeps a `Book` of Services and EndpointSlices up to date by watching them, and tells listeners what changed.

Whole objects are let go at once: the book keeps only what rules and DNS need.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass

from sampan.client.api import ApiError, Change, Client, Unavailable
from sampan.host import trace
from sampan.machinery.objects import Key, Object, key
from sampan.network.book import Book

log = logging.getLogger(__name__)

FIRST_BACKOFF, MOST_BACKOFF = 0.05, 5.0

# What a listener gets: the services that changed, each with the causes of its changes.
Listener = Callable[[Mapping[Key, Iterable[trace.Cause]]], None]


@dataclass(frozen=True, slots=True)
class _Source:
    """A kind, and how the book takes its objects."""

    kind: str
    put: Callable[[Object], set[Key]]
    drop: Callable[[Key], set[Key]]
    held: Callable[[], Iterable[Key]]


class Feed:
    """`synced` is set once the book first holds everything; it stays set, for an old book is better than none."""

    def __init__(self, client: Client) -> None:
        self.book = Book()
        self.synced = asyncio.Event()
        self._client = client
        self._listeners: list[Listener] = []
        self._waiting = {"services", "endpointslices.discovery.k8s.io"}

    def listen(self, listener: Listener) -> None:
        """Have `listener` called on the loop at every change from now on; it must not block."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Watch until cancelled."""
        book = self.book
        services = _Source("services", book.put_service, book.drop_service, lambda: list(book.services))
        slices = _Source("endpointslices.discovery.k8s.io", book.put_slice, book.drop_slice, book.slice_keys)
        async with asyncio.TaskGroup() as group:
            for source in (services, slices):
                group.create_task(self._follow(source), name=f"watch {source.kind}")

    async def _follow(self, source: _Source) -> None:
        """Watch one kind for ever, over broken connections and revisions that were compacted away."""
        since, backoff = "", FIRST_BACKOFF
        while True:
            try:
                async for revision in self._watch(source, since):
                    since, backoff = revision, FIRST_BACKOFF
            except ApiError as e:
                if e.reason in ("Expired", "Gone"):
                    since = ""
                log.warning("watching %s: %s", source.kind, e)
            except Unavailable as e:
                log.info("watching %s: %s; trying again", source.kind, e)
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
            backoff = min(backoff * 2, MOST_BACKOFF)

    async def _watch(self, source: _Source, since: str) -> AsyncIterator[str]:
        """One watch; yields the revision reached after each change from which a later one may go on."""
        seen: set[Key] | None = set() if not since else None
        async for change in self._client.watch(source.kind, since=since):
            if change.type != "BOOKMARK":
                self._take(source, change)
            if seen is not None:
                if change.type == "BOOKMARK" and change.synced:
                    for gone in set(source.held()) - seen:
                        self._tell(source.drop(gone), "")
                    seen = None
                    self._mark_synced(source.kind)
                elif change.type != "BOOKMARK":
                    seen.add(key(change.object))
            if seen is None:
                yield change.object["metadata"]["resourceVersion"]

    def _take(self, source: _Source, change: Change) -> None:
        touched = source.drop(key(change.object)) if change.type == "DELETED" else source.put(change.object)
        self._tell(touched, change.cause)

    def _tell(self, touched: set[Key], cause: str) -> None:
        if touched:
            parsed = trace.parse(cause)
            causes = (parsed,) if parsed else ()
            for listener in self._listeners:
                listener(dict.fromkeys(touched, causes))

    def _mark_synced(self, kind: str) -> None:
        self._waiting.discard(kind)
        if not self._waiting:
            self.synced.set()
