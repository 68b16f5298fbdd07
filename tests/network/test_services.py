"""Services on a machine of the test's own: real rules, real connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.network.machine import (
    OUTSIDE,
    UPLINK,
    Machine,
    Objects,
    call,
    connect,
    datagrams,
    node,
    on_a_machine,
    written,
)

from sampan.host import nft
from sampan.network.feed import Feed
from sampan.network.pods import PodNetwork
from sampan.network.proxy import Proxy

WEB = "10.65.0.20"
TABLE = "sampan0-services"


async def cluster(
    machine: Machine, pods: Sequence[str] = ("a", "b")
) -> tuple[Objects, PodNetwork, Proxy, list[str]]:
    """A pod network with pods that say their name at 8080, and a proxy that follows `Objects`."""
    objects, network = Objects(), PodNetwork(node())
    await network.start()
    addresses = []
    for name in pods:
        addresses.append(await machine.pod(network, name))
        await machine.says(name, 8080, machine.pods[name])
    feed = Feed(objects)  # type: ignore[arg-type]
    proxy = Proxy(feed, network.node)
    await machine.background(feed.run())
    await machine.background(proxy.run())
    return objects, network, proxy, addresses


def node_port(number: int, **more: object) -> dict[str, object]:
    return {"port": 80, "protocol": "TCP", "name": "", "nodePort": number, **more}


@on_a_machine
async def test_pods_and_the_node_reach_a_service(machine: Machine) -> None:
    objects, network, proxy, (a, b) = await cluster(machine)
    objects.service("web", WEB)
    objects.endpoints("web", a, b)
    await written(proxy)
    client = machine.netns("c")
    own = (await network.attach("c", client)).addresses[0]
    answers = {await call(WEB, 80, client) for _ in range(30)}
    assert answers == {f"a {own}", f"b {own}"}, "all endpoints are used, and see the client's own address"
    assert {await call(WEB, 80) for _ in range(30)} == {
        f"a {network.node.gateway}",
        f"b {network.node.gateway}",
    }


@on_a_machine
async def test_a_pod_reaches_itself_through_its_service(machine: Machine) -> None:
    objects, network, proxy, (a,) = await cluster(machine, "a")
    objects.service("web", WEB)
    objects.endpoints("web", a)
    await written(proxy)
    assert await call(WEB, 80, machine.pods["a"]) == f"a {network.node.gateway}"


@on_a_machine
async def test_node_ports_are_reached_from_everywhere(machine: Machine) -> None:
    objects, network, proxy, (a,) = await cluster(machine, "a")
    objects.service("web", WEB, (node_port(30080),), type="NodePort")
    objects.endpoints("web", a)
    await written(proxy)
    own = f"a {network.node.gateway}"
    assert await call(UPLINK, 30080, machine.outside) == own
    assert await call(UPLINK, 30080) == own
    assert await call("127.0.0.1", 30080) == own
    assert await call(network.node.host, 30080, machine.pods["a"]) == own


@on_a_machine
async def test_external_traffic_policy_local_keeps_the_client_and_stays_on_the_node(machine: Machine) -> None:
    objects, network, proxy, (a, b) = await cluster(machine)
    objects.service("web", WEB, (node_port(30080),), type="NodePort", externalTrafficPolicy="Local")
    objects.endpoints("web", {"addresses": [a], "nodeName": "node"}, {"addresses": [b], "nodeName": "other"})
    await written(proxy)
    assert {await call(UPLINK, 30080, machine.outside) for _ in range(10)} == {f"a {OUTSIDE}"}
    assert {(await call(UPLINK, 30080)).split()[0] for _ in range(30)} == {"a", "b"}, (
        "the node itself may use all"
    )

    objects.endpoints("web", {"addresses": [b], "nodeName": "other"})
    await written(proxy)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await call(UPLINK, 30080, machine.outside)
    assert await call(WEB, 80) == f"b {network.node.gateway}"


@on_a_machine
async def test_internal_traffic_policy_local(machine: Machine) -> None:
    objects, _, proxy, (a, b) = await cluster(machine)
    objects.service("web", WEB, internalTrafficPolicy="Local")
    objects.endpoints("web", {"addresses": [a], "nodeName": "other"}, {"addresses": [b], "nodeName": "node"})
    await written(proxy)
    assert {(await call(WEB, 80)).split()[0] for _ in range(10)} == {"b"}


@on_a_machine
async def test_the_api_s_own_service_leads_to_the_host(machine: Machine) -> None:
    objects, network, proxy, (a,) = await cluster(machine, "a")
    await machine.says("api", 6443, address=network.node.host)
    objects.service("kubernetes", "10.65.0.1", (443,))
    objects.endpoints("kubernetes", network.node.host, ports=(6443,))
    await written(proxy)
    assert await call("10.65.0.1", 443, machine.pods["a"]) == f"api {a}"
    assert await call("10.65.0.1", 443) == f"api {network.node.gateway}"


@on_a_machine
async def test_external_addresses(machine: Machine) -> None:
    objects, network, proxy, (a,) = await cluster(machine, "a")
    objects.service("web", WEB, externalIPs=["203.0.113.7"])
    objects.endpoints("web", a)
    await written(proxy)
    assert await call("203.0.113.7", 80) == f"a {network.node.gateway}"


@on_a_machine
async def test_without_endpoints_a_connection_is_refused_at_once(machine: Machine) -> None:
    objects, _, proxy, (_,) = await cluster(machine, "a")
    objects.service("web", WEB, (node_port(30080),), type="NodePort")
    await written(proxy)
    for address, port, at in (
        (WEB, 80, None),
        (WEB, 80, machine.pods["a"]),
        (WEB, 81, machine.pods["a"]),  # a port it does not have
        ("10.65.9.9", 80, machine.pods["a"]),  # no service at all
        (UPLINK, 30080, machine.outside),
    ):
        with pytest.raises(ConnectionRefusedError):
            await call(address, port, at)


@on_a_machine
async def test_only_ready_endpoints_are_used_and_else_those_that_still_serve(machine: Machine) -> None:
    objects, _, proxy, (a, b) = await cluster(machine)
    leaving = {"addresses": [b], "conditions": {"ready": False, "serving": True, "terminating": True}}
    objects.service("web", WEB)
    objects.endpoints("web", a, leaving)
    await written(proxy)
    assert {(await call(WEB, 80)).split()[0] for _ in range(10)} == {"a"}
    objects.endpoints("web", {"addresses": [a], "conditions": {"ready": False}}, leaving)
    await written(proxy)
    assert (await call(WEB, 80)).split()[0] == "b"


@on_a_machine
async def test_client_affinity_lasts_while_endpoints_come_and_go(machine: Machine) -> None:
    objects, network, proxy, addresses = await cluster(machine, "abc")
    affinity: Any = {
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
    }
    objects.service("web", WEB, **affinity)
    objects.endpoints("web", *addresses)
    await written(proxy)
    client = machine.netns("client")
    await network.attach("client", client)
    first = await call(WEB, 80, client)
    assert {await call(WEB, 80, client) for _ in range(20)} == {first}

    other = next(x for x, name in zip(addresses, "abc", strict=True) if name != first.split()[0])
    objects.endpoints("web", *(x for x in addresses if x != other))
    await written(proxy)
    assert {await call(WEB, 80, client) for _ in range(20)} == {first}
    again = Proxy(proxy._feed, network.node)  # as after a restart
    await machine.background(again.run())
    await written(again)
    assert {await call(WEB, 80, client) for _ in range(20)} == {first}


@on_a_machine
async def test_udp_goes_over_to_the_new_endpoint(machine: Machine) -> None:
    """A client that keeps its socket must not keep an endpoint that is gone, or none where there was none."""
    objects, network, proxy, (a, b) = await cluster(machine)
    dns = {"port": 53, "protocol": "UDP", "name": "dns"}
    at = {"port": 8080, "protocol": "UDP", "name": "dns"}
    objects.service("dns", WEB, (dns,))
    objects.endpoints("dns", a, ports=(at,))
    await written(proxy)
    own = network.node.gateway
    async with datagrams() as ask:
        assert await ask(WEB, 53) == f"a {own}"
        objects.endpoints("dns", b, ports=(at,))
        await written(proxy)
        assert await ask(WEB, 53) == f"b {own}"


@on_a_machine
async def test_connections_outlive_every_change_of_rules(machine: Machine) -> None:
    objects, network, proxy, (a, b) = await cluster(machine)
    objects.service("web", WEB)
    objects.endpoints("web", a)
    await written(proxy)
    reader, writer = await connect(WEB, 80, machine.pods["b"])
    assert (await reader.readline()).decode() == f"a {b}\n"

    objects.endpoints("web", b)
    await written(proxy)
    objects.drop("services", "web")
    await written(proxy)
    again = Proxy(proxy._feed, network.node)
    await machine.background(again.run())
    await written(again)
    writer.write(b"still there?\n")
    assert (await asyncio.wait_for(reader.readline(), 5)).decode() == f"a {b}\n"
    writer.close()


@on_a_machine
async def test_a_restart_makes_the_table_right_whatever_stands_in_it(machine: Machine) -> None:
    objects, network, proxy, (a, _) = await cluster(machine)
    objects.service("web", WEB, sessionAffinity="ClientIP")
    objects.service("gone", "10.65.0.21")
    objects.endpoints("web", a)
    objects.endpoints("gone", a)
    await written(proxy)
    right = len(nft.table(TABLE) or ())
    nft.run(
        f"add chain ip {TABLE} stray\nadd rule ip {TABLE} refuse accept\n".replace("services-hook", "refuse")
    )
    nft.run("add table ip foreign\nadd chain ip foreign mine\n")
    again = Proxy(proxy._feed, network.node)
    await machine.background(again.run())
    await written(again)
    assert len(nft.table(TABLE) or ()) == right
    assert len(nft.table("foreign") or ()) == 3, "other tables are left alone"


@on_a_machine
async def test_a_change_touches_only_its_service(machine: Machine) -> None:
    objects, _, proxy, (a, b) = await cluster(machine)
    for i in range(20):
        objects.service(f"s{i}", f"10.65.0.{20 + i}")
        objects.endpoints(f"s{i}", a)
    await written(proxy)

    def handles() -> dict[int, str]:
        return {i["rule"]["handle"]: i["rule"]["chain"] for i in nft.table(TABLE) or () if "rule" in i}

    before = handles()
    objects.endpoints("s3", a, b)
    await written(proxy)
    after = handles()
    touched = before.items() ^ after.items()
    assert {chain.partition("default/")[2] for _, chain in touched} == {"s3/tcp/80"}


@on_a_machine
async def test_hundreds_of_services_at_once(machine: Machine) -> None:
    objects, _, proxy, (a, b) = await cluster(machine)
    for i in range(300):
        objects.service(f"s{i}", f"10.65.{1 + i // 100}.{i % 100}", (node_port(30000 + i),), type="NodePort")
        objects.endpoints(f"s{i}", a, b)
    await written(proxy)
    assert (await call("10.65.3.99", 80)).split()[0] in "ab"
    assert (await call(UPLINK, 30299, machine.outside)).split()[0] in "ab"
    for i in range(300):
        objects.drop("services", f"s{i}")
    await written(proxy)
    with pytest.raises(ConnectionRefusedError):
        await call("10.65.3.99", 80)
    elements = [i["map"].get("elem", []) for i in nft.table(TABLE) or () if "map" in i]
    assert not any(elements)
