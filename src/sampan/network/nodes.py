"""The nodes of a cluster on this machine, each in a network namespace of its own, with the host as their router.

A node hangs on the host as a pod hangs on a node: by a link of its own with a /32 route, and a second route for its
pods. Whatever it sends goes to the host, which routes between nodes, masquerades to the outside, reaches every pod,
and answers for the API. A single node needs none of this: it lives in the host's namespace, and only the
ground is prepared.

`setup` and `teardown` are idempotent and act in the namespace that the caller is in, normally the machine's.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from sampan.config import Config, Ranges
from sampan.host import namespaces, netlink, netns, nft
from sampan.host.netlink import End, Netlink
from sampan.network import docker, ground
from sampan.network.addresses import UPLINK, NodeNetwork, layout, mac, router
from sampan.network.attachment import NetworkError


async def setup(config: Config) -> tuple[NodeNetwork, ...]:
    """Make the network of all nodes; needs root. What stands already, also after a crash, is kept.

    Afterwards the API can listen on `addresses.host_address(config.ranges)`, and the process of each node starts
    in its `netns`. Raises NetworkError, with what the machine lacks.
    """
    nodes = layout(config)
    try:
        await asyncio.to_thread(_setup, config, nodes)
    except (OSError, nft.NftError) as e:
        raise NetworkError(f"cannot set up the network of cluster {config.name}: {e}") from e
    return nodes


async def teardown(config: Config) -> None:
    """Remove everything that the cluster has in this network namespace, links of pods included.

    IP forwarding stays on, since others may have come to rely on it.
    """
    try:
        await asyncio.to_thread(_teardown, config)
    except (OSError, nft.NftError) as e:
        raise NetworkError(f"cannot remove the network of cluster {config.name}: {e}") from e


def host_namespace(config: Config) -> Path:
    """Where the host's own network namespace is held, so that a node's process finds the way back to it."""
    return config.run / "netns" / "host"


def _setup(config: Config, nodes: tuple[NodeNetwork, ...]) -> None:
    if not nodes:
        return  # an API server alone
    if nodes[0].edge:
        ground.prepare(nodes[0])
    else:
        mtu = ground.prepare(router(config.ranges))
        host = host_namespace(config)
        if not namespaces.held(host):
            namespaces.hold(host, "net")
        for node in nodes:
            _setup_node(node, mtu)
        with Netlink() as kernel:  # the host resolves names at the first node
            first = nodes[0]
            kernel.send(
                netlink.route(f"{first.ranges.dns}/32", netlink.index(first.link), gateway=first.address)
            )
    docker.admit(config.ranges)


def _setup_node(node: NodeNetwork, mtu: int) -> None:
    assert node.netns is not None
    if not (namespaces.held(node.netns) and netlink.index(node.link)):
        _join(node, node.netns, mtu)
    with netns.entered(node.netns):
        ground.prepare(node, mtu)


def _join(node: NodeNetwork, path: Path, mtu: int) -> None:
    """Make the node's namespace and its link to the host."""
    netns.create(path)
    inside = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Netlink() as kernel:
            kernel.send(netlink.delete_link(node.link))
            kernel.send(
                netlink.veth(End(node.link, mac(node.host)), End(UPLINK, mac(node.address)), inside, mtu)
            )
            index = netlink.index(node.link)
            strict = [(netlink.RP_FILTER, 1), (netlink.ROUTE_LOCALNET, 1)]
            kernel.send(
                netlink.link(node.link, alias=node.name, ipv4=strict, ipv6=False),
                netlink.link(node.link, up=True),
                netlink.neighbour(index, node.address, mac(node.address)),
                netlink.route(f"{node.address}/32", index, source=node.host),
            )
            with netns.entered(path), Netlink() as within:
                _uplink(within, node)
            # Only now, with the other end up, does the kernel take routes through the node.
            kernel.send(netlink.route(node.pod_cidr, index, gateway=node.address, source=node.host))
    finally:
        os.close(inside)


def _uplink(kernel: Netlink, node: NodeNetwork) -> None:
    index = netlink.index(UPLINK)
    kernel.send(
        netlink.link("lo", up=True),
        netlink.link(UPLINK, ipv4=[(netlink.ROUTE_LOCALNET, 1)], ipv6=False),
        netlink.link(UPLINK, up=True),
        netlink.address(index, f"{node.address}/32"),
        netlink.neighbour(index, node.host, mac(node.host)),
        netlink.route(f"{node.host}/32", index),
        netlink.route("0.0.0.0/0", index, gateway=node.host),
    )


def _teardown(config: Config) -> None:
    ranges = config.ranges
    docker.dismiss(ranges)
    held = config.run / "netns"
    for path in sorted(held.glob("*")) if held.is_dir() else ():
        namespaces.release(path)
    with Netlink() as kernel:
        names = [k.name for k in kernel.links() if k.name.partition("-")[0] == ranges.bridge]
        kernel.send(*netlink.delete_links(names))
    if nft.available():
        nft.run("".join(nft.delete_table(t) for t in tables(ranges)))


def tables(ranges: Ranges) -> tuple[str, str]:
    """The nftables tables of a cluster, in each namespace: the ground's, and that of the services."""
    return ranges.table, f"{ranges.table}-services"
