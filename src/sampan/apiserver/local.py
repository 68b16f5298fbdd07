"""The client for components in the server's own process: it enters the chain just after authentication.

What it returns is shared: with other callers, and with every watcher. Nobody mutates it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import orjson

from sampan.apiserver import errors
from sampan.apiserver.call import Answer, Call, Made, Many, One, Seen, Stream, User
from sampan.apiserver.reading import SLICE
from sampan.apiserver.routing import selected
from sampan.client.api import ApiError, Change, Listing, PatchType, Propagation, Unavailable
from sampan.http.messages import Peer, Response
from sampan.kinds.kind import Kind
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

# The longest that a call may take.
DEADLINE = 30.0
_PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class LocalClient:
    """A `client.api.Client`."""

    def __init__(self, server: ApiServer, user: User):
        self._server = server
        self._user = user

    def _call(self, verb: str, kind: str, namespace: str = "", name: str = "", **query: str) -> Call:
        try:
            found = self._server.catalog.find(kind)
        except KeyError as e:
            raise errors.no_such_path() from e
        call = Call(
            verb=verb,
            kind=found,
            namespace=namespace if found.namespaced else "",
            name=name,
            query={k: [v] for k, v in query.items() if v},
            user=self._user,
        )
        if "fieldSelector" in call.query:
            selected(call)
        return call

    async def _run(self, call: Call) -> Answer:
        try:
            async with asyncio.timeout(DEADLINE):
                return await self._server.local_chain(call)
        except TimeoutError as e:
            what = call.kind.resource if call.kind else call.path
            raise Unavailable(f"{call.verb} {what} had no answer after {DEADLINE:g} s") from e

    async def _object(self, call: Call) -> Object:
        return await self._shown(call, await self._run(call))

    async def _shown(self, call: Call, answer: Answer) -> Object:
        match answer:
            case Made():
                return answer.object
            case One():
                if answer.object is not None:
                    # Components see no managedFields, in what they wrote no more than in what they read.
                    answer.object["metadata"].pop("managedFields", None)
                    return answer.object
                return call.resource.from_storage(self._server.decoded(answer.record))
        raise errors.bad_request(f"{call.verb} of {call.resource.plural}/{call.subresource} is no object")

    async def get(self, kind: str, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        call = self._call("get", kind, namespace, name)
        call.subresource = subresource
        return await self._object(call)

    async def list(
        self,
        kind: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        more: str = "",
    ) -> Listing:
        query = {
            "labelSelector": labels,
            "fieldSelector": fields,
            "limit": str(limit or ""),
            "continue": more,
        }
        answer = await self._run(self._call("list", kind, namespace, **query))
        if isinstance(answer, Made):
            return Listing(answer.object["items"], "")
        assert isinstance(answer, Many)
        items = []
        for n, record in enumerate(answer.records):
            if n % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            items.append(answer.kind.from_storage(self._server.decoded(record)))
        return Listing(items, str(answer.revision), answer.more)

    async def read(self, path: str, **query: str) -> Object:
        call = self._server.routes.call(_Get(path, {k: v for k, v in query.items() if v}))
        call.user = self._user
        answer = await self._run(call)
        if isinstance(answer, Response):
            found: Object = orjson.loads(await _whole(answer))
            if answer.status >= 400:
                raise ApiError(found)
            return found
        return await self._shown(call, answer)

    async def watch(
        self,
        kind: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        since: str = "",
    ) -> AsyncIterator[Change]:
        query = {"labelSelector": labels, "fieldSelector": fields, "allowWatchBookmarks": "true"}
        if since:
            query["resourceVersion"] = since
        else:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        answer = await self._run(self._call("watch", kind, namespace, **query))
        assert isinstance(answer, Stream)
        batches: AsyncGenerator[list[Seen], None] = answer.watching.batches()
        try:
            async for batch in batches:
                for seen in batch:
                    yield _change(answer.kind, seen)
        finally:
            await batches.aclose()

    async def create(self, kind: str, obj: Object, *, name: str = "", subresource: str = "") -> Object:
        call = self._call("create", kind, obj.get("metadata", {}).get("namespace", ""), name)
        call.subresource, call.content = subresource, obj
        return await self._object(call)

    async def update(self, kind: str, obj: Object, *, subresource: str = "") -> Object:
        meta = obj["metadata"]
        call = self._call("update", kind, meta.get("namespace", ""), meta["name"])
        call.subresource, call.content = subresource, obj
        return await self._object(call)

    async def patch(
        self,
        kind: str,
        name: str,
        namespace: str,
        patch: Any,
        *,
        type: PatchType = "merge",
        subresource: str = "",
        manager: str = "",
        force: bool = False,
    ) -> Object:
        query = {"fieldManager": manager, "force": "true" if force else ""}
        call = self._call("patch", kind, namespace, name, **query)
        call.subresource, call.content, call.content_type = subresource, patch, _PATCHES[type]
        return await self._object(call)

    async def delete(
        self,
        kind: str,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        revision: str = "",
        grace: int | None = None,
        propagation: Propagation = "",
    ) -> Object:
        call = self._call("delete", kind, namespace, name)
        conditions = {k: v for k, v in (("uid", uid), ("resourceVersion", revision)) if v}
        options: Object = {"preconditions": conditions}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if propagation:
            options["propagationPolicy"] = propagation
        call.content = options
        return await self._object(call)


def _change(kind: Kind, seen: Seen) -> Change:
    if seen.moment is None:
        return Change("BOOKMARK", {"metadata": {"resourceVersion": str(seen.revision)}}, synced=seen.synced)
    kind_of_change = cast(Any, seen.type)
    return Change(kind_of_change, kind.from_storage(seen.moment.object), seen.moment.event.cause)


class _Get:
    """A GET of a path, as a request over HTTP would be: for what is served by its path alone."""

    def __init__(self, path: str, query: dict[str, str]):
        self.method, self.path, self.query = "GET", path, urlencode(query)
        self.target = f"{path}?{self.query}" if query else path
        self.headers = {"accept": "application/json"}
        self.peer = Peer("")

    async def body(self) -> bytes:
        return b""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b""


async def _whole(response: Response) -> bytes:
    """The body of an answer that another server gave."""
    match response.body:
        case bytes():
            return response.body
        case AsyncIterator():
            return b"".join([piece async for piece in response.body])
    raise errors.bad_request("the answer is no object")
