"""Streams over SPDY, as kubectl before 1.31 and most client-go programs open them; and SPDY within a WebSocket.

Exec and attach: the client opens one SPDY stream for each of `error`, `stdin`, `stdout`, `stderr` and
`resize` that it wants, named by the header `streamtype`. Port-forward: for each connection an `error` and a
`data` stream with the same `requestid`.

Source: k8s.io/kubelet/pkg/cri/streaming, k8s.io/streaming/pkg/httpstream.
"""

from __future__ import annotations

import asyncio
import contextlib

from sampan.http import websocket
from sampan.http.messages import Connection, Request, Response, Upgrade
from sampan.http.spdy import Reset, Session, Stream
from sampan.http.streams import OPENING, Dial, Ends, Run, Wanted, plain_status, serve_port, sizes, status
from sampan.http.websocket import Tunnel, WebSocket

TUNNEL = "SPDY/3.1+portforward.k8s.io"
COMMAND_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io")
PORT_PROTOCOLS = ("portforward.k8s.io",)
_VERSION = "x-stream-protocol-version"


def offered(request: Request) -> bool:
    return request.headers.get("upgrade", "").lower() == "spdy/3.1"


def _choose(request: Request, known: tuple[str, ...]) -> str | None:
    names = [p.strip() for p in request.headers.get(_VERSION, "").split(",")]
    return next((p for p in names if p in known), None)


def _refusal(known: tuple[str, ...]) -> Response:
    headers = {"x-accepted-stream-protocol-versions": ", ".join(known)}
    return Response(
        403, f"none of the stream protocols offered is among {', '.join(known)}\n".encode(), headers
    )


def remote_command(request: Request, wanted: Wanted, run: Run) -> Response:
    name = _choose(request, COMMAND_PROTOCOLS)
    if name is None:
        return _refusal(COMMAND_PROTOCOLS)

    async def serve(connection: Connection) -> None:
        streams = _Remote(Session(connection), wanted, name)
        receiving = asyncio.create_task(streams.receive())
        try:
            if await streams.complete():
                await streams.drive(run)
            await streams.say_end()
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)

    return Response(101, Upgrade(serve), {"upgrade": "SPDY/3.1", _VERSION: name})


class _Remote(Ends):
    """The `Streams` of an exec or attach over SPDY."""

    def __init__(self, session: Session, wanted: Wanted, protocol: str) -> None:
        super().__init__(wanted)
        self._session = session
        self._json = protocol >= "v4"
        self._expected = {"error"}
        self._expected |= {n for n in ("stdin", "stdout") if getattr(wanted, n)}
        if wanted.stderr and not wanted.tty:
            self._expected.add("stderr")
        if wanted.tty and protocol >= "v3":
            self._expected.add("resize")
        self._streams: dict[str, Stream] = {}
        self._complete = asyncio.Event()
        self._sizing: asyncio.Task[None] | None = None

    async def receive(self) -> None:
        try:
            await self._session.run(self._opened)
        finally:
            self.lose()
            self._complete.set()
            if self._sizing:
                self._sizing.cancel()

    async def _opened(self, stream: Stream) -> None:
        kind = stream.headers.get("streamtype", "")
        if kind not in self._expected or kind in self._streams:
            await self._session.send(Reset(stream.number, 3))
            return
        self._streams[kind] = stream
        if kind == "resize":
            self._sizing = asyncio.create_task(self._read_sizes(stream))
        if self._streams.keys() == self._expected:
            self._complete.set()

    async def complete(self) -> bool:
        """Wait until the client has opened all streams; whether it has."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPENING):
                await self._complete.wait()
        return self._streams.keys() == self._expected

    async def _read_sizes(self, stream: Stream) -> None:
        text = ""
        while data := await stream.read():
            found, text = sizes(text + data.decode(errors="replace"))
            for size in found:
                self.resized(size)

    async def stdin(self) -> bytes:
        stream = self._streams.get("stdin")
        return await stream.read() if stream else b""

    async def send(self, channel: str, data: bytes) -> None:
        await self._streams[channel].write(data)

    def status(self, code: int, message: str) -> bytes:
        return status(code, message) if self._json else plain_status(code, message)

    async def say_end(self) -> None:
        """End every stream, then the session; the client closes the connection once it has read them."""
        with contextlib.suppress(ConnectionError):
            for stream in self._streams.values():
                await stream.close()
        await self._session.close()


# Port-forward


def port_forward(request: Request, dial: Dial) -> Response:
    name = _choose(request, PORT_PROTOCOLS)
    if name is None:
        return _refusal(PORT_PROTOCOLS)

    async def serve(connection: Connection) -> None:
        await _forward(connection, dial)

    return Response(101, Upgrade(serve), {"upgrade": "SPDY/3.1", _VERSION: name})


def port_forward_in_websocket(request: Request, dial: Dial) -> Response:
    async def serve(socket: WebSocket) -> None:
        await _forward(Tunnel(socket), dial)

    return websocket.accept(request, TUNNEL, serve)


async def _forward(connection: Connection, dial: Dial) -> None:
    """Join connections as the client opens them, until it goes away."""
    session = Session(connection)
    waiting: dict[str, Stream] = {}

    async with asyncio.TaskGroup() as group:

        async def opened(stream: Stream) -> None:
            request, kind = stream.headers.get("requestid", ""), stream.headers.get("streamtype", "")
            port = stream.headers.get("port", "")
            other = waiting.pop(request, None)
            if not other:
                waiting[request] = stream
                return
            pair = {kind: stream, other.headers.get("streamtype", ""): other}
            if pair.keys() == {"error", "data"} and port.isdecimal() and 0 < int(port) < 65536:
                group.create_task(_serve_pair(pair["data"], pair["error"], int(port), dial))
            else:
                for wrong in (stream, other):
                    await session.send(Reset(wrong.number, 1))  # PROTOCOL_ERROR

        await session.run(opened)
    await connection.close()


async def _serve_pair(data: Stream, error: Stream, port: int, dial: Dial) -> None:
    async def fail(message: str) -> None:
        await error.write(message.encode())

    try:
        await serve_port(data, port, dial, fail)
    finally:
        with contextlib.suppress(ConnectionError):
            await error.close()
