"""WebSocket: frames without I/O (`Codec`), and a `WebSocket` over a connection, for both sides.

Source: RFC 6455; section numbers below are its.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from sampan.http.client import ClientResponse, HttpClient
from sampan.http.messages import Connection, Request, Response, Upgrade

MESSAGE_LIMIT = 16 << 20
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3


class Opcode(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class WebSocketError(ConnectionError):
    """The peer broke the protocol; `code` is the close code to send (section 7.4.1)."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message, or a control frame."""

    opcode: Opcode
    data: bytes

    @property
    def close_code(self) -> int:
        """Why the peer closes: 1005 where it does not say."""
        return int.from_bytes(self.data[:2], "big") if len(self.data) >= 2 else 1005


class Codec:
    """Turns bytes into messages and back.

    A client masks what it sends, a server insists on that (section 5.1).
    """

    def __init__(self, *, client: bool, limit: int = MESSAGE_LIMIT) -> None:
        self._client = client
        self._limit = limit
        self._buffer = bytearray()
        self._opcode: Opcode | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """What these bytes complete. Raises WebSocketError."""
        self._buffer += data
        messages: list[Message] = []
        while frame := self._frame():
            if message := self._assemble(*frame):
                messages.append(message)
        return messages

    def encode(self, opcode: Opcode, data: bytes) -> bytes:
        """One unfragmented frame."""
        masked = 0x80 if self._client else 0
        length = len(data)
        if length < 126:
            head = struct.pack("!BB", 0x80 | opcode, masked | length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, masked | 126, length)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, masked | 127, length)
        if not masked:
            return head + data
        mask = os.urandom(4)
        return head + mask + _xor(data, mask)

    def _frame(self) -> tuple[int, bool, bytes] | None:
        """The next whole frame in the buffer: opcode, whether it is the last of its message, and payload."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        if first & 0x70:
            raise WebSocketError(1002, "a reserved bit is set, but no extension was agreed on")
        if bool(second & 0x80) == self._client:
            raise WebSocketError(
                1002, "a server must not mask its frames" if self._client else "a frame is not masked"
            )
        length, at = second & 0x7F, 2
        if length >= 126:
            at = 4 if length == 126 else 10
            if len(buffer) < at:
                return None
            length = int.from_bytes(buffer[2:at], "big")
        if length + self._size > self._limit:
            raise WebSocketError(1009, f"a message has more than {self._limit} bytes")
        mask_length = 0 if self._client else 4
        end = at + mask_length + length
        if len(buffer) < end:
            return None
        payload = bytes(buffer[at + mask_length : end])
        if mask_length:
            payload = _xor(payload, bytes(buffer[at : at + 4]))
        del buffer[:end]
        return first & 0x0F, bool(first & 0x80), payload

    def _assemble(self, opcode: int, final: bool, data: bytes) -> Message | None:
        try:
            kind = Opcode(opcode)
        except ValueError:
            raise WebSocketError(1002, f"a frame has the unknown opcode {opcode}") from None
        if kind >= Opcode.CLOSE:
            if not final or len(data) > 125:
                raise WebSocketError(1002, "a control frame is fragmented or too long")
            return Message(kind, data)
        if (kind == Opcode.CONTINUATION) == (self._opcode is None):
            raise WebSocketError(1002, "a continuation without its beginning, or a message within another")
        if self._opcode is None:
            self._opcode = kind
        self._parts.append(data)
        self._size += len(data)
        if not final:
            return None
        message = Message(self._opcode, b"".join(self._parts))
        self._opcode, self._parts, self._size = None, [], 0
        return message


def _xor(data: bytes, mask: bytes) -> bytes:
    """Mask or unmask (section 5.3), as one operation on two large numbers."""
    length = len(data)
    repeated = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")


class WebSocket:
    """Messages both ways over a connection. Pings are answered while one receives."""

    def __init__(
        self, connection: Connection, *, client: bool, protocol: str = "", limit: int = MESSAGE_LIMIT
    ) -> None:
        self.protocol = protocol
        self._connection = connection
        self._codec = Codec(client=client, limit=limit)
        self._messages: list[Message] = []
        self._closed = False
        self._receiving = False
        self._ended = asyncio.Event()

    async def receive(self) -> Message | None:
        """The next text or binary message; None once the peer has closed. Raises WebSocketError."""
        self._receiving = True
        message = None
        try:
            message = await self._receive()
        finally:
            self._receiving = False
            if not message:
                self._ended.set()
        return message

    async def _receive(self) -> Message | None:
        while True:
            if not self._messages and not await self._fill():
                return None
            message = self._messages.pop(0)
            if message.opcode == Opcode.PING:
                await self._send(Opcode.PONG, message.data)
            elif message.opcode == Opcode.CLOSE:
                await self._say_close(message.close_code if message.close_code != 1005 else 1000)
                return None
            elif message.opcode != Opcode.PONG:
                return message

    async def _fill(self) -> bool:
        """Read until there is a message; False at the end of the connection."""
        while not self._messages:
            data = await self._connection.read()
            if not data:
                return False
            try:
                self._messages = self._codec.feed(data)
            except WebSocketError as e:
                await self._say_close(e.code, str(e))
                raise
        return True

    async def send(self, data: bytes) -> None:
        """Send a binary message. Raises ConnectionError."""
        await self._send(Opcode.BINARY, data)

    async def send_text(self, text: str) -> None:
        await self._send(Opcode.TEXT, text.encode())

    async def _send(self, opcode: Opcode, data: bytes) -> None:
        await self._connection.write(self._codec.encode(opcode, data))

    async def _say_close(self, code: int, reason: str = "") -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(ConnectionError):
                await self._send(Opcode.CLOSE, struct.pack("!H", code) + reason.encode()[:120])

    async def close(self, code: int = 1000, reason: str = "", *, timeout: float = 5.0) -> None:
        """Say goodbye, wait a while for the peer's (section 7.1.2), and close the connection.

        Another task may be receiving meanwhile; it then takes the goodbye.
        """
        await self._say_close(code, reason)
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(timeout):
                if self._receiving:
                    await self._ended.wait()
                while not self._ended.is_set():
                    await self.receive()
        await self._connection.close()


class Tunnel:
    """A `Connection` whose bytes travel in the binary messages of a WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while message := await self._socket.receive():
            if message.data:
                return message.data
        return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send(data)

    async def end(self) -> None:
        """A WebSocket cannot close one direction alone."""

    async def close(self) -> None:
        await self._socket.close()


# Handshakes


def offered(request: Request) -> bool:
    """Whether the client asks for a WebSocket (section 4.2.1)."""
    headers = request.headers
    return (
        headers.get("upgrade", "").lower() == "websocket"
        and "upgrade" in headers.get("connection", "").lower()
    )


def protocols(request: Request) -> list[str]:
    """The subprotocols the client offers, the preferred first."""
    return [p for p in (w.strip() for w in request.headers.get("sec-websocket-protocol", "").split(",")) if p]


def accept(
    request: Request,
    protocol: str,
    run: Callable[[WebSocket], Awaitable[None]],
    *,
    limit: int = MESSAGE_LIMIT,
) -> Response:
    """The response that opens a WebSocket and hands it to `run`; `protocol` is the subprotocol chosen, or empty."""
    key = request.headers.get("sec-websocket-key", "")
    if request.method != "GET" or not key or request.headers.get("sec-websocket-version") != "13":
        text = b"a WebSocket is opened with GET, Sec-WebSocket-Key and Sec-WebSocket-Version: 13\n"
        return Response(400, text, {"sec-websocket-version": "13"})

    async def serve(connection: Connection) -> None:
        await run(WebSocket(connection, client=False, protocol=protocol, limit=limit))

    headers = {"upgrade": "websocket", "sec-websocket-accept": _accept_key(key)}
    if protocol:
        headers["sec-websocket-protocol"] = protocol
    return Response(101, Upgrade(serve), headers)


async def connect(
    client: HttpClient,
    target: str,
    *,
    protocols: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    limit: int = MESSAGE_LIMIT,
) -> tuple[WebSocket | None, ClientResponse]:
    """Open a WebSocket; it is None where the server refused, and the response says why.

    Raises ConnectionError.
    """
    key = base64.b64encode(os.urandom(16)).decode()
    asked = {
        **(headers or {}),
        "upgrade": "websocket",
        "sec-websocket-key": key,
        "sec-websocket-version": "13",
    }
    if protocols:
        asked["sec-websocket-protocol"] = ", ".join(protocols)
    response, connection = await client.upgrade("GET", target, asked)
    if not connection:
        return None, response
    chosen = response.headers.get("sec-websocket-protocol", "")
    if response.headers.get("sec-websocket-accept") != _accept_key(key) or (
        chosen and chosen not in protocols
    ):
        await connection.close()
        raise WebSocketError(1002, f"{client.base}{target} did not answer as a WebSocket server does")
    return WebSocket(connection, client=True, protocol=chosen, limit=limit), response


def _accept_key(key: str) -> str:
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
