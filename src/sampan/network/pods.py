"""The pod network of one node: a link of its own for each sandbox, routed.

All state is in the kernel. A pod's link on the node is named after its address (`sampan0-0105` for the last two bytes
1.5) and carries the sandbox's id as its alias, so making the link is what allocates the address, no two can have
the same, and a crash at any moment leaves nothing that the next start does not see. When the sandbox's namespace
goes, so does the link, by itself.

Inside, the pod has its address as a /32 and a default route through the gateway, whose MAC it knows, so it never
asks by ARP. Outside, the node knows the pod's MAC, accepts only the pod's own address as a source (rp_filter) and
routes it by a /32.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from sampan.host import conntrack, netlink, netns, nft
from sampan.host.netlink import End, Netlink
from sampan.network import ground
from sampan.network.addresses import UPLINK, NodeNetwork, NoRangeLeft, Pool, mac
from sampan.network.attachment import Attachment, Bandwidth, NetworkError, PortMapping


@dataclass(frozen=True, slots=True)
class Job:
    """One attach, decided: everything that `_connect` needs."""

    sandbox_id: str
    netns: Path
    address: str
    link: str
    mtu: int
    port_mappings: tuple[PortMapping, ...]
    bandwidth: Bandwidth


def link_name(bridge: str, address: str) -> str:
    """The node's end of the link of the pod with this address."""
    return f"{bridge}-{IPv4Address(address).packed[2:].hex()}"


def link_address(bridge: str, pods: str, name: str) -> str | None:
    """The inverse of `link_name`; None for any other link."""
    head, _, tail = name.partition("-")
    if head != bridge or len(tail) != 4:
        return None
    with contextlib.suppress(ValueError):
        return str(IPv4Address(IPv4Address(pods.partition("/")[0]).packed[:2] + bytes.fromhex(tail)))
    return None


class PodNetwork:
    """Attaches the sandboxes of one node; works in the network namespace that this process is in."""

    def __init__(self, node: NodeNetwork, *, mtu: int = 0) -> None:
        self.node = node
        self._mtu = mtu
        self._pool = Pool(node.pod_cidr)
        self._addresses: dict[str, str] = {}  # by sandbox id
        self._mapped: set[str] = set()  # addresses that have host ports
        self._problem = "the pod network has not started"

    async def start(self) -> None:
        try:
            await asyncio.to_thread(self._start)
        except (OSError, nft.NftError) as e:
            self._problem = f"the pod network cannot start: {e}"
            raise NetworkError(self._problem) from e
        self._problem = ""

    def problem(self) -> str:
        return self._problem

    def addresses(self) -> dict[str, str]:
        """The address of each attached sandbox, by its id."""
        return dict(self._addresses)

    async def attach(
        self,
        sandbox_id: str,
        netns: Path,
        *,
        namespace: str = "",
        name: str = "",
        uid: str = "",
        port_mappings: Sequence[PortMapping] = (),
        bandwidth: Bandwidth | None = None,
    ) -> Attachment:
        if sandbox_id in self._addresses:
            return self._attachment(self._addresses[sandbox_id])
        mapped = tuple(m for m in port_mappings if m.host_port)
        try:
            address = self._pool.take()
        except NoRangeLeft as e:
            raise NetworkError(f"cannot attach sandbox {sandbox_id}: {e}") from e
        link = link_name(self.node.ranges.bridge, address)
        job = Job(sandbox_id, netns, address, link, self._mtu, mapped, bandwidth or Bandwidth())
        self._addresses[sandbox_id] = address
        work = asyncio.ensure_future(asyncio.to_thread(self._connect, job))
        try:
            await asyncio.shield(work)
        except BaseException as e:
            await asyncio.wait([work])  # a thread cannot be cancelled, and must not go on behind our back
            await asyncio.shield(self.detach(sandbox_id))
            if isinstance(e, OSError | nft.NftError):
                raise NetworkError(f"cannot attach sandbox {sandbox_id} to the pod network: {e}") from e
            raise
        return self._attachment(address)

    async def detach(self, sandbox_id: str, netns: Path | None = None) -> None:
        address = self._addresses.get(sandbox_id)
        if address is None:
            return
        try:
            await asyncio.to_thread(self._disconnect, address)
        except (OSError, nft.NftError) as e:
            raise NetworkError(f"cannot detach sandbox {sandbox_id} from the pod network: {e}") from e
        self._addresses.pop(sandbox_id, None)
        self._pool.free(address)

    async def recover(self, known: Collection[str]) -> None:
        for sandbox_id in [s for s in self._addresses if s not in known]:
            await self.detach(sandbox_id)

    def _attachment(self, address: str) -> Attachment:
        link = link_name(self.node.ranges.bridge, address)
        return Attachment((address,), self.node.gateway, self._mtu, UPLINK, link, mac(address))

    def _start(self) -> None:
        self._mtu = ground.prepare(self.node, self._mtu)
        ranges = self.node.ranges
        with Netlink() as kernel:
            nameless = []
            for link in kernel.links():
                address = link_address(ranges.bridge, ranges.pods, link.name)
                if address and link.alias and link.up:
                    self._addresses[link.alias] = address
                    self._pool.hold(address)
                elif address:
                    nameless.append(link.name)
            for name in nameless:
                kernel.send(netlink.delete_link(name))
        self._recall_mappings(set(self._addresses.values()))

    def _recall_mappings(self, alive: set[str]) -> None:
        """Find in the kernel whose host ports stand there, and take back those of pods that are gone."""
        listed = {m.address for m in _mappings(self.node.ranges.table)}
        self._mapped = listed & alive
        for gone in listed - alive:
            self._unmap(gone)

    def _connect(self, job: Job) -> None:
        self._connect_node(job)
        with netns.entered(job.netns), Netlink() as kernel:
            _connect_pod(kernel, job, self.node.gateway)
        if job.port_mappings:
            self._mapped.add(job.address)
            nft.run(_map_script(self.node.ranges.table, job))
            udp = {m.host_port for m in job.port_mappings if m.protocol.lower() == "udp"}
            if udp:  # flows from before led to whoever had the port then
                conntrack.forget_udp(lambda flow: flow.port in udp and flow.answered_by != job.address)

    def _connect_node(self, job: Job) -> None:
        inside = os.open(job.netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with Netlink() as kernel:
                ends = End(job.link, mac(self.node.gateway)), End(UPLINK, mac(job.address))
                kernel.send(netlink.veth(*ends, inside, job.mtu))
                index = netlink.index(job.link)
                strict = [(netlink.RP_FILTER, 1), (netlink.ROUTE_LOCALNET, 1)]
                kernel.send(
                    netlink.link(job.link, alias=job.sandbox_id, ipv4=strict, ipv6=False),
                    netlink.link(job.link, up=True),
                    netlink.route(f"{job.address}/32", index, source=self.node.gateway),
                    netlink.neighbour(index, job.address, mac(job.address)),
                    *_limit(index, job.bandwidth.ingress),
                )
        finally:
            os.close(inside)

    def _disconnect(self, address: str) -> None:
        with Netlink() as kernel:
            kernel.send(netlink.delete_link(link_name(self.node.ranges.bridge, address)))
        if address in self._mapped:
            self._unmap(address)
            self._mapped.discard(address)

    def _unmap(self, address: str) -> None:
        table = self.node.ranges.table
        lines = [
            f"delete element ip {table} {m.map} {{ {m.key} }}"
            for m in _mappings(table)
            if m.address == address
        ]
        hairpin = f"ip {table} hairpin {{ {address} . {address} }}"
        nft.run("\n".join([*lines, f"add element {hairpin}", f"delete element {hairpin}"]) + "\n")
        conntrack.forget_udp(lambda flow: flow.answered_by == address)


def _connect_pod(kernel: Netlink, job: Job, gateway: str) -> None:
    """Configure the pod's end, in the pod's namespace."""
    index = netlink.index(UPLINK)
    kernel.send(
        netlink.link("lo", up=True),
        netlink.link(UPLINK, ipv6=False),
        netlink.link(UPLINK, up=True),
        netlink.address(index, f"{job.address}/32"),
        netlink.neighbour(index, gateway, mac(gateway)),
        netlink.route(f"{gateway}/32", index),
        netlink.route("0.0.0.0/0", index, gateway=gateway),
        *_limit(index, job.bandwidth.egress),
    )


def _limit(index: int, rate: int) -> Iterable[netlink.Message]:
    return (netlink.rate_limit(index, rate // 8),) if rate else ()


@dataclass(frozen=True, slots=True)
class _Mapping:
    """An element of one of the host-port maps: its key in nft's words, and the pod's address it leads to."""

    map: str
    key: str
    address: str


def _mappings(table: str) -> list[_Mapping]:
    found = []
    for item in nft.table(table) or []:
        map_ = item.get("map", {})
        for key, value in map_.get("elem", ()):
            words = " . ".join(str(w) for w in key["concat"])
            found.append(_Mapping(map_["name"], words, value["concat"][0]))
    return found


def _map_script(table: str, job: Job) -> str:
    lines = [f"add element ip {table} hairpin {{ {job.address} . {job.address} }}"]
    for m in job.port_mappings:
        anywhere = m.host_ip in ("", "0.0.0.0", "::")
        key = f"{m.protocol.lower()} . {m.host_port}"
        name, key = ("hostports-any", key) if anywhere else ("hostports", f"{m.host_ip} . {key}")
        lines.append(f"add element ip {table} {name} {{ {key} : {job.address} . {m.container_port} }}")
    return "\n".join(lines) + "\n"
