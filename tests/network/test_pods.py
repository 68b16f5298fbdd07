"""The pod network on a machine of the test's own: who reaches whom, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest
from tests.network.machine import OUTSIDE, UPLINK, UPLINK_MTU, Machine, call, datagrams, node, on_a_machine

from sampan.host import namespaces, netlink, netns, nft
from sampan.host.netlink import Netlink
from sampan.network.attachment import Bandwidth, NetworkError, PortMapping
from sampan.network.pods import PodNetwork, link_address, link_name


def links(at: Path | None = None) -> set[str]:
    with netns.entered(at), Netlink() as kernel:
        return {link.name for link in kernel.links()}


@on_a_machine
async def test_pods_reach_one_another_the_node_and_the_outside(machine: Machine) -> None:
    network = PodNetwork(node())
    await network.start()
    first, second = await machine.pod(network, "a"), await machine.pod(network, "b")
    await machine.says("b", 8080, machine.pods["b"])
    await machine.says("node", 8081)
    await machine.says("outside", 8082, machine.outside)

    assert await call(second, 8080, machine.pods["a"]) == f"b {first}", "pods see one another's own address"
    assert await call(second, 8080) == f"b {network.node.gateway}"
    assert await call(network.node.gateway, 8081, machine.pods["a"]) == f"node {first}"
    assert await call(OUTSIDE, 8082, machine.pods["a"]) == f"outside {UPLINK}", "the outside sees the machine"


@on_a_machine
async def test_what_a_pod_gets(machine: Machine) -> None:
    network = PodNetwork(node())
    await network.start()
    got = await network.attach("a", machine.netns("a"), bandwidth=Bandwidth(10**8, 10**8))
    assert got.addresses == ("10.64.0.2",)
    assert got.mtu == UPLINK_MTU, "as much as the uplink carries"
    with netns.entered(machine.pods["a"]), Netlink() as kernel:
        eth0 = next(link for link in kernel.links() if link.name == got.interface)
        assert (eth0.mac, eth0.mtu, eth0.up) == (got.mac, got.mtu, True)
        assert [r.gateway for r in kernel.routes() if r.destination == "0.0.0.0/0"] == [got.gateway]
    assert await network.attach("a", machine.pods["a"]) == got, "attaching again changes nothing"


@on_a_machine
async def test_a_pod_cannot_forge_its_address_or_reach_loopback(machine: Machine) -> None:
    network = PodNetwork(node())
    await network.start()
    await machine.pod(network, "a")
    second = await machine.pod(network, "b")
    await machine.says("b", 8080, machine.pods["b"])
    await machine.says("loopback", 8081, address="127.0.0.1")
    with netns.entered(machine.pods["a"]), Netlink() as kernel:
        kernel.send(netlink.address(netlink.index("eth0"), "10.64.0.77/32"))
        kernel.send(netlink.link("eth0", ipv4=[(netlink.ROUTE_LOCALNET, 1)]))
        sock = socket.socket(type=socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(0.2)
        sock.bind(("10.64.0.77", 0))
        sock.sendto(b"?", (second, 8080))
        with pytest.raises(TimeoutError):
            sock.recv(100)
    with netns.entered(machine.pods["a"]):
        sock = socket.socket(type=socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(0.2)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
        sock.sendto(b"?", ("127.0.0.1", 8081))
        with pytest.raises(TimeoutError):
            sock.recv(100)


@on_a_machine
async def test_host_ports(machine: Machine) -> None:
    network = PodNetwork(node())
    await network.start()
    mappings = (
        PortMapping(8080, 80),
        PortMapping(8080, 53, "UDP"),
        PortMapping(8080, 81, host_ip="127.0.0.1"),
    )
    own = await machine.pod(network, "a", port_mappings=mappings)
    await machine.says("a", 8080, machine.pods["a"])

    assert await call(UPLINK, 80, machine.outside) == f"a {OUTSIDE}", "the client's address is kept"
    assert await call(UPLINK, 80) == f"a {UPLINK}"
    assert await call("127.0.0.1", 80) == f"a {network.node.gateway}"
    assert await call("127.0.0.1", 81) == f"a {network.node.gateway}"
    async with datagrams(machine.outside) as ask:
        assert await ask(UPLINK, 53) == f"a {OUTSIDE}"
    assert await call(UPLINK, 80, machine.pods["a"]) == f"a {network.node.gateway}", (
        "to itself, through the node"
    )
    with pytest.raises(OSError):
        await call(UPLINK, 81, machine.outside)

    await network.detach("a")
    with pytest.raises(OSError):
        await call(UPLINK, 80, machine.outside)
    assert own not in str(nft.table("sampan0"))


@on_a_machine
async def test_detach_and_recover_leave_nothing(machine: Machine) -> None:
    network = PodNetwork(node())
    await network.start()
    before = links()
    for name in "abc":
        await machine.pod(network, name, port_mappings=(PortMapping(80, ord(name)),))
    await network.detach("a")
    await network.detach("a")
    await network.detach("never attached")
    namespaces.release(machine.pods["b"])  # a sandbox whose namespace went first

    again = PodNetwork(node())  # as after kill -9
    await again.start()
    assert "c" in again.addresses()
    assert again.addresses().items() <= network.addresses().items()
    await again.recover({"c"})
    assert set(again.addresses()) == {"c"}
    assert links() == before | {link_name("sampan0", again.addresses()["c"])}
    await again.recover(())
    assert links() == before
    assert not [i for i in nft.table("sampan0") or () if i.get("map", {}).get("elem")]


CHURN = """
import asyncio, sys
from pathlib import Path
from machine import node
from sampan.network.attachment import PortMapping
from sampan.network.pods import PodNetwork

async def main():
    network = PodNetwork(node())
    await network.start()
    print("started", flush=True)
    for i in range(10**6):
        names = [f"{i}-{k}" for k in range(len(sys.argv) - 1)]
        ports = [(PortMapping(80, 8000 + k),) if k else () for k in range(len(names))]
        jobs = zip(names, sys.argv[1:], ports)
        await asyncio.gather(*(network.attach(n, Path(p), port_mappings=m) for n, p, m in jobs))
        await asyncio.gather(*(network.detach(n) for n in names))

asyncio.run(main())
"""


@on_a_machine
async def test_kill_at_any_moment_leaves_nothing_that_recover_does_not_find(machine: Machine) -> None:
    await PodNetwork(node()).start()
    before = links()
    paths = [str(machine.netns(name)) for name in "ab"]
    for delay in (0.003, 0.011, 0.023, 0.05):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHURN, *paths, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent
        )
        assert child.stdout
        assert await child.stdout.readline() == b"started\n"
        await asyncio.sleep(delay)
        child.kill()
        await child.wait()
        network = PodNetwork(node())
        await network.start()
        await network.recover(())
        assert links() == before
        assert not [i for i in nft.table("sampan0") or () if any(v.get("elem") for v in i.values())]
        assert set(links(Path(paths[0]))) == {"lo"}


@on_a_machine
async def test_a_half_made_link_is_removed_at_start(machine: Machine) -> None:
    """Killed after making the link, before naming its owner: such an address would never come back."""
    network = PodNetwork(node())
    await network.start()
    path = machine.netns("a")
    with path.open() as inside, Netlink() as kernel:
        ends = (
            netlink.End(link_name("sampan0", "10.64.0.9"), "0a:58:00:00:00:01"),
            netlink.End("eth0", "0a:58:00:00:00:02"),
        )
        kernel.send(netlink.veth(*ends, inside.fileno(), 1400))
    await PodNetwork(node()).start()
    assert link_name("sampan0", "10.64.0.9") not in links()


@on_a_machine
async def test_addresses_are_not_given_twice_nor_at_once_again(machine: Machine) -> None:
    network = PodNetwork(node())
    await network.start()
    first = await machine.pod(network, "a")
    await network.detach("a")
    second = await machine.pod(network, "b")
    assert first != second, "an address rests before someone else gets it"
    again = PodNetwork(node())
    await again.start()
    assert await machine.pod(again, "c") not in (first, second)


@on_a_machine
async def test_a_failed_attach_leaves_nothing(machine: Machine) -> None:
    network = PodNetwork(node())
    await network.start()
    before = links()
    with pytest.raises(NetworkError, match="cannot attach sandbox a"):
        await network.attach("a", machine.directory / "no-such-namespace")
    with pytest.raises(NetworkError, match="cannot attach sandbox a"):
        await network.attach(
            "a", machine.netns("a"), port_mappings=(PortMapping(80, 80, host_ip="not an address"),)
        )
    assert links() == before
    assert network.addresses() == {}


@on_a_machine
async def test_a_cancelled_attach_leaves_nothing(machine: Machine) -> None:
    network = PodNetwork(node())
    await network.start()
    before = links()
    path = machine.netns("a")
    for _ in range(5):
        attaching = asyncio.create_task(network.attach("a", path, port_mappings=(PortMapping(80, 80),)))
        await asyncio.sleep(0)
        attaching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attaching
        assert links() == before
        assert links(path) == {"lo"}
    assert network.addresses() == {}


@pytest.mark.parametrize("address", ["10.64.0.2", "10.64.31.254", "10.64.255.7"])
def test_a_link_is_named_after_its_address(address: str) -> None:
    name = link_name("sampan0", address)
    assert len(name) <= 15
    assert link_address("sampan0", "10.64.0.0/16", name) == address


def test_other_links_are_not_taken_for_pods() -> None:
    for name in ("sampan0", "sampan0-n10", "sampan1-0002", "eth0", "sampan0-00020"):
        assert link_address("sampan0", "10.64.0.0/16", name) is None
