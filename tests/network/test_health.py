"""Which endpoints are near, and what load balancers are told of this node's."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from tests.network.machine import Objects
from tests.network.test_feed import until

from sampan.machinery.objects import Key
from sampan.network.book import Endpoint
from sampan.network.feed import Feed
from sampan.network.health import Health
from sampan.network.services import near

WEB = Key("default", "web")


def endpoint(name: str, nodes: str = "", zones: str = "", *, ready: bool = True) -> tuple[Endpoint, int]:
    hints = frozenset(nodes.split()), frozenset(zones.split())
    return Endpoint(name, for_nodes=hints[0], for_zones=hints[1], ready=ready), 80


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([endpoint("a", "n", "z"), endpoint("b", "m", "z"), endpoint("c", "o", "y")], "a"),
        ([endpoint("a", "m", "z"), endpoint("b", "o", "y")], "a"),
        ([endpoint("a", "m", "y"), endpoint("b", "o", "y")], "ab"),
        ([endpoint("a", "n", "z"), endpoint("b", "", "")], "ab"),
        ([endpoint("a", "", "z"), endpoint("b", "", "y"), endpoint("c", ready=False)], "a"),
        ([endpoint("a", ready=False)], "a"),
        ([], ""),
    ],
)
def test_near_endpoints_are_preferred_where_there_are_any(
    known: list[tuple[Endpoint, int]], expected: str
) -> None:
    assert "".join(e.address for e, _ in near(known, "n", "z")) == expected


async def asked(port: int) -> tuple[str, dict[str, object]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.decode(), json.loads(body)


async def test_a_load_balancer_learns_whether_the_node_has_endpoints() -> None:
    objects = Objects()
    feed = Feed(objects)  # type: ignore[arg-type]
    well = True
    health = Health(feed, "n", lambda: well)
    tasks = [asyncio.create_task(feed.run()), asyncio.create_task(health.run())]
    with socket.create_server(("", 0)) as free:
        port: int = free.getsockname()[1]
    objects.service("web", "10.65.0.20", healthCheckNodePort=port)
    objects.endpoints("web", {"addresses": ["10.64.0.5"], "nodeName": "n"}, {"addresses": ["10.64.1.5"]})
    await until(lambda: health.ports == {port} and health.count(WEB) == 1)
    head, told = await asked(port)
    assert head.startswith("HTTP/1.1 200 OK")
    assert "X-Load-Balancing-Endpoint-Weight: 1" in head
    service = {"namespace": "default", "name": "web"}
    assert told == {"service": service, "localEndpoints": 1, "serviceProxyHealthy": True}
    well = False
    assert (await asked(port))[0].startswith("HTTP/1.1 503")
    well = True
    objects.endpoints("web", {"addresses": ["10.64.1.5"], "nodeName": "m"})
    await until(lambda: health.count(WEB) == 0)
    assert (await asked(port))[0].startswith("HTTP/1.1 503")
    objects.drop("services", "web")
    await until(lambda: not health.ports)
    for task in tasks:
        task.cancel()
