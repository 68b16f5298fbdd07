"""rtnetlink, network namespaces and nft, for real, in namespaces that the test makes."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.host import conntrack, namespaces, netlink, netns, nft
from sampan.host.netlink import End, Link, Netlink, NetlinkError

pytestmark = pytest.mark.root
MAC = ("0a:58:0a:00:00:01", "0a:58:0a:00:00:02")


@pytest.fixture
def spaces(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Two namespaces."""
    both = tmp_path / "one", tmp_path / "two"
    for path in both:
        netns.create(path)
    yield both
    for path in both:
        namespaces.release(path)


def joined(one: Path, two: Path) -> None:
    """Join two namespaces by 10.9.0.1 and 10.9.0.2, with the links `here` and `there`."""
    with two.open() as far, netns.entered(one), Netlink() as kernel:
        kernel.send(netlink.veth(End("here", MAC[0]), End("there", MAC[1]), far.fileno(), 1300))
    for path, name, own in ((one, "here", "10.9.0.1/24"), (two, "there", "10.9.0.2/24")):
        with netns.entered(path), Netlink() as kernel:
            kernel.send(
                netlink.link("lo", up=True), netlink.link(name, up=True, alias=f"link of {path.name}")
            )
            kernel.send(netlink.address(netlink.index(name), own))


def test_a_pair_of_links(spaces: tuple[Path, Path]) -> None:
    joined(*spaces)
    with netns.entered(spaces[0]), Netlink() as kernel:
        here = next(link for link in kernel.links() if link.name == "here")
        assert here == Link(here.index, "here", "veth", True, 1300, MAC[0], "link of one", 0)
        index = here.index
        kernel.send(
            netlink.neighbour(index, "10.9.0.2", MAC[1]),
            netlink.route("10.10.0.0/16", index, gateway="10.9.0.2"),
        )
        assert ("10.10.0.0/16", "10.9.0.2") in {(r.destination, r.gateway) for r in kernel.routes()}
        assert ("10.9.0.1", 24) in {(a.address, a.prefix) for a in kernel.addresses()}
        kernel.send(netlink.rate_limit(index, 10**6), netlink.rate_limit(index, 10**10))
        kernel.send(netlink.delete_link("here"), netlink.delete_link("here"))
        assert "here" not in {link.name for link in kernel.links()}
    with netns.entered(spaces[1]), Netlink() as kernel:
        assert "there" not in {link.name for link in kernel.links()}, "a pair goes together"


def test_a_batch_is_carried_out_to_the_end_and_its_first_error_named(spaces: tuple[Path, Path]) -> None:
    with netns.entered(spaces[0]), Netlink() as kernel:
        with pytest.raises(NetlinkError, match=r"^cannot configure nothing: no such device") as failed:
            kernel.send(
                netlink.bridge("b0", mac=MAC[0]),
                netlink.link("nothing", up=True),
                netlink.route("10.1.0.0/16", 4711),
                netlink.link("b0", up=True),
            )
        assert failed.value.errno == errno.ENODEV
        assert next(link for link in kernel.links() if link.name == "b0").up
        kernel.send()
        kernel.send(netlink.bridge("b0", mac=MAC[0]))  # again is no error


def test_sockets_stay_where_they_were_made(spaces: tuple[Path, Path]) -> None:
    joined(*spaces)
    home = os.readlink("/proc/thread-self/ns/net")
    with netns.entered(spaces[0]):
        assert os.readlink("/proc/thread-self/ns/net") != home
        listening = socket.create_server(("10.9.0.1", 0))
    assert os.readlink("/proc/thread-self/ns/net") == home
    with netns.entered(spaces[1]):
        client = socket.socket()
    client.connect(listening.getsockname())
    client.close()
    listening.close()


def test_an_error_inside_brings_the_thread_back(spaces: tuple[Path, Path]) -> None:
    home = os.readlink("/proc/thread-self/ns/net")
    with pytest.raises(ValueError), netns.entered(spaces[0]):
        raise ValueError
    assert os.readlink("/proc/thread-self/ns/net") == home


def test_a_namespace_is_held_until_deleted(tmp_path: Path) -> None:
    path = tmp_path / "held"
    assert not namespaces.held(path)
    netns.create(path)
    first = path.stat().st_ino
    netns.create(path)
    assert namespaces.held(path)
    assert path.stat().st_ino == first
    namespaces.release(path)
    namespaces.release(path)
    assert not path.exists()


def test_a_command_runs_inside(spaces: tuple[Path, Path]) -> None:
    done = netns.command(spaces[0], ["readlink", "/proc/self/ns/net"])
    assert int(done.stdout.split(b"[")[1].rstrip(b"]\n")) == spaces[0].stat().st_ino
    assert netns.command(spaces[0], ["cat"], b"text").stdout == b"text"


def test_a_script_is_one_transaction(spaces: tuple[Path, Path]) -> None:
    at = spaces[0]
    nft.run("add table ip mine\nadd chain ip mine c\n", at)
    with pytest.raises(nft.NftError, match="no-such-chain"):
        nft.run("add chain ip mine d\nadd rule ip mine c jump no-such-chain\n", at)
    assert nft.chain("mine", "d", at) is None, "nothing of it took place"
    assert nft.chain("mine", "c", at) == []
    assert nft.tables(at) == ["mine"]
    nft.run(nft.delete_table("mine") + nft.delete_table("mine"), at)
    assert nft.table("mine", at) is None


async def test_changes_of_a_table_and_of_links_wake(spaces: tuple[Path, Path]) -> None:
    at = spaces[0]
    with netns.entered(at):
        changes = netlink.Changes("filter", gone=("mine",), links=("docker",))
    with changes:
        for script, matters in (
            ("add table ip other", False),
            ("delete table ip other", False),
            ("add table ip mine", False),
            ("delete table ip mine", True),
            ("add table ip filter", True),
        ):
            await asyncio.to_thread(nft.run, script, at)
            assert changes.drain() is matters
        for name, matters in (("b0", False), ("docker0", True)):
            with netns.entered(at), Netlink() as kernel:
                kernel.send(netlink.bridge(name, mac=MAC[0]))
            assert changes.drain() is matters
        waiting = asyncio.create_task(changes.wait())
        await asyncio.sleep(0)
        await asyncio.to_thread(nft.run, "add chain ip filter c", at)
        await asyncio.wait_for(waiting, 5)


def test_udp_flows_are_forgotten(spaces: tuple[Path, Path]) -> None:
    joined(*spaces)
    one, two = spaces
    nft.run(
        "add table ip t\nadd chain ip t c { type filter hook output priority 0; }\nadd rule ip t c ct state new",
        one,
    )
    with netns.entered(two):
        server = socket.socket(type=socket.SOCK_DGRAM)
    with netns.entered(one):
        client = socket.socket(type=socket.SOCK_DGRAM)
    with server, client:
        server.settimeout(5)
        server.bind(("10.9.0.2", 5300))
        for port in (5300, 5301):
            client.sendto(b"?", ("10.9.0.2", port))
        assert server.recv(10) == b"?"
    seen: list[conntrack.Flow] = []

    def look(flow: conntrack.Flow) -> bool:
        seen.append(flow)
        return False

    assert conntrack.forget_udp(look, one) == 0
    assert {(f.destination, f.port, f.answered_by) for f in seen} == {
        ("10.9.0.2", 5300, "10.9.0.2"),
        ("10.9.0.2", 5301, "10.9.0.2"),
    }
    assert conntrack.forget_udp(lambda f: f.port == 5300, one) == 1
    assert conntrack.forget_udp(lambda f: True, one) == 1
    assert conntrack.forget_udp(lambda f: True, one) == 0


def test_threads_enter_independently(spaces: tuple[Path, Path]) -> None:
    found: dict[Path, int] = {}
    barrier = threading.Barrier(2)

    def enter(path: Path) -> None:
        with netns.entered(path):
            barrier.wait(5)
            found[path] = os.stat("/proc/thread-self/ns/net").st_ino

    threads = [threading.Thread(target=enter, args=(p,)) for p in spaces]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {p: p.stat().st_ino for p in spaces}


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=9)), max_size=6), st.binary(max_size=20))
def test_attributes_come_back(pairs: list[tuple[int, bytes]], junk: bytes) -> None:
    data = b"".join(netlink.attribute(k, v) for k, v in pairs)
    assert list(netlink.attributes(data, 0)) == pairs
    list(netlink.attributes(junk, 0))
    list(netlink.messages(junk))
