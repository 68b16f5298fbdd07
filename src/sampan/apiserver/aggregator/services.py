"""The APIServices: those of other servers are looked at, told of, and asked; our own groups are listed too.

Source: k8s.io/kube-aggregator pkg/controllers/status and autoregister.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from sampan.apiserver import codec, errors
from sampan.apiserver.aggregator import front
from sampan.apiserver.call import Call, User
from sampan.apiserver.connections import Connections
from sampan.client.api import ApiError, Unavailable
from sampan.http.client import HttpClient
from sampan.http.tls import client_context
from sampan.kinds.kind import Kind
from sampan.machinery import conditions
from sampan.machinery.objects import Object, get
from sampan.store.api import Compacted, Exists

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

RESOURCE = "apiservices.apiregistration.k8s.io"
PREFIX = "/apiregistration.k8s.io/apiservices/"
MANAGED = "kube-aggregator.kubernetes.io/automanaged"
# How often the servers behind are looked at, and how long they have to answer.
EVERY, SECONDS = 30.0, 5.0
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Remote:
    """A group's version that another server serves; `resources` is its APIResourceList, once it has been seen."""

    name: str
    spec: Object
    available: bool = False
    resources: list[Object] = field(default_factory=list)

    @property
    def group(self) -> str:
        return str(self.spec.get("group") or "")

    @property
    def version(self) -> str:
        return str(self.spec.get("version") or "")


class ApiServices:
    """`changed` counts what discovery must know."""

    def __init__(self, server: ApiServer):
        self._server = server
        self._remotes: dict[str, Remote] = {}
        self._clients: dict[tuple[str, str, str], HttpClient] = {}
        self._pair = ""
        self._wake = asyncio.Event()
        self.changed = 0

    def remotes(self) -> list[Remote]:
        """Those that answer, by group priority, then version priority."""
        found = [r for r in self._remotes.values() if r.available]
        return sorted(found, key=_rank)

    def of(self, group: str, version: str) -> Remote | None:
        """The other server's version behind a path."""
        return self._remotes.get(f"{version}.{group}") if self._remotes else None

    # Following

    async def run(self) -> None:
        """Follow the APIServices, for ever."""
        if not self._server.settings.frozen:
            await self._list_own()
        while True:
            page = await self._server.store.list(PREFIX)
            for record in page.records:
                self._take(record.key, record.value)
            source = self._server.store.watch(PREFIX, page.revision)
            try:
                async for batch in source:
                    for event in batch:
                        self._take(event.key, event.value)
            except Compacted:
                continue
            finally:
                source.close()

    def _take(self, key: str, value: bytes | None) -> None:
        name = key.removeprefix(PREFIX)
        obj = orjson.loads(value) if value else None
        if obj is None or get(obj, "spec.service") is None:
            if self._remotes.pop(name, None):
                self.changed += 1
            return
        known = self._remotes.get(name)
        if known is None or known.spec != obj["spec"]:
            self._remotes[name] = Remote(name, obj["spec"])
            self.changed += 1
            self._wake.set()
        self._server.begin("looking at APIServices", self._look())

    async def _list_own(self) -> None:
        """List the groups that this server serves itself, where nobody has."""
        wanted = {f"{k.version}.{k.group}": k for k in self._server.catalog if k.schema is None}
        there = {r.key.removeprefix(PREFIX) for r in (await self._server.store.list(PREFIX)).records}
        await asyncio.gather(*(self._create(n, k) for n, k in wanted.items() if n not in there))

    async def _create(self, name: str, kind: Kind) -> None:
        obj = _own(name, kind)
        known = self._server.catalog.find(RESOURCE)
        known.default(obj)
        if known.prepare:
            known.prepare(obj, None, "")
        try:
            await self._server.store.create(PREFIX + name, codec.encode(obj))
        except Exists:
            return

    # Looking

    async def _look(self) -> None:
        """Ask each of the other servers whether it is there, again and again while there is any."""
        while self._remotes:
            self._wake.clear()
            for remote in list(self._remotes.values()):
                try:
                    await self._look_at(remote)
                except (ApiError, Unavailable) as e:
                    log.info("APIService %s could not be looked at: %s", remote.name, e)
            try:
                async with asyncio.timeout(
                    EVERY if all(r.available for r in self._remotes.values()) else 2.0
                ):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _look_at(self, remote: Remote) -> None:
        available, reason, message = await self._seen(remote)
        if available != remote.available:
            remote.available = available
            self.changed += 1
        client = self._server.local("system:apiserver", ("system:masters",))
        obj = await client.get(RESOURCE, remote.name)
        made = conditions.new("Available", "True" if available else "False", reason, message, time.time())
        before = tuple(get(obj, "status.conditions", ()))
        after = conditions.with_(before, made)
        if [_plain(c) for c in after] != [_plain(c) for c in before]:
            status = {"status": {"conditions": list(after)}}
            await client.patch(RESOURCE, remote.name, "", status, subresource="status")

    async def _seen(self, remote: Remote) -> tuple[bool, str, str]:
        """Whether a server can be used, and why not."""
        service = remote.spec["service"]
        shown = f'service/{service.get("name")} in "{service.get("namespace")}"'
        target = f"/apis/{remote.group}/{remote.version}"
        try:
            host = await self._host(remote)
        except ApiError as e:
            if e.code == 404:
                return False, "ServiceNotFound", f"{shown} is not present"
            return False, "MissingEndpoints", f"endpoints for {shown} have no addresses: {e}"
        who = User("system:kube-aggregator", ("system:masters",))
        try:
            client = await self._client(remote, host)
            async with await client.request(
                "GET", target, headers=front.headers(who), timeout=SECONDS
            ) as response:
                data, status = await response.read(), response.status
        except (ConnectionError, TimeoutError, OSError, ssl.SSLError) as e:
            said = f"failing or missing response from https://{host}{target}: {e or type(e).__name__}"
            return False, "FailedDiscoveryCheck", said
        if status >= 300:
            said = f"failing or missing response from https://{host}{target}: bad status from it: {status}"
            return False, "FailedDiscoveryCheck", said
        self._learn(remote, data)
        return True, "Passed", "all checks passed"

    def _learn(self, remote: Remote, data: bytes) -> None:
        try:
            found: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            return
        resources = list(found.get("resources") or ()) if isinstance(found, dict) else []
        if resources != remote.resources:
            remote.resources = resources
            self.changed += 1

    # Asking

    async def client(self, remote: Remote) -> HttpClient:
        """A client of the server behind. Raises 503."""
        try:
            return await self._client(remote, await self._host(remote))
        except (ApiError, OSError, ssl.SSLError) as e:
            raise errors.unavailable("service unavailable") from e

    async def _host(self, remote: Remote) -> str:
        service = remote.spec["service"]
        kind = self._server.catalog.find("services")
        call = Call(
            verb="get", kind=kind, namespace=service.get("namespace", ""), name=service.get("name", "")
        )
        return await Connections(self._server).service_host(call, str(service.get("port", 443)))

    async def _client(self, remote: Remote, host: str) -> HttpClient:
        service, bundle = remote.spec["service"], remote.spec.get("caBundle") or ""
        name = f"{service.get('name')}.{service.get('namespace')}.svc"
        key = (host, name, bundle)
        if key not in self._clients:
            if not self._pair:
                self._pair = front.as_file(await front.pair(self._server))
            ca = base64.b64decode(bundle) if bundle else None
            insecure = bool(remote.spec.get("insecureSkipTLSVerify"))
            tls = client_context(ca=ca, pair=self._pair, verify=not insecure)
            self._clients[key] = HttpClient(f"https://{host}", tls=tls, server_name=name)
        return self._clients[key]

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()


def _rank(remote: Remote) -> tuple[int, str, int]:
    spec = remote.spec
    return (-spec.get("groupPriorityMinimum", 0), remote.group, -spec.get("versionPriority", 0))


def _plain(condition: Object) -> Object:
    return {k: v for k, v in condition.items() if k != "lastTransitionTime"}


def _own(name: str, kind: Kind) -> Object:
    import uuid

    from sampan.machinery import times

    priorities = {"groupPriorityMinimum": 18000 if not kind.group else 17000, "versionPriority": 15}
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {
            "name": name,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": times.time(time.time()),
            "labels": {MANAGED: "onstart"},
        },
        "spec": {**({"group": kind.group} if kind.group else {}), "version": kind.version, **priorities},
    }
