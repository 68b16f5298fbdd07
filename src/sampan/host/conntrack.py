"""Connection tracking: forget UDP flows, so that their next packet takes the rules as they are now.

A UDP flow has no end that the kernel sees, so a client that keeps sending keeps its old endpoint, or its old lack of
one. Blocking calls.

Source: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from sampan.host import netns
from sampan.host.netlink import Message, Netlink, attribute, attributes

_NETFILTER, _SUBSYSTEM, _GET, _DELETE = 12, 1 << 8, 1, 2
_TUPLE_ORIG, _TUPLE_REPLY, _FILTER = 1, 2, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SRC, _IP_DST = 1, 2
_PROTO_NUM, _PROTO_SRC_PORT, _PROTO_DST_PORT = 1, 2, 3
_NESTED = 0x8000
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS, _FLAG_PROTO_NUM = 1, 2, 1 << 3
_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0)


@dataclass(frozen=True, slots=True)
class Flow:
    """A UDP flow: whom the client called, and who answers; `original` is its identity for the kernel."""

    destination: str
    port: int
    answered_by: str
    original: bytes


def forget_udp(stale: Callable[[Flow], bool], at: Path | None = None) -> int:
    """Forget every UDP flow that is `stale` in the namespace at `at`; returns how many."""
    with netns.entered(at):
        kernel = Netlink(_NETFILTER)
    with kernel:
        flows = [f for f in _flows(kernel) if stale(f)]
        for flow in flows:
            body = _HEADER + attribute(_TUPLE_ORIG | _NESTED, flow.original)
            gone = frozenset({errno.ENOENT})
            kernel.send(Message(_SUBSYSTEM | _DELETE, 0, body, f"forget a flow to {flow.destination}", gone))
    return len(flows)


def _flows(kernel: Netlink) -> Iterator[Flow]:
    """All UDP flows. The kernel filters them by protocol (since 5.8), or else we do."""
    udp = attribute(_TUPLE_PROTO | _NESTED, attribute(_PROTO_NUM, bytes([socket.IPPROTO_UDP])))
    flags = attribute(_FILTER_ORIG_FLAGS, _FLAG_PROTO_NUM) + attribute(_FILTER_REPLY_FLAGS, 0)
    body = _HEADER + attribute(_TUPLE_ORIG | _NESTED, udp) + attribute(_FILTER | _NESTED, flags)
    for answer in kernel.dump(Message(_SUBSYSTEM | _GET, 0, body, "list UDP flows")):
        found = dict(attributes(answer, 4))
        flow = _parse(found[_TUPLE_ORIG], found.get(_TUPLE_REPLY, b""))
        if flow:
            yield flow


def _parse(original: bytes, reply: bytes) -> Flow | None:
    tuple_, back = dict(attributes(original, 0)), dict(attributes(reply, 0))
    ip, proto = dict(attributes(tuple_[_TUPLE_IP], 0)), dict(attributes(tuple_[_TUPLE_PROTO], 0))
    answering = dict(attributes(back.get(_TUPLE_IP, b""), 0))
    if proto[_PROTO_NUM][0] != socket.IPPROTO_UDP or _IP_DST not in ip or _IP_SRC not in answering:
        return None
    port = int.from_bytes(proto[_PROTO_DST_PORT], "big")
    return Flow(str(IPv4Address(ip[_IP_DST])), port, str(IPv4Address(answering[_IP_SRC])), original)
