"""Follows the CustomResourceDefinitions: decides on their names, serves their kinds, and empties those that go.

A kind is served before its definition says that it is established, and until its last object is gone. Nothing that
custom kinds need is loaded before the first definition. Source: k8s.io/apiextensions-apiserver pkg/controller.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import orjson

from sampan.apiserver.call import prefix
from sampan.apiserver.custom import naming
from sampan.client.api import ApiError, Unavailable
from sampan.kinds.custom.definitions import condition, established
from sampan.kinds.custom_resource_definition import CLEANUP
from sampan.kinds.kind import Kind
from sampan.machinery.objects import Object, get
from sampan.store.api import Compacted

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

RESOURCE = "customresourcedefinitions.apiextensions.k8s.io"
PREFIX = "/apiextensions.k8s.io/customresourcedefinitions/"
# How long to wait before what failed is tried again, and between looks at what is left of a kind that goes.
AGAIN = 1.0
log = logging.getLogger(__name__)


class Definitions:
    """`run` never ends; `loaded` is set once what the store has is served."""

    def __init__(self, server: ApiServer):
        self._server = server
        self._found: dict[str, Object] = {}
        self._kinds: dict[str, tuple[str, list[Kind]]] = {}
        self._client = server.local("system:apiserver", ("system:masters",))
        self.loaded = asyncio.Event()

    def get(self, group: str, plural: str) -> Object | None:
        """The definition behind a resource."""
        return self._found.get(f"{plural}.{group}")

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except Compacted:
                continue
            except (ApiError, Unavailable) as e:
                log.warning("CustomResourceDefinitions could not be followed, and will be again: %s", e)
                await asyncio.sleep(AGAIN)

    async def _follow(self) -> None:
        page = await self._server.store.list(PREFIX)
        self._found = {}
        for record in page.records:
            self._take(record.key, record.value)
        self.serve()
        self.loaded.set()
        for name in list(self._found):
            await self._settle(name)
        source = self._server.store.watch(PREFIX, page.revision)
        try:
            async for batch in source:
                for event in batch:
                    self._take(event.key, event.value)
                self.serve()
                for key in dict.fromkeys(e.key for e in batch):
                    await self._settle(key.removeprefix(PREFIX))
        finally:
            source.close()

    def _take(self, key: str, value: bytes | None) -> None:
        name = key.removeprefix(PREFIX)
        if value is None:
            self._found.pop(name, None)
        else:
            self._found[name] = orjson.loads(value)

    def serve(self) -> None:
        """Serve what the definitions now say, where that has changed."""
        made = {n: self._made(n, d) for n, d in sorted(self._found.items())}
        if made != self._kinds:
            self._kinds = made
            custom = [k for _, kinds in made.values() for k in kinds]
            self._server.catalog.custom(custom)

    def _made(self, name: str, definition: Object) -> tuple[str, list[Kind]]:
        """The kinds of a definition, those made before where it is as it was then."""
        shown = orjson.dumps(
            [definition["spec"], get(definition, "status.acceptedNames"), established(definition)]
        )
        print_ = shown.decode()
        before = self._kinds.get(name)
        if before and before[0] == print_:
            return before
        if not established(definition):
            return print_, []
        from sampan.kinds.custom import kinds

        try:
            return print_, kinds.of(definition, self._server.conversion.known(name))
        except Exception:
            # One definition that we cannot make a kind of takes no other with it.
            log.exception("CustomResourceDefinition %s cannot be served", name)
            return print_, []

    # What a definition is to become

    async def _settle(self, name: str) -> None:
        if self._server.settings.frozen:
            return
        try:
            if name in self._found:
                await self._one(name, self._found[name])
            group = name.partition(".")[2]
            for other, definition in list(self._found.items()):
                # A name that is free again may be had by another.
                if other != name and definition["spec"]["group"] == group and self._waits(definition):
                    await self._one(other, definition)
        except (ApiError, Unavailable) as e:
            if not isinstance(e, ApiError) or e.code not in (404, 409):
                log.warning("CustomResourceDefinition %s could not be settled: %s", name, e)

    def _waits(self, definition: Object) -> bool:
        return condition(definition, "NamesAccepted") != "True"

    async def _one(self, name: str, definition: Object) -> None:
        if definition["metadata"].get("deletionTimestamp"):
            if CLEANUP in (definition["metadata"].get("finalizers") or ()):
                self._server.begin(f"emptying {name}", self._empty(name))
            return
        group = definition["spec"]["group"]
        others = [d for n, d in self._found.items() if n != name and d["spec"]["group"] == group]
        wanted = naming.status(definition, others, time.time())
        if _same(wanted, definition.get("status") or {}):
            return
        settled = {**definition, "status": wanted}
        self._found[name] = settled
        self.serve()
        found = await self._client.update(RESOURCE, settled, subresource="status")
        self._found[name] = found

    async def _empty(self, name: str) -> None:
        """Delete all objects of a kind whose definition goes, and let the definition go."""
        while name in self._found and CLEANUP in (self._found[name]["metadata"].get("finalizers") or ()):
            try:
                await self._emptied(name, self._found[name])
            except (ApiError, Unavailable) as e:
                log.info("CustomResourceDefinition %s is not empty yet: %s", name, e)
            await asyncio.sleep(0.05 if name not in self._found else AGAIN)

    async def _emptied(self, name: str, definition: Object) -> None:
        kinds = self._kinds.get(name, ("", []))[1]
        left = 0
        if kinds:
            at = prefix(kinds[0])
            for record in (await self._server.store.list(at)).records:
                namespace, _, plain = record.key.removeprefix(at).rpartition("/")
                try:
                    await self._client.delete(kinds[0].resource, plain, namespace)
                except ApiError as e:
                    if e.code != 404:
                        raise
            left = await self._server.store.count(at)
        if left:
            said = f"CustomResource instances remain: {left}"
            status = naming.terminating(definition, "True", "InstanceDeletionInProgress", said, time.time())
            await self._client.patch(RESOURCE, name, "", {"status": status}, subresource="status")
            return
        said = "removed all instances"
        status = naming.terminating(definition, "False", "InstanceDeletionCompleted", said, time.time())
        await self._client.patch(RESOURCE, name, "", {"status": status}, subresource="status")
        rest = [f for f in definition["metadata"].get("finalizers") or () if f != CLEANUP]
        await self._client.patch(RESOURCE, name, "", {"metadata": {"finalizers": rest}})


def _same(wanted: Object, status: Object) -> bool:
    """Whether a status says what is wanted, whenever that came to be."""

    def plain(found: Object) -> Object:
        kept = [
            {k: v for k, v in c.items() if k != "lastTransitionTime"} for c in found.get("conditions") or ()
        ]
        return {**found, "conditions": kept}

    return plain(wanted) == plain(status)
