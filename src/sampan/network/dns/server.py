"""The DNS server of a node: UDP and TCP on the cluster DNS's address, which the node has itself.

Queries thus come straight to this process, with no address translation and the right source on the way back. Whoever
holds the sockets (`bind`) while this process starts anew keeps the queries of that moment: they wait for an answer.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from sampan.host import netns
from sampan.network.dns import wire
from sampan.network.dns.forward import Forwarder, NoAnswer
from sampan.network.dns.records import Zone
from sampan.network.dns.wire import Answer, Malformed, Query, Record

log = logging.getLogger(__name__)

PORT = 53
_IP_FREEBIND = 15  # linux/in.h; Python has no name for it
RECEIVE_BUFFER = 1 << 20
MOST_WAITING = 2000  # queries that wait for something at once; more are dropped, as an overloaded server does
TCP_IDLE = 10.0  # seconds a client may keep a connection without a question
READY_WITHIN = 3.0  # seconds a query waits for the first list of services
MOST_ALIASES = 8


@dataclass(frozen=True, slots=True)
class Sockets:
    """Bound, and the TCP one listening; to be inherited, or passed to `Server`."""

    udp: socket.socket
    tcp: socket.socket

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


def bind(address: str, at: Path | None = None, port: int = PORT) -> Sockets:
    """Sockets at an address in the network namespace at `at`. They may be bound before the address exists."""
    with netns.entered(at):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        for sock in (udp, tcp):
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.bind((address, port))
        tcp.bind((address, udp.getsockname()[1]))
        tcp.listen(128)
    except BaseException:
        Sockets(udp, tcp).close()
        raise
    return Sockets(udp, tcp)


class Resolver:
    """Answers one message with another: from the cluster's names, or what the forwarder is told."""

    def __init__(self, zone: Zone, forwarder: Forwarder, ready: asyncio.Event) -> None:
        self._zone = zone
        self._forwarder = forwarder
        self._ready = ready

    def at_once(self, data: bytes, limit: int = 0) -> bytes | Query | None:
        """The answer where no waiting is needed, None where there is to be none, else the query for `later`.

        `limit` is the size that may not be exceeded; 0 means what the client says it takes over UDP.
        """
        try:
            query = wire.decode_query(data)
        except Malformed:
            return wire.encode_error(data, wire.FORMERR)
        if query.flags & wire.RESPONSE:
            return None
        if query.opcode:
            return wire.encode_error(data, wire.NOTIMP)
        if query.edns > 0 or query.klass != wire.IN:
            code = wire.BADVERS if query.edns > 0 else wire.REFUSED
            return _encode(query, Answer(code, authoritative=False), limit)
        if not self._zone.owns(query.name) or not self._ready.is_set():
            return query
        answer = self._zone.answer(query.name, query.type)
        if _alias(answer, query.type):
            return query
        return _encode(query, answer, limit)

    async def later(self, data: bytes, query: Query, limit: int = 0) -> bytes:
        """The answer where something must be waited for."""
        tcp = limit == wire.TCP_LIMIT
        try:
            if not self._zone.owns(query.name):
                return await self._forwarder.ask(data, tcp=tcp)
            async with asyncio.timeout(READY_WITHIN):
                await self._ready.wait()
            answer = await self._follow(self._zone.answer(query.name, query.type), query.type)
        except (NoAnswer, TimeoutError, Malformed) as e:
            log.debug("no answer for %s: %s", query.name, e)
            answer = Answer(wire.SERVFAIL, authoritative=False)
        return _encode(query, answer, limit)

    async def _follow(self, answer: Answer, kind: int) -> Answer:
        """Add what an alias leads to, in the cluster or outside: a client expects the whole chain."""
        for _ in range(MOST_ALIASES):
            target = _alias(answer, kind)
            if not target:
                return answer
            if self._zone.owns(target):
                further = self._zone.answer(target, kind)
                answer = replace(answer, answers=answer.answers + further.answers, code=further.code)
                if not further.answers:
                    return replace(answer, authority=further.authority)
                continue
            query = wire.encode_query(0, target, kind, size=wire.OUR_LIMIT)
            outside = wire.decode_response(await self._forwarder.ask(query))
            return replace(answer, answers=answer.answers + outside.answers, code=outside.code)
        return Answer(wire.SERVFAIL, authoritative=False)


def _alias(answer: Answer, kind: int) -> str:
    """Where an answer ends in an alias that was not what was asked for, the name it stands for."""
    if not answer.answers or kind in (wire.CNAME, wire.ANY):
        return ""
    last = answer.answers[-1]
    return wire.decode_name(last.data, 0)[0] if last.type == wire.CNAME else ""


def _encode(query: Query, answer: Answer, limit: int) -> bytes:
    limit = limit or min(query.size, wire.OUR_LIMIT)
    full = replace(answer, answers=_shuffled(answer.answers)) if len(answer.answers) > 1 else answer
    encoded = wire.encode_answer(query, full, limit)
    if encoded[2] & 0x02 and answer.additional:  # better without the extras than a second connection
        return wire.encode_answer(query, replace(full, additional=()), limit)
    return encoded


def _shuffled(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """Several addresses in a random order, so that clients which take the first spread out; aliases stay in front."""
    if any(r.type == wire.CNAME for r in records):
        return records
    return tuple(random.sample(records, len(records)))


class Server:
    """Serves a resolver on a pair of sockets until closed."""

    def __init__(self, resolver: Resolver, sockets: Sockets) -> None:
        self._resolver = resolver
        self._sockets = sockets
        self._tasks: set[asyncio.Task[None]] = set()
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=self._sockets.udp)
        self._tcp = await asyncio.start_server(self._converse, sock=self._sockets.tcp, limit=wire.TCP_LIMIT)

    async def close(self) -> None:
        if self._udp:
            self._udp.close()
        if self._tcp:
            self._tcp.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def connected(self, transport: asyncio.DatagramTransport) -> None:
        self._udp = transport

    def datagram(self, data: bytes, client: tuple[str, int]) -> None:
        """Answer a datagram, at once if possible."""
        found = self._resolver.at_once(data)
        if isinstance(found, Query):
            if len(self._tasks) < MOST_WAITING:
                self._own(asyncio.create_task(self._answer_later(data, found, client), name="dns query"))
        elif found and self._udp:
            self._udp.sendto(found, client)

    async def _answer_later(self, data: bytes, query: Query, client: tuple[str, int]) -> None:
        answer = await self._resolver.later(data, query)
        if self._udp and not self._udp.is_closing():
            self._udp.sendto(answer, client)

    def _own(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One TCP connection: questions with their length in front, answered in turn (RFC 7766)."""
        own = asyncio.current_task()
        if own:
            self._own(own)
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            while True:
                async with asyncio.timeout(TCP_IDLE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                found = self._resolver.at_once(data, wire.TCP_LIMIT)
                if isinstance(found, Query):
                    found = await self._resolver.later(data, found, wire.TCP_LIMIT)
                if not found:
                    break
                writer.write(struct.pack("!H", len(found)) + found)
                async with asyncio.timeout(TCP_IDLE):
                    await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._server.connected(cast(asyncio.DatagramTransport, transport))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.datagram(data, addr)
