"""The layout of a cluster's ranges, and leases that keep clusters on one machine apart."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from tests.network.machine import Machine, on_a_machine

from sampan.config import Config, Ranges
from sampan.host import netlink
from sampan.host.netlink import Netlink
from sampan.network import addresses
from sampan.network.addresses import NoRangeLeft, Pool


def test_one_node_is_the_host() -> None:
    (node,) = addresses.layout(Config())
    assert (node.name, node.netns, node.address) == ("sampan", None, "10.64.255.1")
    assert (node.pod_cidr, node.gateway) == ("10.64.0.0/24", "10.64.0.1")
    assert node.own_addresses == ("10.64.0.1", "10.64.255.1", "10.65.0.10")


def test_several_nodes_have_what_is_theirs_alone() -> None:
    nodes = addresses.layout(Config(nodes=addresses.MAX_NODES, run=Path("/run/x")))
    for field in ("name", "address", "pod_cidr", "gateway", "netns", "link"):
        assert len({getattr(n, field) for n in nodes}) == len(nodes), field
    joining = addresses.joining(Ranges())
    assert not any(IPv4Network(n.pod_cidr).overlaps(joining) for n in nodes)
    assert all(len(n.link) <= 15 for n in nodes)
    assert {n.host for n in nodes} == {addresses.host_address(Ranges())}


def test_a_pool_gives_each_address_once_and_the_freed_ones_last() -> None:
    pool = Pool("10.64.0.0/24")
    given = [pool.take() for _ in range(253)]
    assert len(set(given)) == 253
    assert not {"10.64.0.0", "10.64.0.1", "10.64.0.255"} & set(given)
    with pytest.raises(NoRangeLeft):
        pool.take()
    pool.free("10.64.0.9")
    assert pool.take() == "10.64.0.9"

    fresh = Pool("10.64.0.0/24")
    fresh.hold("10.64.0.5")
    assert fresh.take() == "10.64.0.6"


def test_names_fit_into_the_kernel_s_limits() -> None:
    for ranges in addresses.candidates():
        assert len(ranges.bridge) <= addresses.BRIDGE_NAME_LIMIT


def test_what_the_machine_routes_is_avoided() -> None:
    first, second, *_ = addresses.candidates()
    assert addresses.choose([], []) == first
    assert addresses.choose([], [IPv4Network("10.64.3.0/24")]) == second
    assert addresses.choose([first], []) == second
    own = Ranges("10.200.0.0/16", "10.201.0.0/16", "mine", "mine", "mine")
    assert addresses.choose([first], [], own) == own
    assert addresses.choose([own], [], own) == first
    with pytest.raises(NoRangeLeft, match="sampan down --delete"):
        addresses.choose([], [IPv4Network("10.0.0.0/8")])


@on_a_machine
async def test_leases_last_until_they_are_released(machine: Machine) -> None:
    here = machine.directory / "leases"
    one, two = addresses.lease("one", directory=here), addresses.lease("two", directory=here)
    assert one != two
    assert addresses.lease("one", directory=here) == one
    addresses.release("one", directory=here)
    addresses.release("one", directory=here)
    assert addresses.lease("three", directory=here) == one


@on_a_machine
async def test_a_lease_avoids_others_networks_but_not_the_cluster_s_own(machine: Machine) -> None:
    here = machine.directory / "leases"
    with Netlink() as kernel:
        for name, address in (
            ("br-other", "10.66.0.1/16"),
            ("sampan0", "10.64.0.1/32"),
            ("vpn", "10.0.0.1/8"),
        ):
            kernel.send(netlink.bridge(name, mac=addresses.mac("10.0.0.1")), netlink.link(name, up=True))
            kernel.send(netlink.address(netlink.index(name), address))
    first, second, third, *_ = addresses.candidates()
    # After the leases were lost with /run, a cluster that still runs gets back what it has.
    assert addresses.lease("one", first, directory=here) == first
    assert addresses.lease("two", directory=here) == third, "the second is someone's bridge"
    assert second.pods == "10.66.0.0/16"


def _lease(arguments: tuple[str, str]) -> Ranges:
    name, directory = arguments
    return addresses.lease(name, directory=Path(directory))


def test_leases_at_once_do_not_clash(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(_lease, [(f"c{i}", str(tmp_path)) for i in range(8)]))
    assert len({r.pods for r in found}) == 8
