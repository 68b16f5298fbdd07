"""Calls of programs that users name: webhooks of admission and of conversion, by URL or by Service.

A Service is called at one of its ready endpoints, under its own name. Source: k8s.io/apiserver pkg/util/webhook.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from sampan.apiserver.call import Call
from sampan.apiserver.connections import Connections
from sampan.client.api import ApiError
from sampan.http.client import HttpClient
from sampan.http.tls import client_context
from sampan.machinery.objects import Object, get

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

# The largest answer that is read, in bytes.
LARGEST = 8 * 1024 * 1024


class HookError(Exception):
    """There was no answer, or none that can be used; the text says why."""


class Hooks:
    """One client for each place that is called, kept while it is called."""

    def __init__(self, server: ApiServer):
        self._server = server
        self._clients: dict[tuple[str, str, str], HttpClient] = {}

    async def post(self, config: Object, body: Object, seconds: float) -> Object:
        """The JSON that a `clientConfig` answers to some JSON. Raises HookError."""
        url = ""
        try:
            async with asyncio.timeout(seconds):
                base, name, path, url = await self._place(config)
                client = self._client(base, name, config.get("caBundle") or "")
                target = f"{path or '/'}?timeout={seconds:g}s"
                data = orjson.dumps(body)
                headers = {"content-type": "application/json", "accept": "application/json"}
                async with await client.request("POST", target, headers=headers, body=data) as response:
                    answer = await response.read()
                    status = response.status
        except TimeoutError:
            raise HookError(f'Post "{url}?timeout={seconds:g}s": context deadline exceeded') from None
        except (ConnectionError, OSError, ssl.SSLError) as e:
            raise HookError(f'Post "{url}?timeout={seconds:g}s": {_worded(e)}') from e
        if len(answer) > LARGEST:
            raise HookError("the answer is too large")
        return _decoded(status, answer)

    async def _place(self, config: Object) -> tuple[str, str, str, str]:
        """Where to connect, under which name, the path, and the URL as messages show it. Raises HookError."""
        if url := config.get("url"):
            parts = urlsplit(url)
            return f"{parts.scheme}://{parts.netloc}", parts.hostname or "", parts.path, url
        service = config.get("service") or {}
        port, path = service.get("port") or 443, service.get("path") or "/"
        name = f"{service.get('name')}.{service.get('namespace')}.svc"
        shown = f"https://{name}:{port}{path}"
        host = await self._endpoint(service, port, shown)
        return f"https://{host}", name, path, shown

    async def _endpoint(self, service: Object, port: int, shown: str) -> str:
        kind = self._server.catalog.find("services")
        call = Call(
            verb="get", kind=kind, namespace=service.get("namespace", ""), name=service.get("name", "")
        )
        try:
            return await Connections(self._server).service_host(call, str(port))
        except ApiError as e:
            message = get(e.status, "message", str(e))
            raise HookError(f'Post "{shown}": {message}') from e

    def _client(self, base: str, name: str, bundle: str) -> HttpClient:
        key = (base, name, bundle)
        if key not in self._clients:
            ca = base64.b64decode(bundle) if bundle else None
            try:
                tls = client_context(ca=ca)
            except (ssl.SSLError, ValueError) as e:
                raise HookError(f"unable to load root certificates: {e}") from e
            self._clients[key] = HttpClient(base, tls=tls, server_name=name)
        return self._clients[key]

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
        self._clients.clear()


def _decoded(status: int, data: bytes) -> Object:
    if status != 200:
        text = data.decode(errors="replace").strip()
        raise HookError(
            text if text and status >= 500 else f"the server responded with status {status}: {text}"
        )
    try:
        found: Any = orjson.loads(data)
    except orjson.JSONDecodeError as e:
        raise HookError(f"couldn't get version/kind; json parse error: {e}") from e
    if not isinstance(found, dict):
        raise HookError("couldn't get version/kind; json parse error: the answer is no object")
    return found


def _worded(error: Exception) -> str:
    """A failure as Go's client words it, where users know that."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: {error.verify_message or error}"
    if isinstance(error, ConnectionRefusedError):
        return "connect: connection refused"
    return str(error) or type(error).__name__
