"""Who has which address: the layout of a cluster's ranges, and the leases that keep clusters on one machine apart.

Of the range `pods` (a /16), node i (from 0) has the i-th /24 for its pods, whose first address is their gateway. The
last /24 joins nodes and host: its first address is the host's side of the cluster, where the API listens for
pods, and node i has the address 10 + i there. A single node lives in the host's own network namespace, so its
address is the host's. Otherwise each node has a namespace, and the host is the router between them.

Everything here is pure but `lease` and `release`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from sampan.config import Config, Ranges
from sampan.host import files
from sampan.host.netlink import Netlink

LEASES = Path("/run/sampan/leases")
MAX_NODES = 245  # node addresses 10 to 254 of the joining /24
BRIDGE_NAME_LIMIT = 10  # so that `BRIDGE-xxxx` for a pod's link stays within the kernel's 15 characters

# A route of fewer bits than this covers all our candidates; ours are more specific and win.
BROAD = 10

# The uplink of a node that has its own network namespace, and of every pod.
UPLINK = "eth0"


class NoRangeLeft(Exception):
    """Every address range we would lease is in use on this machine."""


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """Where one node stands in the network. `netns` is None for a node in the host's own namespace.

    The host of several nodes is described in the same way, with neither a name nor pods: `router`.
    """

    name: str
    ranges: Ranges
    address: str
    pod_cidr: str
    gateway: str
    host: str
    netns: Path | None = None

    @property
    def edge(self) -> bool:
        """Whether what leaves this node for the outside leaves the machine, so that it must masquerade pods."""
        return self.netns is None

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """The addresses on the node's own link, the first of which it speaks from."""
        if not self.pod_cidr:
            return (self.host,)
        return (self.gateway, *((self.host,) if self.edge else ()), self.ranges.dns)

    @property
    def link(self) -> str:
        """The host's end of the link to this node, where the node has a namespace."""
        return f"{self.ranges.bridge}-n{IPv4Address(self.address).packed[3]}"

    @property
    def devices(self) -> tuple[str, ...]:
        """The links that carry the cluster's traffic, as nftables patterns."""
        own = (self.ranges.bridge, f"{self.ranges.bridge}-*")
        return own if self.edge else (*own, UPLINK)


def joining(ranges: Ranges) -> IPv4Network:
    """The /24 that joins nodes and host: the last of the pods' range."""
    pods = IPv4Network(ranges.pods)
    return IPv4Network((int(pods.broadcast_address) & ~0xFF, 24))


def host_address(ranges: Ranges) -> str:
    """The host's own address in the cluster, whatever the number of nodes: the API listens on it."""
    return str(joining(ranges)[1])


def pod_cidr(ranges: Ranges, index: int) -> str:
    """The /24 of the pods of node `index`."""
    if not 0 <= index < MAX_NODES:
        raise ValueError(f"a cluster on one machine has at most {MAX_NODES} nodes")
    return str(IPv4Network((int(IPv4Network(ranges.pods).network_address) + (index << 8), 24)))


def single(name: str, ranges: Ranges) -> NodeNetwork:
    """The one node that lives in the namespace it finds itself in."""
    return _node(name, ranges, 0, host_address(ranges), None)


def router(ranges: Ranges) -> NodeNetwork:
    """The host of several nodes, which routes between them and the outside but has no pods."""
    own = host_address(ranges)
    return NodeNetwork("", ranges, own, "", own, own)


def layout(config: Config) -> tuple[NodeNetwork, ...]:
    """The network of every node of a cluster."""
    names, ranges = config.node_names, config.ranges
    if len(names) == 1:
        return (single(names[0], ranges),)
    return tuple(
        _node(name, ranges, i, str(joining(ranges)[10 + i]), config.run / "netns" / name)
        for i, name in enumerate(names)
    )


def _node(name: str, ranges: Ranges, index: int, address: str, netns: Path | None) -> NodeNetwork:
    cidr = pod_cidr(ranges, index)
    return NodeNetwork(
        name, ranges, address, cidr, str(IPv4Network(cidr)[1]), host=host_address(ranges), netns=netns
    )


def mac(address: str) -> str:
    """The locally administered MAC of whoever has this IPv4 address, so that nobody needs to ask for it."""
    return (b"\x0a\x58" + IPv4Address(address).packed).hex(":")


class Pool:
    """Addresses of one /24 for pods: handed out in turn, so that one just freed rests for a while.

    The network's own address, its first (the gateway) and its broadcast address are never handed out.
    """

    def __init__(self, cidr: str) -> None:
        net = IPv4Network(cidr)
        self._first = int(net.network_address) + 2
        self._count = net.num_addresses - 3
        self._taken: set[str] = set()
        self._next = 0

    def hold(self, address: str) -> None:
        """Note an address as taken, such as one found in the kernel at start; later ones follow it."""
        self._taken.add(address)
        self._next = max(self._next, (int(IPv4Address(address)) - self._first + 1) % self._count)

    def take(self) -> str:
        for step in range(self._count):
            address = str(IPv4Address(self._first + (self._next + step) % self._count))
            if address not in self._taken:
                self._next = (self._next + step + 1) % self._count
                self._taken.add(address)
                return address
        raise NoRangeLeft(f"all {self._count} pod addresses of this node are in use")

    def free(self, address: str) -> None:
        self._taken.discard(address)


def candidates() -> Iterator[Ranges]:
    """The ranges that clusters lease, in order: pairs of /16 in 10.64.0.0/10."""
    for i in range(32):
        name = f"sampan{i}"
        yield Ranges(
            pods=f"10.{64 + 2 * i}.0.0/16",
            services=f"10.{65 + 2 * i}.0.0/16",
            bridge=name,
            table=name,
            cgroup=name,
        )


def choose(taken: Iterable[Ranges], routed: Iterable[IPv4Network], wanted: Ranges | None = None) -> Ranges:
    """The first ranges, `wanted` before all others, that clash with no lease and no route of the machine."""
    taken, routed = list(taken), list(routed)
    order: list[Ranges] = [wanted] if wanted else []
    for ranges in (*order, *candidates()):
        own = (IPv4Network(ranges.pods), IPv4Network(ranges.services))
        if any(n.overlaps(r) for n in own for r in routed):
            continue
        if not any(_clash(ranges, other) for other in taken):
            return ranges
    raise NoRangeLeft(
        "every address range for clusters is in use on this machine; `sampan down --delete` frees one"
    )


def _clash(a: Ranges, b: Ranges) -> bool:
    if a.bridge == b.bridge or a.table == b.table or a.cgroup == b.cgroup:
        return True
    return any(
        IPv4Network(x).overlaps(IPv4Network(y)) for x in (a.pods, a.services) for y in (b.pods, b.services)
    )


def lease(name: str, wanted: Ranges | None = None, *, directory: Path = LEASES) -> Ranges:
    """The ranges of the cluster `name` on this machine until `release`: the same at every call.

    `wanted` are those it had before the machine started anew, which it gets back unless they are taken.
    """
    with _registry(directory) as leases:
        held = leases.get(name)
        if held:
            return held
        chosen = choose(leases.values(), _routed(leases.values(), wanted), wanted)
        leases[name] = chosen
        return chosen


def release(name: str, *, directory: Path = LEASES) -> None:
    """Give up the ranges of a cluster. Idempotent."""
    with _registry(directory) as leases:
        leases.pop(name, None)


def _routed(leases: Iterable[Ranges], wanted: Ranges | None) -> list[IPv4Network]:
    """What this machine routes, apart from clusters' links, and routes too broad to avoid (a VPN's 10.0.0.0/8)."""
    bridges = {r.bridge for r in leases} | ({wanted.bridge} if wanted else set())
    with Netlink() as kernel:
        ours = {link.index for link in kernel.links() if link.name.partition("-")[0] in bridges}
        found = [IPv4Network(r.destination) for r in kernel.routes() if r.index not in ours]
        own = [IPv4Network(a.address) for a in kernel.addresses() if a.index not in ours]
    return [n for n in (*found, *own) if n.prefixlen >= BROAD]


@contextmanager
def _registry(directory: Path) -> Iterator[dict[str, Ranges]]:
    """The leases under an exclusive lock; what the block changes is written back atomically."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "leases.json"
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = file.read_text() if file.exists() else "{}"
        leases = {name: Ranges(**fields) for name, fields in json.loads(text).items()}
        before = dict(leases)
        yield leases
        if leases != before:
            text = json.dumps({name: asdict(r) for name, r in leases.items()}, indent=1)
            files.write(file, text, 0o644, durable=False)
    finally:
        os.close(lock)
