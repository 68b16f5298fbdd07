"""The client over HTTP, for any Kubernetes API server: ours, or a real cluster's.

What a resource's path is comes from the kinds that are built in; for all others the server's discovery is asked once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from sampan.client.api import ApiError, Change, Listing, PatchType, Propagation, Unavailable
from sampan.host import trace
from sampan.http.client import ClientResponse, HttpClient
from sampan.http.tls import client_context
from sampan.kinds import registry
from sampan.machinery.objects import Object

DEADLINE = 30.0
# How many requests wait for an answer at the same time: a TLS handshake costs as much as several of them, so a burst
# had better share a few connections.
AT_ONCE = 8
# How often an idempotent request, or one that was told to come again, is tried.
ATTEMPTS = 4
# A watch that says nothing for this long, bookmarks included, is taken for dead.
SILENCE = 150.0
LONGEST_WAIT = 10.0
_JSON = "application/json"
_PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_IDEMPOTENT = ("GET", "PUT", "DELETE")


def connect(
    url: str,
    *,
    ca: bytes | Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    token: str = "",
    insecure: bool = False,
    agent: str = "sampan",
) -> HttpApiClient:
    """A client of the server at `url`.

    `ca` is PEM text or a file; `cert` a file that may hold the key too. Nothing is sent before the first call.
    """
    tls = None
    if url.startswith("https:"):
        tls = client_context(ca=ca, pair=cert, key=key, verify=not insecure)
    headers = {"accept": _JSON, "user-agent": agent}
    if token:
        headers["authorization"] = f"Bearer {token}"
    return HttpApiClient(HttpClient(url, tls=tls, timeout=DEADLINE, headers=headers, at_once=AT_ONCE))


class HttpApiClient:
    """A `client.api.Client`; `http` is the connection pool, for what is no object, such as logs."""

    def __init__(self, http: HttpClient):
        self.http = http
        self._paths: dict[str, tuple[str, bool]] = {}

    async def __aenter__(self) -> HttpApiClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.http.close()

    async def raw(self, method: str, target: str, body: bytes = b"") -> bytes:
        """The whole answer to a request for what is no object, such as logs. Raises as all calls do."""
        async with await self._send(method, target, body) as response:
            if response.status >= 400:
                raise await _refusal(response)
            return await _whole(response)

    # Reads

    async def get(self, kind: str, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        return await self._call("GET", await self._path(kind, namespace, name, subresource))

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
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": limit or "", "continue": more}
        found = await self._call("GET", await self._path(kind, namespace), query)
        meta = found.get("metadata") or {}
        items = found.get("items") or []
        version, item_kind = found.get("apiVersion"), str(found.get("kind", "")).removesuffix("List")
        for item in items:
            # Upstream's lists leave out what is the same for all.
            item.setdefault("apiVersion", version)
            item.setdefault("kind", item_kind)
        return Listing(items, meta.get("resourceVersion", ""), meta.get("continue", ""))

    async def read(self, path: str, **query: str) -> Object:
        return await self._call("GET", path, query)

    async def watch(
        self,
        kind: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        since: str = "",
    ) -> AsyncIterator[Change]:
        query: dict[str, Any] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": labels,
            "fieldSelector": fields,
            "resourceVersion": since,
        }
        if not since:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        target = _target(await self._path(kind, namespace), query)
        response = await self._send("GET", target, headers={"sampan-causes": "1"})
        async with response:
            if response.status != 200:
                raise await _refusal(response)
            async for line in _lines(response):
                yield _change(line)

    # Writes

    async def create(self, kind: str, obj: Object, *, name: str = "", subresource: str = "") -> Object:
        namespace = (obj.get("metadata") or {}).get("namespace", "")
        return await self._call("POST", await self._path(kind, namespace, name, subresource), body=obj)

    async def update(self, kind: str, obj: Object, *, subresource: str = "") -> Object:
        meta = obj["metadata"]
        path = await self._path(kind, meta.get("namespace", ""), meta["name"], subresource)
        return await self._call("PUT", path, body=obj)

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
        path = await self._path(kind, namespace, name, subresource)
        query = {"fieldManager": manager, "force": "true" if force else ""}
        return await self._call("PATCH", path, query, patch, _PATCHES[type])

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
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        conditions = {k: v for k, v in (("uid", uid), ("resourceVersion", revision)) if v}
        if conditions:
            options["preconditions"] = conditions
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if propagation:
            options["propagationPolicy"] = propagation
        return await self._call("DELETE", await self._path(kind, namespace, name), body=options)

    # Underneath

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        media: str = _JSON,
    ) -> Object:
        data = b"" if body is None else orjson.dumps(body)
        headers = {"content-type": media} if data else {}
        response = await self._send(method, _target(path, query or {}), data, headers)
        async with response:
            if response.status >= 400:
                raise await _refusal(response)
            found: Object = _parsed(await _whole(response))
            return found

    async def _send(
        self, method: str, target: str, data: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> ClientResponse:
        """The response to a request, tried again where that is safe: nothing answered, or asked to wait."""
        fields = dict(headers or {})
        if cause := trace.cause():
            fields["traceparent"] = cause
        try:
            async with asyncio.timeout(DEADLINE):
                for attempt in range(ATTEMPTS):
                    last = attempt == ATTEMPTS - 1
                    try:
                        response = await self.http.request(method, target, headers=fields, body=data)
                    except ConnectionError:
                        if last or method not in _IDEMPOTENT:
                            raise
                        await asyncio.sleep(_backoff(attempt))
                        continue
                    wait = _asked_to_wait(response)
                    if wait is None or last:
                        return response
                    await response.read()
                    await asyncio.sleep(wait)
        except (ConnectionError, TimeoutError) as e:
            why = str(e) or f"no answer within {DEADLINE:g} s"
            raise Unavailable(f"{method} {self.http.base}{target.partition('?')[0]}: {why}") from e
        raise AssertionError("the last attempt returns or raises")

    async def _path(self, kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
        base, namespaced = await self._resource(kind)
        root, _, plural = base.rpartition("/")
        words = [root]
        if namespace and namespaced:
            words += ["namespaces", quote(namespace, safe="")]
        words += [w for w in (plural, quote(name, safe=""), subresource) if w]
        return "/".join(words)

    async def _resource(self, kind: str) -> tuple[str, bool]:
        """The path of a resource in all namespaces, and whether it is namespaced."""
        if kind not in self._paths:
            try:
                found = registry.find(kind)
                root = f"/apis/{found.group}" if found.group else "/api"
                self._paths[kind] = (f"{root}/{found.version}/{found.plural}", found.namespaced)
            except KeyError:
                self._paths[kind] = await self._discovered(kind)
        return self._paths[kind]

    async def _discovered(self, kind: str) -> tuple[str, bool]:
        plural, _, rest = kind.partition(".")
        version, group = "", rest
        first, _, others = rest.partition(".")
        if first[:1] == "v" and first[1:2].isdigit():
            version, group = first, others
        if not version:
            version = (await self._call("GET", f"/apis/{group}"))["preferredVersion"]["version"]
        root = f"/apis/{group}/{version}"
        for resource in (await self._call("GET", root))["resources"]:
            if resource["name"] == plural:
                return f"{root}/{plural}", bool(resource["namespaced"])
        message = f'the server doesn\'t have a resource type "{kind}"'
        raise ApiError(
            {"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": message}
        )


def _target(path: str, query: Mapping[str, Any]) -> str:
    text = urlencode({k: v for k, v in query.items() if v != ""})
    return f"{path}?{text}" if text else path


def _backoff(attempt: int) -> float:
    return min(LONGEST_WAIT, 0.1 * 2.0**attempt) * (0.5 + random.random())


def _asked_to_wait(response: ClientResponse) -> float | None:
    """Seconds that a server asks for before the next attempt; None where it does not."""
    after = response.headers.get("retry-after", "")
    if response.status not in (429, 503) or not after.isdigit():
        return None
    return min(LONGEST_WAIT, float(after))


async def _whole(response: ClientResponse) -> bytes:
    try:
        return await response.read(DEADLINE)
    except (ConnectionError, TimeoutError) as e:
        raise Unavailable(f"the answer was cut off: {e}") from e


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as e:
        raise Unavailable(f"the answer is no JSON: {data[:100]!r}") from e


async def _refusal(response: ClientResponse) -> ApiError:
    data = await _whole(response)
    try:
        status = orjson.loads(data)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        text = data[:500].decode(errors="replace")
        status = {"kind": "Status", "status": "Failure", "code": response.status, "message": text}
    return ApiError(status)


async def _lines(response: ClientResponse) -> AsyncIterator[bytes]:
    """The lines of a watch. Its end is an end, and so is a connection that breaks: the watcher goes on where it was."""
    rest = b""
    try:
        async for chunk in response.chunks(SILENCE):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if line:
                    yield line
    except (ConnectionError, TimeoutError):
        return


def _change(line: bytes) -> Change:
    event = _parsed(line)
    obj = event["object"]
    if event["type"] == "ERROR":
        raise ApiError(obj)
    if event["type"] == "BOOKMARK":
        meta = obj["metadata"]
        synced = (meta.get("annotations") or {}).get("k8s.io/initial-events-end") == "true"
        return Change("BOOKMARK", {"metadata": {"resourceVersion": meta["resourceVersion"]}}, synced=synced)
    return Change(event["type"], obj, event.get("cause", ""))
