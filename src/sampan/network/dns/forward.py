"""Asks the host's resolvers for names that are not the cluster's, and remembers answers for a short while.

Messages pass through as they are, but for their id and the times to live that run down in the cache. Each question
goes out from a new socket, so from a port that nobody can guess (RFC 5452). Where nodes have namespaces of their own,
the sockets are made in the host's, since its resolver may listen on loopback alone (systemd-resolved).
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from sampan.host import netns
from sampan.network.dns import wire

RESOLV_CONF = Path("/etc/resolv.conf")
TIMEOUT = 2.0  # seconds each resolver has
MOST_AGE, MOST_NEGATIVE_AGE = 30, 5  # seconds that an answer is kept, if its times to live allow
MOST_ENTRIES = 2000
MOST_WAITING = 1000  # questions under way at once; more are refused

# Where to ask: address and port.
Upstream = tuple[str, int]


class NoAnswer(Exception):
    """No resolver answered."""


@dataclass(frozen=True, slots=True)
class _Kept:
    data: bytes
    ttls: tuple[int, ...]
    since: float
    until: float


def nameservers(text: str, own: str = "") -> list[Upstream]:
    """The IPv4 nameservers that a resolv.conf(5) names, in order, without ourselves."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and words[1] != own:
            try:
                found.append((str(IPv4Address(words[1])), 53))
            except AddressValueError:
                continue
    return found


class Forwarder:
    """`upstreams` are asked in order; without them, those of the host's resolv.conf, read again when it changes.

    `at` is the network namespace to ask from, None for the own one.
    """

    def __init__(
        self, upstreams: list[Upstream] | None = None, *, own: str = "", at: Path | None = None
    ) -> None:
        self._fixed = upstreams
        self._own = own
        self._at = at
        self._read: tuple[float, list[Upstream]] = (-1.0, [])
        self._cache: dict[bytes, _Kept] = {}
        self._waiting: dict[bytes, asyncio.Task[bytes]] = {}

    async def ask(self, query: bytes, *, tcp: bool = False) -> bytes:
        """The response to a query message, with the query's id. Raises NoAnswer."""
        key = query[2:].lower() + bytes([tcp])
        kept = self._recall(key)
        if kept is None:
            task = self._waiting.get(key)
            if task is None:
                if len(self._waiting) >= MOST_WAITING:
                    raise NoAnswer("too many questions are under way")
                task = self._waiting[key] = asyncio.create_task(
                    self._fetch(key, query, tcp), name="ask a resolver"
                )
                task.add_done_callback(lambda _: self._waiting.pop(key, None))
            kept = await asyncio.shield(task)
        # The question's own bytes go back, for a client that checks their case (as in draft-vixie-dnsext-dns0x20).
        end = 12 + len(_question(query))
        return query[:2] + kept[2:12] + query[12:end] + kept[end:]

    async def close(self) -> None:
        tasks = list(self._waiting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _recall(self, key: bytes) -> bytes | None:
        kept = self._cache.get(key)
        if kept is None:
            return None
        now = time.monotonic()
        if now >= kept.until:
            del self._cache[key]
            return None
        aged = bytearray(kept.data)
        for offset in kept.ttls:
            (ttl,) = struct.unpack_from("!I", aged, offset)
            struct.pack_into("!I", aged, offset, max(ttl - int(now - kept.since), 0))
        return bytes(aged)

    async def _fetch(self, key: bytes, query: bytes, tcp: bool) -> bytes:
        failure = "the host's resolv.conf names no resolver"
        for upstream in self._upstreams():
            try:
                async with asyncio.timeout(TIMEOUT):
                    data = await (self._ask_tcp if tcp else self._ask_udp)(upstream, query)
            except (TimeoutError, OSError, asyncio.IncompleteReadError) as e:
                failure = f"{upstream[0]}: {e or 'no answer in time'}"
                continue
            self._keep(key, data)
            return data
        raise NoAnswer(failure)

    def _keep(self, key: bytes, data: bytes) -> None:
        try:
            offsets = wire.ttl_offsets(data)
        except wire.Malformed:
            return
        code = data[3] & 0xF
        if code not in (wire.NOERROR, wire.NXDOMAIN) or data[2] & 0x02:
            return
        positive = code == wire.NOERROR and data[6:8] != b"\0\0"
        ttls = [int.from_bytes(data[o : o + 4], "big") for o in offsets]
        age = min([MOST_AGE if positive else MOST_NEGATIVE_AGE, *ttls])
        now = time.monotonic()
        while len(self._cache) >= MOST_ENTRIES:
            self._cache.pop(next(iter(self._cache)))
        self._cache[key] = _Kept(data, tuple(offsets), now, now + age)

    def _upstreams(self) -> list[Upstream]:
        if self._fixed is not None:
            return self._fixed
        try:
            changed = RESOLV_CONF.stat().st_mtime
            if changed != self._read[0]:
                self._read = (changed, nameservers(RESOLV_CONF.read_text(), self._own))
        except OSError:
            self._read = (-1.0, [])
        return self._read[1]

    def _socket(self, kind: socket.SocketKind) -> socket.socket:
        with netns.entered(self._at):
            return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)

    async def _ask_udp(self, upstream: Upstream, query: bytes) -> bytes:
        ident = os.urandom(2)
        loop = asyncio.get_running_loop()
        with self._socket(socket.SOCK_DGRAM) as sock:
            sock.connect(upstream)
            await loop.sock_sendall(sock, ident + query[2:])
            while True:
                data = await loop.sock_recv(sock, 65535)
                if _fits(data, ident, query):
                    return data

    async def _ask_tcp(self, upstream: Upstream, query: bytes) -> bytes:
        ident = os.urandom(2)
        loop = asyncio.get_running_loop()
        with self._socket(socket.SOCK_STREAM) as sock:
            await loop.sock_connect(sock, upstream)
            await loop.sock_sendall(sock, struct.pack("!H", len(query)) + ident + query[2:])
            (length,) = struct.unpack("!H", await _read(loop, sock, 2))
            data = await _read(loop, sock, length)
        if not _fits(data, ident, query):
            raise OSError("the resolver answered something else")
        return data


async def _read(loop: asyncio.AbstractEventLoop, sock: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = await loop.sock_recv(sock, count - len(found))
        if not part:
            raise asyncio.IncompleteReadError(found, count)
        found += part
    return found


def _question(message: bytes) -> bytes:
    """The bytes of a message's only question."""
    _, end = wire.decode_name(message, 12)
    return message[12 : end + 4]


def _fits(data: bytes, ident: bytes, query: bytes) -> bool:
    """Whether a datagram answers this very query."""
    question = _question(query)
    return (
        len(data) >= 12 + len(question)
        and data[:2] == ident
        and bool(data[2] & 0x80)
        and data[12 : 12 + len(question)].lower() == question.lower()
    )
