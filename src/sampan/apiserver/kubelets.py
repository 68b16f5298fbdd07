"""Connections to the nodes' kubelets, and through the proxy to pods: requests, and upgrades whose bytes are passed on.

To kubelets the server shows its certificate, with which they obey it. To anything else it never does: a user who may
use the proxy chooses the port there, and it may be that of a kubelet, or this server's own.
Source: the kubelet's API is not documented; its paths are those that kube-apiserver asks for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import orjson

from sampan.apiserver import errors
from sampan.apiserver.authentication import TOKEN_PROTOCOL
from sampan.host import trace
from sampan.http.client import Headers, HttpClient
from sampan.http.messages import Connection, Request, Response, Upgrade
from sampan.http.tls import client_context
from sampan.http.transport import splice
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

PORT = 10250
# What is between two parties only, and so not passed on (RFC 9110 section 7.6.1), and what is ours alone.
_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "host", "authorization", "content-length",
})  # fmt: skip
_OURS = ("impersonate-", "x-remote-")
_UPGRADE = (
    "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "sec-websocket-extensions",
    "x-stream-protocol-version",
)  # fmt: skip
# Clients of pods kept for the next request.
_MOST_PROXIED = 64
_ADDRESS_TYPES = ("InternalIP", "ExternalIP", "Hostname")


class Kubelets:
    def __init__(self, server: ApiServer):
        self._server = server
        self._clients: dict[tuple[str, str], HttpClient] = {}
        self._proxied: dict[str, HttpClient] = {}

    async def close(self) -> None:
        for client in (*self._clients.values(), *self._proxied.values()):
            await client.close()
        self._clients.clear()
        self._proxied.clear()

    async def node(self, name: str) -> HttpClient:
        """A client of a node's kubelet. Raises 500 where the node is unknown or has no address."""
        record = await self._server.store.get(f"/core/nodes/{name}")
        if not record:
            raise errors.internal(f'nodes "{name}" not found')
        node = self._server.decoded(record)
        address = _address(node)
        if not address:
            raise errors.internal(
                f"no preferred addresses found; known addresses: {get(node, 'status.addresses', [])}"
            )
        port = get(node, "status.daemonEndpoints.kubeletEndpoint.Port", PORT)
        host = f"[{address}]" if ":" in address else address
        return self._kubelet(name, f"https://{host}:{port}")

    def _kubelet(self, name: str, base: str) -> HttpClient:
        """A client that speaks only to the holder of the node's own certificate: a node reports its own address,
        and might give another's."""
        found = self._clients.get((name, base))
        if found is None:
            kubelets = self._server.settings.kubelets
            if kubelets is None:
                raise errors.internal("this API server was given no certificate to speak to kubelets with")
            tls = client_context(ca=kubelets.authority, pair=kubelets.certificate, key=kubelets.key)
            found = self._clients[name, base] = HttpClient(base, tls=tls, server_name=name)
        return found

    async def proxied(self, base: str) -> HttpClient:
        """A client of a pod: nameless, and trusting, for a pod's certificate has no authority that we could know."""
        found = self._proxied.pop(base, None)
        if found is None:
            tls = client_context(verify=False) if base.startswith("https:") else None
            found = HttpClient(base, tls=tls)
        self._proxied[base] = found  # the one used last stands last
        for other, client in list(self._proxied.items())[:-_MOST_PROXIED]:
            if not client.busy:
                del self._proxied[other]
                await client.close()
        return found

    async def json(self, node: str, target: str) -> Object:
        """A small JSON answer of a kubelet. Raises 503."""
        client = await self.node(node)
        try:
            async with await client.request("GET", target, headers=_traced(), timeout=5) as response:
                data = await response.read(5)
            if response.status != 200:
                raise errors.unavailable(f"kubelet {node} answered {response.status}: {data[:200]!r}")
            found: Object = orjson.loads(data)
        except (OSError, ValueError) as e:
            raise errors.unavailable(f"kubelet {node} gave no stats: {e}") from e
        return found


async def forward(
    client: HttpClient, request: Request, target: str, *, upgrades: bool = True, more: Headers | None = None
) -> Response:
    """Pass a request on, as an upgrade where it asks for one, unless not `upgrades`. Raises 502 and 503 as Status.

    `more` headers are added, and nothing that the client says of that kind is passed on.
    """
    wants_upgrade = (
        upgrades
        and "upgrade" in request.headers.get("connection", "").lower()
        and "upgrade" in request.headers
    )
    try:
        if wants_upgrade:
            return await _upgraded(client, request, target, more or {})
        kept = {n: v for n, v in request.headers.items() if n not in _HOP and not n.startswith(_OURS)}
        headers: Headers = {**kept, **_traced(), **(more or {})}
        body: bytes | AsyncIterator[bytes] = b""
        if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
            body = request.chunks()
        response = await client.request(request.method, target, headers=headers, body=body, timeout=30)
    except TimeoutError as e:
        raise errors.gateway_timeout(f"{client.base} did not answer in time") from e
    except ConnectionError as e:
        raise errors.unavailable(f"error trying to reach service: {e}") from e
    return Response(response.status, response.chunks(), _passed(response.headers))


async def _upgraded(client: HttpClient, request: Request, target: str, more: Headers) -> Response:
    kept = {n: request.headers[n] for n in _UPGRADE if n in request.headers}
    offered = [p for p in kept.pop("sec-websocket-protocol", "").split(",") if p.strip()]
    if public := [p for p in offered if not p.strip().startswith(TOKEN_PROTOCOL)]:
        kept["sec-websocket-protocol"] = ",".join(public)
    headers = {"upgrade": request.headers["upgrade"], **kept, **_traced(), **more}
    response, far = await client.upgrade(request.method, target, headers)
    if far is None:
        return Response(response.status, response.chunks(), _passed(response.headers))
    back = {
        n: v
        for n, v in response.headers.items()
        if n in ("upgrade", "connection", "x-stream-protocol-version") or n.startswith("sec-")
    }

    async def run(near: Connection) -> None:
        await splice(near, far)

    return Response(101, Upgrade(run), back)


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {n: v for n, v in headers.items() if n not in _HOP}


def _traced() -> dict[str, str]:
    cause = trace.cause()
    return {"traceparent": cause} if cause else {}


def _address(node: Object) -> str:
    addresses = get(node, "status.addresses", [])
    for kind in _ADDRESS_TYPES:
        for address in addresses:
            if address.get("type") == kind:
                return str(address["address"])
    return ""
