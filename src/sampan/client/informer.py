"""Informers: watched copies of whole kinds, with indexes, that call back on every change.

One `Informer` follows one kind; `Informers` keeps one for each kind that anybody asked for, and is the `Cache` that
controllers read. Objects are shared: nobody mutates them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from sampan.client.api import Change, Client
from sampan.client.watching import follow
from sampan.machinery.objects import Key, Object, key, owner

Handler = Callable[[Change, Object | None], None]
Values = Callable[[Object], Iterable[str]]
OWNER = "owner"
_NAMESPACE = "namespace"


def _owner_uid(obj: Object) -> Iterable[str]:
    ref = owner(obj)
    return (ref["uid"],) if ref else ()


def _namespace(obj: Object) -> Iterable[str]:
    return (obj["metadata"].get("namespace", ""),)


class Copies:
    """Objects by key, and the keys under each value of each index. Plain data, without a client."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self._values: dict[str, Values] = {OWNER: _owner_uid, _NAMESPACE: _namespace}
        self._indexes: dict[str, dict[str, dict[Key, None]]] = {OWNER: {}, _NAMESPACE: {}}

    def add_index(self, name: str, values: Values) -> None:
        """Index by `values` from now on; a name that is there already keeps its meaning."""
        if name in self._values:
            return
        self._values[name] = values
        self._indexes[name] = {}
        for at, obj in self.objects.items():
            self._enter(name, at, obj)

    def put(self, at: Key, obj: Object | None) -> Object | None:
        """Replace, or with None drop, and return what was there."""
        old = self.objects.get(at)
        for name in self._values:
            if old is not None:
                self._leave(name, at, old)
            if obj is not None:
                self._enter(name, at, obj)
        if obj is None:
            self.objects.pop(at, None)
        else:
            self.objects[at] = obj
        return old

    def index(self, name: str, value: str) -> list[Object]:
        return [self.objects[at] for at in self._indexes[name].get(value, ())]

    def list(self, namespace: str = "") -> list[Object]:
        return self.index(_NAMESPACE, namespace) if namespace else list(self.objects.values())

    def _enter(self, name: str, at: Key, obj: Object) -> None:
        for value in self._values[name](obj):
            self._indexes[name].setdefault(value, {})[at] = None

    def _leave(self, name: str, at: Key, obj: Object) -> None:
        index = self._indexes[name]
        for value in self._values[name](obj):
            if keys := index.get(value):
                keys.pop(at, None)
                if not keys:
                    del index[value]


class Informer:
    """Follows one kind, in one namespace or all. Run `run`; `synced` is set once the copy is whole.

    Handlers are called with each change and the object as it was before, after the copy has changed; they neither block
    nor raise. After an interruption the copy is compared anew, and what was missed is told as if it happened now.
    """

    def __init__(self, client: Client, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""):
        self.kind = kind
        self.copies = Copies()
        self.synced = asyncio.Event()
        self._client = client
        self._scope = (namespace, labels, fields)
        self._handlers: list[Handler] = []

    def subscribe(self, handler: Handler) -> None:
        """Call `handler` on every change from now on; first, as additions, with all that is there."""
        self._handlers.append(handler)
        for obj in list(self.copies.objects.values()):
            handler(Change("ADDED", obj), None)

    async def run(self) -> None:
        """Follow for ever."""
        namespace, labels, fields = self._scope
        async for change in follow(self._client, self.kind, namespace, labels=labels, fields=fields):
            if change.type != "BOOKMARK":
                self._take(change)
            elif change.synced:
                self.synced.set()

    def _take(self, change: Change) -> None:
        at, gone = key(change.object), change.type == "DELETED"
        found, revision = self.copies.objects.get(at), change.object["metadata"].get("resourceVersion")
        if gone and found is None:
            return
        if found is not None and not gone and found["metadata"].get("resourceVersion") == revision:
            return  # told anew, and known already
        old = self.copies.put(at, None if gone else change.object)
        if not gone:
            change = Change("ADDED" if old is None else "MODIFIED", change.object, change.cause)
        elif old is not None and revision is None:  # it went unseen: the last that was known of it
            change = Change("DELETED", old)
        for handler in self._handlers:
            handler(change, old)


class Informers:
    """One informer for each kind that was asked for, all over one client. A `reconcile.controller.Cache`.

    `run` must run for anything to be followed; kinds may be added before and after it began.
    """

    def __init__(self, client: Client):
        self._client = client
        self._informers: dict[str, Informer] = {}
        self._new: asyncio.Queue[Informer] = asyncio.Queue()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def informer(self, kind: str) -> Informer:
        """The informer of a kind, begun where nobody has asked for it before."""
        found = self._informers.get(kind)
        if found is None:
            found = self._informers[kind] = Informer(self._client, kind)
            self._new.put_nowait(found)
        return found

    def subscribe(self, kind: str, handler: Handler, /) -> None:
        self.informer(kind).subscribe(handler)

    def add_index(self, kind: str, name: str, values: Values, /) -> None:
        self.informer(kind).copies.add_index(name, values)

    def forget(self, kind: str, /) -> None:
        """Follow a kind no longer, and drop its copies: it is not served any more."""
        self._informers.pop(kind, None)
        if task := self._tasks.pop(kind, None):
            task.cancel()

    async def synced(self, kinds: Iterable[str], /) -> None:
        """Wait until the copies of these kinds are whole."""
        for kind in kinds:
            await self.informer(kind).synced.wait()

    async def run(self) -> None:
        """Follow every kind, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                informer = await self._new.get()
                if self._informers.get(informer.kind) is informer:
                    name = f"informer of {informer.kind}"
                    self._tasks[informer.kind] = tasks.create_task(informer.run(), name=name)

    def get(self, kind: str, key: Key) -> Object | None:
        return self._of(kind).objects.get(key)

    def list(self, kind: str, namespace: str = "") -> Iterable[Object]:
        return self._of(kind).list(namespace)

    def index(self, kind: str, index: str, value: str) -> Iterable[Object]:
        return self._of(kind).index(index, value)

    def _of(self, kind: str) -> Copies:
        found = self._informers.get(kind)
        if found is None:
            raise LookupError(
                f"nobody watches {kind}: subscribe to it, or name it in the controller's watches"
            )
        return found.copies
