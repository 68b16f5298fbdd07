"""Streams in the messages of a WebSocket: the first byte (or digit) of each message is its channel.

Exec and attach: 0 stdin, 1 stdout, 2 stderr, 3 the final status, 4 terminal sizes; since version 5, 255
closes the channel whose number follows. Port-forward: for the nth port, 2n its data and 2n+1 its errors.

Source: k8s.io/apimachinery/pkg/util/remotecommand, k8s.io/kubelet/pkg/cri/streaming, KEP-4006.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from sampan.http import messages, websocket
from sampan.http.client import ClientResponse, HttpClient
from sampan.http.messages import Request, Response
from sampan.http.streams import Dial, Ends, Run, Size, Wanted, plain_status, serve_port, sizes, status
from sampan.http.transport import Pipe
from sampan.http.websocket import WebSocket

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_NUMBERS = {"stdout": STDOUT, "stderr": STDERR, "error": ERROR}
_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one subprotocol writes:

    Bytes or base64 in text, the final status as JSON or as text, half-closes or not.
    """

    text: bool = False
    json: bool = True
    half_close: bool = False


PROTOCOLS = {
    "v5.channel.k8s.io": Protocol(half_close=True),
    "v4.channel.k8s.io": Protocol(),
    "v4.base64.channel.k8s.io": Protocol(text=True),
    "channel.k8s.io": Protocol(json=False),
    "base64.channel.k8s.io": Protocol(text=True, json=False),
    "": Protocol(json=False),
}
PORT_PROTOCOLS = {
    "v4.channel.k8s.io": Protocol(),
    "v4.base64.channel.k8s.io": Protocol(text=True),
    "portforward.k8s.io": Protocol(),
    "": Protocol(),
}


class Channels:
    """The channels of a WebSocket."""

    def __init__(self, socket: WebSocket, protocol: Protocol) -> None:
        self._socket = socket
        self._protocol = protocol

    async def send(self, channel: int, data: bytes) -> None:
        if self._protocol.text:
            await self._socket.send_text(f"{channel}{base64.b64encode(data).decode()}")
        else:
            await self._socket.send(bytes([channel]) + data)

    async def receive(self) -> tuple[int, bytes] | None:
        """The next piece and its channel; None at the end."""
        while message := await self._socket.receive():
            if not message.data:
                continue
            if not self._protocol.text:
                return message.data[0], message.data[1:]
            with contextlib.suppress(binascii.Error):
                return message.data[0] - ord("0"), base64.b64decode(message.data[1:], validate=True)
        return None


def _choose(request: Request, known: dict[str, Protocol]) -> str | None:
    """The first protocol that the client offers and we know; None where there is none."""
    offered = websocket.protocols(request) or [""]
    return next((p for p in offered if p in known), None)


def _refusal(known: dict[str, Protocol]) -> Response:
    text = f"none of the WebSocket protocols offered is known; known are {', '.join(filter(None, known))}\n"
    return Response(400, text.encode(), {"content-type": "text/plain; charset=utf-8"})


def remote_command(request: Request, wanted: Wanted, run: Run) -> Response:
    name = _choose(request, PROTOCOLS)
    if name is None:
        return _refusal(PROTOCOLS)

    async def serve(socket: WebSocket) -> None:
        streams = _Remote(Channels(socket, PROTOCOLS[name]), PROTOCOLS[name], wanted)
        receiving = asyncio.create_task(streams.receive())
        try:
            await streams.greet()
            await streams.drive(run)
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
        await socket.close()

    return websocket.accept(request, name, serve, limit=_LIMIT)


class _Remote(Ends):
    """The `Streams` of an exec or attach over channels."""

    def __init__(self, channels: Channels, protocol: Protocol, wanted: Wanted) -> None:
        super().__init__(wanted)
        self._channels = channels
        self._protocol = protocol

    async def greet(self) -> None:
        """An empty message on the first channel that is written: clients wait for it."""
        wanted = self.wanted
        first = STDOUT if wanted.stdout else STDERR if wanted.stderr and not wanted.tty else ERROR
        with contextlib.suppress(ConnectionError):
            await self._channels.send(first, b"")

    async def receive(self) -> None:
        try:
            while piece := await self._channels.receive():
                channel, data = piece
                if channel == STDIN:
                    await self.input.put(data)
                elif channel == RESIZE:
                    for size in sizes(data.decode(errors="replace"))[0]:
                        self.resized(size)
                elif channel == CLOSE and self._protocol.half_close and data == bytes([STDIN]):
                    self.input.end()
        except ConnectionError:
            pass
        finally:
            self.lose()

    async def send(self, channel: str, data: bytes) -> None:
        if data:
            await self._channels.send(_NUMBERS[channel], data)

    def status(self, code: int, message: str) -> bytes:
        return status(code, message) if self._protocol.json else plain_status(code, message)


# Port-forward


def port_forward(request: Request, dial: Dial) -> Response:
    name = _choose(request, PORT_PROTOCOLS)
    if name is None:
        return _refusal(PORT_PROTOCOLS)
    query = messages.query(request.query)
    words = [w for v in query.get("port", []) + query.get("ports", []) for w in v.split(",")]
    if not words or not all(w.isdecimal() and 0 < int(w) < 65536 for w in words):
        return Response(400, b'query parameter "port" is required, each a number from 1 to 65535\n')
    ports = [int(w) for w in words]

    async def serve(socket: WebSocket) -> None:
        await _forward(Channels(socket, PORT_PROTOCOLS[name]), ports, dial)
        await socket.close()

    return websocket.accept(request, name, serve, limit=_LIMIT)


async def _forward(channels: Channels, ports: Sequence[int], dial: Dial) -> None:
    """Each port is dialled at once; this ends when all connections have ended, or the client has gone."""
    data = [_PortData(channels, 2 * n) for n in range(len(ports))]

    async def receive() -> None:
        try:
            while piece := await channels.receive():
                channel, content = piece
                if channel % 2 == 0 and channel // 2 < len(data):
                    await data[channel // 2].pipe.put(content)
        except ConnectionError:
            pass
        finally:
            for one in data:
                one.gone = True
                one.pipe.end()

    receiving = asyncio.create_task(receive())
    try:
        for n, port in enumerate(ports):
            for channel in (2 * n, 2 * n + 1):
                await channels.send(channel, port.to_bytes(2, "little"))
        async with asyncio.TaskGroup() as group:
            for one, port in zip(data, ports, strict=True):
                group.create_task(serve_port(one, port, dial, one.fail))
    except ConnectionError:
        pass
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)


class _PortData:
    """One port's connection to the client (`messages.Connection`)."""

    def __init__(self, channels: Channels, channel: int) -> None:
        self.pipe = Pipe()
        self.gone = False
        self._channels = channels
        self._channel = channel

    async def read(self) -> bytes:
        return await self.pipe.get()

    async def write(self, data: bytes) -> None:
        await self._channels.send(self._channel, data)

    async def fail(self, message: str) -> None:
        await self._channels.send(self._channel + 1, message.encode())

    async def end(self) -> None:
        """The protocol has no sign for it: the WebSocket is closed when all ports have ended."""
        self.pipe.end()

    async def close(self) -> None:
        self.pipe.drop()


# The client's side


class RemoteCommand:
    """An exec or attach, seen from the client."""

    def __init__(self, socket: WebSocket) -> None:
        self.protocol = socket.protocol
        self._socket = socket
        self._channels = Channels(socket, PROTOCOLS[socket.protocol])

    async def read(self) -> tuple[int, bytes] | None:
        """The next output and its channel (STDOUT, STDERR, ERROR: the final status); None at the end."""
        while piece := await self._channels.receive():
            if piece[1]:
                return piece
        return None

    async def write(self, data: bytes) -> None:
        """Send to the standard input."""
        await self._channels.send(STDIN, data)

    async def close_stdin(self) -> None:
        """Only version 5 can."""
        if PROTOCOLS[self.protocol].half_close:
            await self._channels.send(CLOSE, bytes([STDIN]))

    async def resize(self, size: Size) -> None:
        await self._channels.send(RESIZE, b'{"Width":%d,"Height":%d}' % (size.width, size.height))

    async def close(self) -> None:
        await self._socket.close()


async def connect(
    client: HttpClient,
    target: str,
    *,
    protocols: Sequence[str] = ("v5.channel.k8s.io", "v4.channel.k8s.io"),
    headers: dict[str, str] | None = None,
) -> tuple[RemoteCommand | None, ClientResponse]:
    """Begin an exec or attach at `target`; the command is None where the server refused, and the response says why."""
    socket, response = await websocket.connect(
        client, target, protocols=protocols, headers=headers, limit=_LIMIT
    )
    return (RemoteCommand(socket) if socket else None), response
