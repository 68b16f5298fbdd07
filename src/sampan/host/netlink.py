"""rtnetlink: links, addresses, routes and neighbours of a network namespace, by messages to the kernel.

A `Message` is built by a plain function (`veth`, `address`, `route`, ...) and says what it is for, so that an error
names it. A `Netlink` socket sends any number of them in one system call, which the kernel carries out in order and to
the end even when the caller is killed, and raises the first error. A socket belongs to the namespace it was made in
(`sampan.host.netns.entered`). Calls block while the kernel works (under a millisecond, more while others hold its
lock): use a thread.

Source: rtnetlink(7), RFC 3549, linux/if_link.h, linux/rtnetlink.h, linux/netlink.h.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType

# Message types and flags.
NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH = 28, 29
NEWQDISC = 36
REQUEST, ACK, DUMP, REPLACE, EXCLUSIVE, CREATE = 0x1, 0x4, 0x300, 0x100, 0x200, 0x400
_ERROR, _DONE, _ACK_TLVS = 2, 3, 0x200

# Attributes of links (IFLA_*), addresses (IFA_*), routes (RTA_*) and neighbours (NDA_*).
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 10, 18
_IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 20, 26, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 7, 15
_NDA_DST, _NDA_LLADDR = 1, 2

UP = 0x1
_ROUTE_MAIN, _ROUTE_STATIC, _UNICAST = 254, 4, 1
_SCOPE_GLOBAL, _SCOPE_LINK = 0, 253
_PERMANENT = 0x80

# IPV4_DEVCONF_* numbers, for `link`'s `ipv4`; and IFLA_INET6_ADDR_GEN_MODE with its value "none".
RP_FILTER, ROUTE_LOCALNET = 8, 26
_INET_CONF, _INET6_ADDR_GEN_MODE, _GEN_NONE = 1, 8, 1

# The token bucket filter: its attributes, and the least burst, above any frame.
_TCA_KIND, _TCA_OPTIONS, _TBF_PARMS, _TBF_RATE64, _TBF_BURST = 1, 2, 1, 4, 6
_ETHERNET, _LEAST_BURST = 1, 1 << 16

# Netlink's nftables: protocol, message numbers, and the multicast groups of news.
_NETFILTER, _SUBSYSTEM_NFTABLES, _DELTABLE, _GROUP_NFTABLES, _GROUP_LINK = 12, 10, 2, 7, 1

SOCKET_TIMEOUT = 10.0  # seconds the kernel may take over one batch; only a stuck kernel lock exceeds it


class NetlinkError(OSError):
    """The kernel refused a message; `errno` says why, and the text what it was for."""

    def __str__(self) -> str:
        return str(self.args[1])


@dataclass(frozen=True, slots=True)
class Message:
    """One request: `body` follows the netlink header. Errors in `accept` count as success."""

    type: int
    flags: int
    body: bytes
    what: str
    accept: frozenset[int] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class Link:
    """A network device, as a dump shows it. `master` is the index of its bridge, or 0."""

    index: int
    name: str
    kind: str
    up: bool
    mtu: int
    mac: str
    alias: str
    master: int


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address on the link with that index."""

    index: int
    address: str
    prefix: int


@dataclass(frozen=True, slots=True)
class Route:
    """An IPv4 unicast route; `destination` is a CIDR, `gateway` empty where it is directly on the link."""

    destination: str
    gateway: str
    index: int
    table: int


def attribute(type: int, value: bytes | str | int) -> bytes:
    """One netlink attribute: text ends with a NUL, a number is 32 bits in host order; padded to four bytes."""
    if isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = struct.pack("=I", value)
    length = 4 + len(value)
    return struct.pack("=HH", length, type) + value + b"\0" * (-length % 4)


def _ip(address: str) -> bytes:
    return IPv4Address(address).packed


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _link_header(index: int = 0, up: bool | None = None) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, UP if up else 0, 0 if up is None else UP)


def bridge(name: str, *, mac: str, mtu: int = 0) -> Message:
    """Create a bridge, down, with a fixed MAC (a bridge without one takes that of a port, which changes)."""
    info = attribute(_INFO_KIND, "bridge")
    body = _link_header() + attribute(_IFLA_IFNAME, name) + attribute(_IFLA_ADDRESS, _mac(mac))
    body += attribute(_IFLA_MTU, mtu) if mtu else b""
    body += attribute(_IFLA_LINKINFO, info)
    return Message(NEWLINK, CREATE | EXCLUSIVE, body, f"create bridge {name}", frozenset({errno.EEXIST}))


@dataclass(frozen=True, slots=True)
class End:
    """One end of a veth pair."""

    name: str
    mac: str
    master: int = 0


def veth(host: End, peer: End, netns: int, mtu: int) -> Message:
    """Create a veth pair: one end here, the other in the network namespace of the open file `netns`; both down."""
    inner = _link_header() + attribute(_IFLA_IFNAME, peer.name) + attribute(_IFLA_MTU, mtu)
    inner += attribute(_IFLA_ADDRESS, _mac(peer.mac)) + attribute(_IFLA_NET_NS_FD, netns)
    info = attribute(_INFO_KIND, "veth") + attribute(_INFO_DATA, attribute(_VETH_PEER, inner))
    body = _link_header() + attribute(_IFLA_IFNAME, host.name) + attribute(_IFLA_MTU, mtu)
    body += attribute(_IFLA_ADDRESS, _mac(host.mac))
    body += attribute(_IFLA_MASTER, host.master) if host.master else b""
    body += attribute(_IFLA_LINKINFO, info)
    return Message(NEWLINK, CREATE | EXCLUSIVE, body, f"create veth {host.name}")


def link(
    name: str,
    *,
    up: bool | None = None,
    mtu: int = 0,
    alias: str = "",
    ipv4: Sequence[tuple[int, int]] = (),
    ipv6: bool = True,
) -> Message:
    """Change a link, found by name. `ipv4` sets its devconf values; without `ipv6` it has no link-local address.

    The kernel takes it up before it looks at `ipv6`, so that belongs in a message before.
    """
    body = _link_header(up=up) + attribute(_IFLA_IFNAME, name)
    body += attribute(_IFLA_MTU, mtu) if mtu else b""
    body += attribute(_IFLA_IFALIAS, alias) if alias else b""
    spec = b""
    if ipv4:
        spec += attribute(socket.AF_INET, attribute(_INET_CONF, b"".join(attribute(k, v) for k, v in ipv4)))
    if not ipv6:
        spec += attribute(socket.AF_INET6, attribute(_INET6_ADDR_GEN_MODE, bytes([_GEN_NONE])))
    body += attribute(_IFLA_AF_SPEC, spec) if spec else b""
    return Message(SETLINK, 0, body, f"configure {name}")


def delete_link(name: str) -> Message:
    """Delete a link (with a veth, its peer too); it is no error where there is none."""
    body = _link_header() + attribute(_IFLA_IFNAME, name)
    return Message(DELLINK, 0, body, f"delete {name}", frozenset({errno.ENODEV}))


def address(index: int, cidr: str) -> Message:
    """Give a link an IPv4 address with its prefix length, such as 10.0.0.1/24."""
    own, _, prefix = cidr.partition("/")
    bits = int(prefix or 32)
    scope = _SCOPE_GLOBAL
    body = struct.pack("=BBBBI", socket.AF_INET, bits, 0, scope, index)
    body += attribute(_IFA_LOCAL, _ip(own)) + attribute(_IFA_ADDRESS, _ip(own))
    return Message(NEWADDR, CREATE | REPLACE, body, f"add address {cidr}", frozenset({errno.EEXIST}))


def route(destination: str, index: int, *, gateway: str = "", source: str = "") -> Message:
    """Route `destination` (a CIDR) over a link; `source` is the address that local senders take."""
    net = IPv4Network(destination)
    scope = _SCOPE_GLOBAL if gateway else _SCOPE_LINK
    body = struct.pack(
        "=BBBBBBBBI", socket.AF_INET, net.prefixlen, 0, 0, _ROUTE_MAIN, _ROUTE_STATIC, scope, _UNICAST, 0
    )
    body += attribute(_RTA_DST, net.network_address.packed) if net.prefixlen else b""
    body += attribute(_RTA_OIF, index)
    body += attribute(_RTA_GATEWAY, _ip(gateway)) if gateway else b""
    body += attribute(_RTA_PREFSRC, _ip(source)) if source else b""
    return Message(NEWROUTE, CREATE | REPLACE, body, f"add route to {destination}")


def neighbour(index: int, address: str, mac: str) -> Message:
    """Say where an address is on a link, for good, so that nobody needs to ask by ARP."""
    body = struct.pack("=BxxxiHBB", socket.AF_INET, index, _PERMANENT, 0, 0)
    body += attribute(_NDA_DST, _ip(address)) + attribute(_NDA_LLADDR, _mac(mac))
    return Message(NEWNEIGH, CREATE | REPLACE, body, f"add neighbour {address}")


def rate_limit(index: int, rate: int) -> Message:
    """Let a link send at most `rate` bytes a second, in bursts of a tenth of a second (a token bucket filter)."""
    burst = max(rate // 10, _LEAST_BURST)
    spec = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, min(rate, 0xFFFFFFFF))
    parameters = spec + bytes(12) + struct.pack("=III", burst + rate // 40, 0, 0)
    options = attribute(_TBF_PARMS, parameters) + attribute(_TBF_BURST, burst)
    options += attribute(_TBF_RATE64, struct.pack("=Q", rate)) if rate > 0xFFFFFFFF else b""
    body = struct.pack("=BxxxiIII", 0, index, 0, 0xFFFFFFFF, 0)
    body += attribute(_TCA_KIND, "tbf") + attribute(_TCA_OPTIONS, options)
    return Message(NEWQDISC, CREATE | REPLACE, body, f"limit a link to {rate} bytes/s")


def attributes(data: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """The attributes that follow a fixed header of `offset` bytes."""
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages in a datagram, each as type, flags, sequence number and body."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data, offset)
        if length < 16:
            return
        yield kind, flags, sequence, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _parse_link(body: bytes) -> Link:
    _, _, index, flags, _ = struct.unpack_from("=BxHiII", body)
    found = dict(attributes(body, 16))
    info = dict(attributes(found.get(_IFLA_LINKINFO, b""), 0))
    return Link(
        index=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        kind=_text(info.get(_INFO_KIND, b"")),
        up=bool(flags & UP),
        mtu=int.from_bytes(found.get(_IFLA_MTU, b""), "little"),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        alias=_text(found.get(_IFLA_IFALIAS, b"")),
        master=int.from_bytes(found.get(_IFLA_MASTER, b""), "little"),
    )


def _parse_address(body: bytes) -> Address:
    _, prefix, _, _, index = struct.unpack_from("=BBBBI", body)
    found = dict(attributes(body, 8))
    return Address(index, str(IPv4Address(found.get(_IFA_LOCAL) or found[_IFA_ADDRESS])), prefix)


def _parse_route(body: bytes) -> Route | None:
    _, bits, _, _, table, _, _, kind, _ = struct.unpack_from("=BBBBBBBBI", body)
    if kind != _UNICAST:
        return None
    found = dict(attributes(body, 12))
    gateway = found.get(_RTA_GATEWAY)
    return Route(
        destination=f"{IPv4Address(found.get(_RTA_DST, bytes(4)))}/{bits}",
        gateway=str(IPv4Address(gateway)) if gateway else "",
        index=int.from_bytes(found.get(_RTA_OIF, b""), "little"),
        table=int.from_bytes(found[_RTA_TABLE], "little") if _RTA_TABLE in found else table,
    )


class Netlink:
    """A blocking socket to the kernel's `protocol` (rtnetlink unless told) in the current network namespace."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._socket.settimeout(SOCKET_TIMEOUT)
        self._socket.setsockopt(270, 11, 1)  # SOL_NETLINK, NETLINK_EXT_ACK: errors in words
        self._socket.setsockopt(270, 10, 1)  # NETLINK_CAP_ACK: without an echo of the request
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, *requests: Message) -> None:
        """Carry out all requests, in order, in one system call; raises the first error when all are done."""
        if not requests:
            return
        first = self._sequence + 1
        data = b"".join(self._pack(m, REQUEST | ACK | m.flags) for m in requests)
        self._socket.send(data)
        waiting = len(requests)
        failed: NetlinkError | None = None
        while waiting:
            for kind, flags, sequence, body in messages(self._socket.recv(1 << 16)):
                if kind != _ERROR or sequence < first:
                    continue
                waiting -= 1
                failed = failed or self._fault(requests[sequence - first], flags, body)
        if failed:
            raise failed

    def dump(self, request: Message) -> list[bytes]:
        """The bodies of everything the kernel lists in answer to `request`."""
        self._socket.send(self._pack(request, REQUEST | DUMP))
        found: list[bytes] = []
        while True:
            for kind, flags, sequence, body in messages(self._socket.recv(1 << 18)):
                if sequence != self._sequence:
                    continue
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    raise self._fault(request, flags, body) or NetlinkError(errno.EIO, request.what)
                found.append(body)

    def links(self) -> list[Link]:
        return [_parse_link(b) for b in self.dump(Message(GETLINK, 0, _link_header(), "list links"))]

    def addresses(self) -> list[Address]:
        header = struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0)
        return [_parse_address(b) for b in self.dump(Message(GETADDR, 0, header, "list addresses"))]

    def routes(self) -> list[Route]:
        """Unicast routes of all tables."""
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, *[0] * 8)
        parsed = (_parse_route(b) for b in self.dump(Message(GETROUTE, 0, header, "list routes")))
        return [r for r in parsed if r]

    def _pack(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        length = 16 + len(message.body)
        header = struct.pack("=IHHII", length, message.type, flags, self._sequence, 0)
        return header + message.body + b"\0" * (-length % 4)

    @staticmethod
    def _fault(request: Message, flags: int, body: bytes) -> NetlinkError | None:
        code = -int.from_bytes(body[:4], "little", signed=True)
        if not code or code in request.accept:
            return None
        words = dict(attributes(body, 20)).get(1, b"") if flags & _ACK_TLVS else b""
        detail = f": {_text(words)}" if words else ""
        return NetlinkError(code, f"cannot {request.what}: {os.strerror(code).lower()}{detail}")


def index(name: str) -> int:
    """The index of a link in the calling thread's network namespace; 0 where there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def delete_links(names: Iterable[str]) -> tuple[Message, ...]:
    return tuple(delete_link(n) for n in names)


class Changes:
    """Wakes when someone changes a given nftables table, deletes one of others, or changes a link, in this namespace.

    Of links, those count whose name begins with one of `links`. iptables over nftables shows as changes of its tables
    (`filter`); the legacy one only by links that come with it.
    """

    def __init__(self, table: str, *, gone: tuple[str, ...] = (), links: tuple[str, ...] = ()) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._table = table.encode() + b"\0"
        self._gone = {name.encode() + b"\0" for name in gone}
        self._names = tuple(name.encode() for name in links)
        self._rules = socket.socket(socket.AF_NETLINK, kind, _NETFILTER)
        self._links = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._rules.bind((0, 1 << (_GROUP_NFTABLES - 1)))
        self._links.bind((0, 1 << (_GROUP_LINK - 1)))

    def __enter__(self) -> Changes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rules.close()
        self._links.close()

    async def wait(self) -> None:
        """Return when something changed."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def look() -> None:
            if self.drain():
                changed.set()

        for sock in (self._rules, self._links):
            loop.add_reader(sock, look)
        try:
            await changed.wait()
        finally:
            for sock in (self._rules, self._links):
                loop.remove_reader(sock)

    def drain(self) -> bool:
        """Take all news there are; returns whether any matter."""
        found = False
        for sock in (self._rules, self._links):
            while True:
                try:
                    data = sock.recv(1 << 16)
                except BlockingIOError:
                    break
                except OSError:  # more news than the socket holds
                    found = True
                    continue
                found = found or any(self._matters(m) for m in messages(data))
        return found

    def _matters(self, message: tuple[int, int, int, bytes]) -> bool:
        kind, _, _, body = message
        if kind in (NEWLINK, DELLINK):
            return dict(attributes(body, 16)).get(_IFLA_IFNAME, b"").startswith(self._names)
        if kind >> 8 != _SUBSYSTEM_NFTABLES:
            return False
        if kind & 0xFF != _DELTABLE and self._table not in body:  # most are our own rules, by the thousand
            return False
        table = dict(attributes(body, 4)).get(1)
        return table == self._table or (kind & 0xFF == _DELTABLE and table in self._gone)
