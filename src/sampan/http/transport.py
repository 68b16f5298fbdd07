"""What both sides of a connection share:

Flow control in both directions, and the raw connection after an upgrade.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Iterator
from typing import cast

from sampan.http.messages import Connection

# Reading pauses while a reader leaves this many bytes lying, and goes on when half of it is taken.
HIGH_WATER = 256 << 10
# What is encrypted and written in one go: more would hold the loop for long.
PIECE = 1 << 20


class Link(asyncio.Protocol):
    """One transport. Subclasses get `data_received` and `gone`, and send with `send`."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.lost = False
        self._holds: set[object] = set()
        self._drained: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.resume_writing()
        self.gone()

    def gone(self) -> None:
        """The connection has ended, for whatever reason."""

    def hold(self, reason: object) -> None:
        """Stop reading from the transport until every reason for it is released."""
        if not self._holds and not self.lost:
            self.transport.pause_reading()
        self._holds.add(reason)

    def release(self, reason: object) -> None:
        if reason in self._holds:
            self._holds.discard(reason)
            if not self._holds and not self.lost and not self.transport.is_closing():
                self.transport.resume_reading()

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._drained and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    @property
    def stalled(self) -> bool:
        """Whether more lies unsent than the transport wants to keep."""
        return self._drained is not None

    async def send(self, data: bytes, timeout: float | None = None) -> None:
        """Write, then wait until the peer has taken enough of it.

        Raises ConnectionError when the peer is gone, or takes nothing for `timeout` seconds, when it is cut
        off.
        """
        pieces = (data,) if len(data) <= PIECE else _pieces(data)
        for piece in pieces:
            if self.lost or self.transport.is_closing():
                raise ConnectionResetError("the peer closed the connection")
            self.transport.write(piece)
            if self._drained:
                await self.drain(timeout)

    async def drain(self, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                while self._drained:
                    await asyncio.shield(self._drained)
        except TimeoutError:
            self.transport.abort()
            raise ConnectionAbortedError(f"the peer took no data for {timeout:g} s") from None
        if self.lost:
            raise ConnectionResetError("the peer closed the connection")

    def flush_all(self) -> None:
        """Let `send` wait from now on until everything is with the kernel."""
        self.transport.set_write_buffer_limits(0)

    def flush_some(self) -> None:
        """Let `send` wait as usual."""
        self.transport.set_write_buffer_limits()


def _pieces(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    return (view[at : at + PIECE] for at in range(0, len(view), PIECE))


class Inbox:
    """Bytes that have arrived and wait for one reader, who slows the peer by not reading."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.ended = False

    def feed(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER:
            self._link.hold(self)
        self._notify()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes; the reader gets what lies here, then the end, or `error`."""
        if not self.ended:
            self.ended, self._error = True, error
            self._notify()

    def discard(self) -> None:
        """Drop what lies here: nobody will read it."""
        self._parts.clear()
        self._size = 0
        self._link.release(self)

    @property
    def at_end(self) -> bool:
        return self.ended and not self._parts and not self._error

    def take(self) -> bytes:
        """Everything that lies here, without waiting."""
        data = b"".join(self._parts) if len(self._parts) != 1 else self._parts[0]
        self.discard()
        return data

    async def get(self) -> bytes:
        """The next bytes; empty at the end. Raises what `end` was given."""
        while not self._parts:
            if self._error:
                raise self._error
            if self.ended:
                return b""
            if self._waiter and not self._waiter.done():
                raise RuntimeError("two tasks read from one connection")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = self._parts.popleft()
        self._size -= len(data)
        if self._size < HIGH_WATER // 2:
            self._link.release(self)
        return data

    def _notify(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


class Raw:
    """A raw connection after an upgrade (the contract is `messages.Connection`)."""

    def __init__(self, link: Link, first: bytes = b"") -> None:
        self.inbox = Inbox(link)
        if first:
            self.inbox.feed(first)
        self._link = link

    @property
    def gone(self) -> bool:
        """After the end of reading: whether the peer cannot take anything either."""
        return self._link.lost or not self._link.transport.can_write_eof()

    async def read(self) -> bytes:
        return await self.inbox.get()

    async def write(self, data: bytes) -> None:
        await self._link.send(data)

    async def end(self) -> None:
        transport = self._link.transport
        if not self._link.lost and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()

    async def close(self) -> None:
        """Send what is still unsent, and close both sides."""
        self._link.transport.close()


async def splice(one: Connection, other: Connection) -> None:
    """Join two connections until both directions have ended or either is gone; then both are closed."""

    async def copy(source: Connection, target: Connection) -> None:
        while data := await source.read():
            await target.write(data)
        if getattr(source, "gone", False):
            raise ConnectionResetError("the peer is gone")
        await target.end()

    tasks = [asyncio.create_task(copy(one, other)), asyncio.create_task(copy(other, one))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await one.close()
        await other.close()
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
            raise outcome


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel find out within about a minute and a half that a silent peer is dead."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


class Pipe:
    """Bytes on their way from one task to another; `put` waits while too many lie here."""

    def __init__(self, limit: int = HIGH_WATER) -> None:
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._limit = limit
        self._ended = self._dropped = False
        self._changed = asyncio.Event()

    async def put(self, data: bytes) -> None:
        if not data or self._ended or self._dropped:
            return
        self._parts.append(data)
        self._size += len(data)
        self._changed.set()
        while self._size > self._limit and not self._dropped:
            self._changed.clear()
            await self._changed.wait()

    async def get(self) -> bytes:
        """The next bytes; empty at the end."""
        while not self._parts:
            if self._ended:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._parts.popleft()
        self._size -= len(data)
        self._changed.set()
        return data

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._changed.set()

    def drop(self) -> None:
        """Nobody reads any more: forget what lies here and what comes."""
        self._dropped = self._ended = True
        self._parts.clear()
        self._size = 0
        self._changed.set()
