"""The network of one node as it runs: rules of Services, cluster DNS, and a guard over the rules.

The pod network (`pods`) is apart: the engine calls it. Everything here follows from what the API says, so it may end
at any moment; the rules stay in the kernel, and the next start makes them right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from sampan.client.api import Client
from sampan.host import trace
from sampan.machinery.objects import Key
from sampan.network import guard
from sampan.network.addresses import NodeNetwork, router
from sampan.network.dns import server
from sampan.network.dns.forward import Forwarder
from sampan.network.dns.records import Zone
from sampan.network.feed import Feed
from sampan.network.health import Health
from sampan.network.proxy import Proxy


class Agent:
    """`host` is where the host's network namespace is held, where nodes have their own (`nodes.host_namespace`).

    With it, names are looked up at the host's resolvers from there; and where `leads`, as the first of several
    nodes does, services are also made reachable from the host. `sockets` are those of the DNS, if someone holds them
    over restarts.
    """

    def __init__(
        self,
        client: Client,
        node: NodeNetwork,
        *,
        domain: str = "cluster.local",
        host: Path | None = None,
        leads: bool = True,
        sockets: server.Sockets | None = None,
    ) -> None:
        self._node = node
        self._sockets = sockets
        self.feed = Feed(client, node.name)
        places: list[tuple[NodeNetwork, Path | None]] = [(node, None)]
        if host and leads:
            places.append((router(node.ranges), host))
        self._proxies = [(place, Proxy(self.feed, place, at), at) for place, at in places]
        self._health = Health(self.feed, node.name, lambda: not self.problem())
        self._zone = Zone(self.feed.book, domain, (node.ranges.pods, node.ranges.services), node.ranges.dns)
        self._forwarder = Forwarder(own=node.ranges.dns, at=host)
        self.feed.listen(self._changed)

    def problem(self) -> str:
        """Why services may not be reachable, in words for a node condition; empty when they are."""
        return "; ".join(p.problem for _, p, _ in self._proxies if p.problem)

    async def run(self) -> None:
        """Serve until cancelled."""
        resolver = server.Resolver(self._zone, self._forwarder, self.feed.synced)
        dns = server.Server(resolver, self._sockets or server.bind(self._node.ranges.dns))
        await dns.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.feed.run(), name="watch services")
                group.create_task(self._health.run(), name="health checks of services")
                for place, proxy, at in self._proxies:
                    group.create_task(proxy.run(), name="rules of services")
                    group.create_task(guard.watch(place, proxy, at), name="guard of the rules")
        finally:
            await dns.close()
            await self._forwarder.close()

    def _changed(self, changes: Mapping[Key, Iterable[trace.Cause]]) -> None:
        self._zone.changed()
