"""Keeps a `Book` of Services and EndpointSlices up to date by watching them, and tells listeners what changed.

Whole objects are let go at once: the book keeps only what rules and DNS need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sampan.client.api import Change, Client
from sampan.client.watching import follow
from sampan.host import trace
from sampan.machinery.objects import Key, Object, key
from sampan.network.book import Book

# What a listener gets: the services that changed, each with the causes of its changes.
Listener = Callable[[Mapping[Key, Iterable[trace.Cause]]], None]


@dataclass(frozen=True, slots=True)
class _Source:
    """A kind, and how the book takes its objects."""

    kind: str
    put: Callable[[Object], set[Key]]
    drop: Callable[[Key], set[Key]]
    fields: str = ""


class Feed:
    """`node` is whose zone matters, if any does.

    `synced` is set once the book first holds everything; it stays set, for an old book is better than none.
    """

    def __init__(self, client: Client, node: str = "") -> None:
        self.book = Book()
        self.synced = asyncio.Event()
        self._client, self._node = client, node
        self._listeners: list[Listener] = []
        self._waiting = {"services", "endpointslices.discovery.k8s.io"}

    def listen(self, listener: Listener) -> None:
        """Have `listener` called on the loop at every change from now on; it must not block."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Watch until cancelled."""
        book = self.book
        services = _Source("services", book.put_service, book.drop_service)
        slices = _Source("endpointslices.discovery.k8s.io", book.put_slice, book.drop_slice)
        nodes = _Source("nodes", book.put_node, lambda gone: set(), f"metadata.name={self._node}")
        async with asyncio.TaskGroup() as group:
            for source in (services, slices, *((nodes,) if self._node else ())):
                group.create_task(self._follow(source), name=f"watch {source.kind}")

    async def _follow(self, source: _Source) -> None:
        async for change in follow(self._client, source.kind, fields=source.fields):
            if change.type != "BOOKMARK":
                self._take(source, change)
            elif change.synced:
                self._mark_synced(source.kind)

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
