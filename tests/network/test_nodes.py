"""Several nodes on one machine, each in a namespace of its own; and Docker beside them."""

from __future__ import annotations

import asyncio

from tests.network.machine import OUTSIDE, UPLINK, Machine, Objects, call, datagrams, on_a_machine, written

from sampan.config import Config
from sampan.host import namespaces, netlink, netns, nft
from sampan.host.netlink import Netlink
from sampan.network import guard, nodes
from sampan.network.addresses import NodeNetwork, host_address, router
from sampan.network.agent import Agent
from sampan.network.feed import Feed
from sampan.network.pods import PodNetwork
from sampan.network.proxy import Proxy

WEB = "10.65.0.20"


def config(machine: Machine, count: int) -> Config:
    return Config(run=machine.directory / "run", nodes=count)


async def pod(node: NodeNetwork, machine: Machine, name: str) -> str:
    """A pod on a node, attached as the node's own process does it: from inside the node's namespace."""
    path = machine.netns(name)

    async def attach() -> str:
        network = PodNetwork(node)
        await network.start()
        return (await network.attach(name, path)).addresses[0]

    def inside() -> str:
        if node.netns:
            netns.enter(node.netns)
        return asyncio.run(attach())

    address = await asyncio.to_thread(namespaces.in_thread, inside)
    await machine.says(name, 8080, path)
    return address


def state() -> tuple[set[str], list[str], set[str]]:
    with Netlink() as kernel:
        return (
            {k.name for k in kernel.links()},
            nft.tables(),
            {r.destination for r in kernel.routes() if r.table == 254},
        )


@on_a_machine
async def test_pods_of_different_nodes_reach_one_another_the_host_and_the_outside(machine: Machine) -> None:
    cfg = config(machine, 3)
    found = await nodes.setup(cfg)
    a, b = await pod(found[0], machine, "a"), await pod(found[1], machine, "b")
    assert (a, b) == ("10.64.0.2", "10.64.1.2")
    await machine.says("api", 6443, address=host_address(cfg.ranges))
    await machine.says("outside", 8082, machine.outside)

    assert await call(b, 8080, machine.pods["a"]) == f"b {a}"
    assert await call(b, 8080) == f"b {host_address(cfg.ranges)}"
    assert await call(b, 8080, found[2].netns) == f"b {found[2].address}"
    assert await call(host_address(cfg.ranges), 6443, machine.pods["a"]) == f"api {a}"
    assert await call(host_address(cfg.ranges), 6443, found[0].netns) == f"api {found[0].address}"
    assert await call(OUTSIDE, 8082, machine.pods["b"]) == f"outside {UPLINK}"
    assert await call(OUTSIDE, 8082, found[1].netns) == f"outside {UPLINK}"
    await nodes.teardown(cfg)


@on_a_machine
async def test_the_cluster_dns_is_local_on_every_node_and_the_host_asks_the_first(machine: Machine) -> None:
    cfg = config(machine, 2)
    found = await nodes.setup(cfg)
    a, b = await pod(found[0], machine, "a"), await pod(found[1], machine, "b")
    for n in found:
        await machine.says(n.name, 53, n.netns, cfg.ranges.dns)
    objects = Objects()
    feed = Feed(objects)  # type: ignore[arg-type]
    proxies = [Proxy(feed, n, n.netns) for n in found] + [Proxy(feed, router(cfg.ranges))]
    for work in (feed.run(), *(p.run() for p in proxies)):
        await machine.background(work)
    objects.service("kube-dns", cfg.ranges.dns, ({"port": 53, "protocol": "UDP", "name": "dns"},))
    await written(*proxies)
    for at, said in (
        (machine.pods["a"], f"sampan-1 {a}"),
        (machine.pods["b"], f"sampan-2 {b}"),
        (None, "sampan-1 "),
    ):
        async with datagrams(at) as ask:
            assert (await ask(cfg.ranges.dns, 53)).startswith(said)
    await nodes.teardown(cfg)


@on_a_machine
async def test_services_are_reached_from_every_node_and_the_host(machine: Machine) -> None:
    cfg = config(machine, 2)
    found = await nodes.setup(cfg)
    a, b = await pod(found[0], machine, "a"), await pod(found[1], machine, "b")
    objects = Objects()
    feed = Feed(objects)  # type: ignore[arg-type]
    proxies = [Proxy(feed, n, n.netns) for n in found] + [Proxy(feed, router(cfg.ranges))]
    for work in (feed.run(), *(p.run() for p in proxies)):
        await machine.background(work)
    port = {"port": 80, "protocol": "TCP", "name": "", "nodePort": 30080}
    objects.service("web", WEB, (port,), type="NodePort")
    objects.endpoints("web", b)
    await written(*proxies)

    assert await call(WEB, 80, machine.pods["a"]) == f"b {a}"
    assert await call(WEB, 80, machine.pods["b"]) == f"b {found[1].gateway}", "hairpin"
    assert (await call(WEB, 80)).startswith("b ")
    assert (await call(WEB, 80, found[0].netns)).startswith("b ")
    for address in (found[0].address, found[1].address, UPLINK, "127.0.0.1"):
        assert (await call(address, 30080)).startswith("b "), address
    assert (await call("127.0.0.1", 30080, found[0].netns)).startswith("b ")
    assert (await call(found[0].address, 30080, machine.pods["a"])).startswith("b ")
    assert (await call(host_address(cfg.ranges), 30080, machine.pods["b"])).startswith("b "), (
        "back to the same node"
    )
    assert (await call(UPLINK, 30080, machine.outside)).startswith("b ")
    await nodes.teardown(cfg)


async def set_up_twice_and_tear_down(machine: Machine, count: int) -> None:
    before = state()
    cfg = config(machine, count)
    first = await nodes.setup(cfg)
    made = state()
    assert await nodes.setup(cfg) == first
    assert state() == made
    await pod(first[-1], machine, "a")
    await nodes.teardown(cfg)
    await nodes.teardown(cfg)
    assert state() == before
    assert not list(cfg.run.glob("netns/*"))


@on_a_machine
async def test_setup_again_changes_nothing_and_teardown_leaves_nothing(machine: Machine) -> None:
    await set_up_twice_and_tear_down(machine, 1)


@on_a_machine
async def test_setup_again_and_teardown_of_several_nodes(machine: Machine) -> None:
    await set_up_twice_and_tear_down(machine, 3)


@on_a_machine
async def test_setup_mends_what_a_crash_left(machine: Machine) -> None:
    cfg = config(machine, 2)
    found = await nodes.setup(cfg)
    with Netlink() as kernel:
        kernel.send(netlink.delete_link(found[1].link))  # killed between two steps
    nft.run(nft.delete_table("sampan0"))
    await nodes.setup(cfg)
    a, b = await pod(found[0], machine, "a"), await pod(found[1], machine, "b")
    assert await call(b, 8080, machine.pods["a"]) == f"b {a}"
    await nodes.teardown(cfg)


DOCKER = """
add table ip filter
add chain ip filter DOCKER-USER
add chain ip filter FORWARD { type filter hook forward priority filter; policy drop; }
add rule ip filter FORWARD jump DOCKER-USER
add chain ip filter INPUT { type filter hook input priority filter; policy accept; }
"""


@on_a_machine
async def test_docker_s_firewall_lets_our_pods_pass(machine: Machine) -> None:
    nft.run(DOCKER)
    cfg = config(machine, 1)
    (node,) = await nodes.setup(cfg)
    a, b = await pod(node, machine, "a"), await pod(node, machine, "b")
    await machine.says("outside", 8082, machine.outside)
    assert await call(b, 8080, machine.pods["a"]) == f"b {a}"
    assert await call(OUTSIDE, 8082, machine.pods["a"]) == f"outside {UPLINK}"
    await nodes.teardown(cfg)
    assert nft.chain("filter", "DOCKER-USER") == [], "our rules are gone, Docker's chain is as it was"


@on_a_machine
async def test_docker_that_starts_later_or_again_does_not_cut_us_off(machine: Machine) -> None:
    cfg = config(machine, 1)
    (node,) = await nodes.setup(cfg)
    a, b = await pod(node, machine, "a"), await pod(node, machine, "b")
    await machine.background(guard.watch(node, Proxy(Feed(Objects()), node)))  # type: ignore[arg-type]
    for _ in range(2):
        await asyncio.sleep(0.05)
        nft.run(nft.delete_table("filter") + DOCKER)
        async with asyncio.timeout(5):
            while not nft.chain("filter", "DOCKER-USER"):  # noqa: ASYNC110 (a test may poll)
                await asyncio.sleep(0.02)
        assert await call(b, 8080, machine.pods["a"]) == f"b {a}"
    await nodes.teardown(cfg)


@on_a_machine
async def test_rules_come_back_after_someone_flushed_all_of_them(machine: Machine) -> None:
    """As `systemctl restart nftables` does."""
    cfg = config(machine, 2)
    found = await nodes.setup(cfg)
    a = await pod(found[0], machine, "a")
    await machine.says("outside", 8082, machine.outside)
    objects = Objects()
    objects.service("web", WEB, (8080,))
    objects.endpoints("web", a)
    agent = Agent(objects, router(cfg.ranges))  # type: ignore[arg-type]
    await machine.background(agent.run())
    await agent.feed.synced.wait()
    (_, proxy, _), *_ = agent._proxies
    await written(proxy)
    nft.run("flush ruleset")
    async with asyncio.timeout(5):
        while set(nft.tables()) != set(nodes.tables(cfg.ranges)) or not proxy.idle:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert (await call(WEB, 8080)).startswith("a ")
    assert await call(OUTSIDE, 8082, machine.pods["a"]) == f"outside {UPLINK}"
    await nodes.teardown(cfg)
