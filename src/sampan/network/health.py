"""Tells load balancers, at a Service's health check port, whether this node has endpoints of it.

Only Services of type LoadBalancer with `externalTrafficPolicy: Local` have such a port. Source: the tasks' page "Create
an External Load Balancer"; k8s.io/kubernetes pkg/proxy/healthcheck.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from sampan.host import trace
from sampan.machinery.objects import Key
from sampan.network.feed import Feed

log = logging.getLogger(__name__)
AGAIN = 5.0  # seconds until a port that was in use is tried again
PATIENCE = 5.0  # seconds that a client has for its request


class Health:
    """`healthy` says whether the rules of services are as they should be."""

    def __init__(self, feed: Feed, node: str, healthy: Callable[[], bool]) -> None:
        self._feed, self._node, self._healthy = feed, node, healthy
        self._servers: dict[tuple[Key, int], asyncio.Server] = {}
        self._wake = asyncio.Event()
        feed.listen(self._changed)

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._feed.synced.wait()
        try:
            while True:
                self._wake.clear()
                settled = await self._listen()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if settled else AGAIN):
                        await self._wake.wait()
        finally:
            for server in self._servers.values():
                server.close()

    def _changed(self, changes: Mapping[Key, Iterable[trace.Cause]]) -> None:
        self._wake.set()

    @property
    def ports(self) -> set[int]:
        """Where it listens."""
        return {port for _, port in self._servers}

    async def _listen(self) -> bool:
        """Open and close ports as Services want them; returns whether all could be opened."""
        book = self._feed.book
        wanted = {(key, s.health_port) for key, s in book.services.items() if s.health_port}
        for gone in self._servers.keys() - wanted:
            self._servers.pop(gone).close()
        for key, port in wanted - self._servers.keys():
            try:
                self._servers[key, port] = await asyncio.start_server(self._answer(key), "0.0.0.0", port)
            except OSError as e:
                log.warning("health check port %d of service %s: %s", port, key, e)
        return wanted == self._servers.keys()

    def count(self, service: Key) -> int:
        """How many endpoints on this node take new connections."""
        book = self._feed.book
        every = [e for part in book.slices.get(service, {}).values() for e in part.endpoints]
        here = [e for e in every if e.node == self._node]
        return len({e.address for e in here if e.ready} or {e.address for e in here if e.serving})

    def _answer(
        self, service: Key
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(PATIENCE):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(self.response(service))
                    await writer.drain()
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            finally:
                writer.close()

        return answer

    def response(self, service: Key) -> bytes:
        count, healthy = self.count(service), self._healthy()
        told = {
            "service": {"namespace": service.namespace, "name": service.name},
            "localEndpoints": count,
            "serviceProxyHealthy": healthy,
        }
        body = json.dumps(told, indent=1).encode()
        head = (
            f"HTTP/1.1 {'200 OK' if count and healthy else '503 Service Unavailable'}\r\n"
            "Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
            f"X-Load-Balancing-Endpoint-Weight: {count}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body
