"""Config maps and secrets that volumes on this node use: one watch for each, for as long as somebody uses it.

A node may read only what its pods name, so there is a watch for each object, not one for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sampan.client.api import ApiError, Client
from sampan.client.watching import follow
from sampan.machinery.objects import Object

Name = tuple[str, str, str]  # kind, namespace, name


@dataclass(slots=True)
class _Entry:
    users: set[str] = field(default_factory=set)
    object: Object | None = None
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Event = field(default_factory=asyncio.Event)  # synced, or refused
    refused: ApiError | None = None
    task: asyncio.Task[None] | None = None


class References:
    """`changed` is called with the name of an object that changed, appeared or went away."""

    def __init__(self, client: Client, changed: Callable[[Name], None]):
        self._client, self._changed = client, changed
        self._entries: dict[Name, _Entry] = {}

    def use(self, name: Name, user: str) -> None:
        entry = self._entries.setdefault(name, _Entry())
        entry.users.add(user)
        if entry.task is None:
            entry.task = asyncio.get_running_loop().create_task(
                self._follow(name, entry), name=f"watch {name}"
            )

    def release(self, user: str) -> None:
        """This user needs none of its objects any more."""
        for name, entry in list(self._entries.items()):
            entry.users.discard(user)
            if not entry.users:
                if entry.task:
                    entry.task.cancel()
                del self._entries[name]

    async def get(self, name: Name, timeout: float = 10.0) -> Object | None:
        """The object as it is now, or None. It must be in use.

        Raises ApiError where the API refuses it, TimeoutError where it does not answer.
        """
        entry = self._entries[name]
        async with asyncio.timeout(timeout):
            await entry.told.wait()
        if entry.refused:
            raise entry.refused
        return entry.object

    async def close(self) -> None:
        tasks = [e.task for e in self._entries.values() if e.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._entries.clear()

    async def _follow(self, name: Name, entry: _Entry) -> None:
        kind, namespace, single = name

        def failed(e: Exception) -> None:
            if isinstance(e, ApiError) and not entry.synced.is_set():
                entry.refused = e
                entry.told.set()

        async for change in follow(
            self._client, kind, namespace, fields=f"metadata.name={single}", failed=failed
        ):
            if change.type == "BOOKMARK":
                if change.synced:
                    late = entry.refused is not None
                    entry.refused = None
                    entry.synced.set()
                    entry.told.set()
                    if late:
                        self._changed(name)
                continue
            entry.object = None if change.type == "DELETED" else change.object
            if entry.synced.is_set():
                self._changed(name)
