"""The kubelet's streams, as clients of Kubernetes expect them: exec and attach with their channels, port-forward.

A handler answers with `remote_command(request, wanted, run)` or `port_forward(request, dial)`; they choose
the protocol that the client offers and speak it. What runs behind sees one `Streams`, or one connection for
each forwarded port.

    async def exec_(request):
        async def run(streams: Streams) -> None:
            await relay(streams, await engine.exec(...))
        return remote_command(request, Wanted(stdin=True, stdout=True), run)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from sampan.http.messages import Connection, Request, Response
from sampan.http.transport import Pipe, splice

log = logging.getLogger(__name__)

# How long a client may take to open the streams it asked for, and a peer to answer a goodbye; seconds.
OPENING = 30.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The streams that a client asked for. With `tty` there is no stderr: all output is stdout."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class Size:
    """A terminal's size in characters."""

    width: int
    height: int


class Streams(Protocol):
    """The streams of one exec or attach, at the server's side.

    What was not wanted is at its end, or is dropped.
    """

    wanted: Wanted

    async def stdin(self) -> bytes:
        """The next bytes for the standard input; empty at its end, and once the client is gone."""

    async def stdout(self, data: bytes) -> None:
        """Send output; waits while the client is slow. Raises ConnectionError when it is gone."""

    async def stderr(self, data: bytes) -> None:
        """Send error output, in the same way."""

    def resizes(self) -> AsyncIterator[Size]:
        """The terminal's sizes as the client reports them; ends with the connection."""

    async def gone(self) -> None:
        """Return once the client is gone."""

    async def finish(self, code: int = 0, message: str = "") -> None:
        """Tell how it ended: exit status `code`, or with `message` that it could not be run.

        The first call counts.
        """


class Process(Protocol):
    """What `relay` joins to streams: the engine's processes are like this (`engine.seams.Process`)."""

    async def read(self) -> tuple[int, bytes] | None:
        """The next output and its stream (1 stdout, 2 stderr); None at the end."""

    async def write(self, data: bytes) -> None: ...

    async def close_stdin(self) -> None: ...

    async def resize(self, width: int, height: int) -> None: ...

    async def wait(self) -> int:
        """The exit status."""

    async def close(self) -> None: ...


# What runs behind an exec or attach; where it raises, the client gets the message as the reason of the
# failure.
Run = Callable[[Streams], Awaitable[None]]

# Connects to a port of a pod; raises OSError, or anything else whose message then reaches the client.
Dial = Callable[[int], Awaitable[Connection]]


def remote_command(request: Request, wanted: Wanted, run: Run) -> Response:
    """Answer an exec or attach: a WebSocket or SPDY, as the client offers, with `run` at this end.

    When `run` returns without `finish`, it went well; the connection is closed after it.
    """
    from sampan.http import channels, spdystreams, websocket  # not before the first exec

    if websocket.offered(request):
        return channels.remote_command(request, wanted, run)
    if spdystreams.offered(request):
        return spdystreams.remote_command(request, wanted, run)
    return not_upgraded(request)


def port_forward(request: Request, dial: Dial) -> Response:
    """Answer a port-forward: each connection that the client opens is joined to one that `dial` makes.

    The ports are named by the client as it goes, save in the oldest protocol, where they are the query's
    `port` or `ports`.
    """
    from sampan.http import channels, spdystreams, websocket

    if websocket.offered(request):
        if spdystreams.TUNNEL in websocket.protocols(request):
            return spdystreams.port_forward_in_websocket(request, dial)
        return channels.port_forward(request, dial)
    if spdystreams.offered(request):
        return spdystreams.port_forward(request, dial)
    return not_upgraded(request)


async def relay(streams: Streams, process: Process) -> None:
    """Join a process to the streams until its output ends, then tell its exit status.

    A client that goes away lets go of the process's streams; the process runs on.
    """

    async def input() -> None:
        while data := await streams.stdin():
            await process.write(data)
        await process.close_stdin()

    async def sizes() -> None:
        async for size in streams.resizes():
            await process.resize(size.width, size.height)

    async def output() -> None:
        while piece := await process.read():
            await (streams.stdout(piece[1]) if piece[0] == 1 else streams.stderr(piece[1]))
        await streams.finish(await process.wait())

    work = asyncio.create_task(output())
    gone = asyncio.create_task(streams.gone())
    helpers = [asyncio.create_task(sizes())]
    if streams.wanted.stdin:
        helpers.append(asyncio.create_task(_unless_broken(input())))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            with contextlib.suppress(ConnectionError):
                work.result()
    finally:
        for task in (work, gone, *helpers):
            task.cancel()
        await asyncio.gather(work, gone, *helpers, return_exceptions=True)
        await process.close()


async def _unless_broken(work: Awaitable[None]) -> None:
    with contextlib.suppress(ConnectionError):
        await work


class Ends:
    """What the protocols share of `Streams`: what the client sends waits here for the handler."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.input = Pipe()
        self._sizes: asyncio.Queue[Size | None] = asyncio.Queue()
        self._lost = asyncio.Event()
        self._finished = False
        if not wanted.stdin:
            self.input.drop()

    async def send(self, channel: str, data: bytes) -> None:
        """Send on `stdout`, `stderr` or `error`; each protocol has its own way."""
        raise NotImplementedError

    async def stdin(self) -> bytes:
        return await self.input.get()

    async def stdout(self, data: bytes) -> None:
        if self.wanted.stdout and data:
            await self.send("stdout", data)

    async def stderr(self, data: bytes) -> None:
        if self.wanted.stderr and data and not self.wanted.tty:
            await self.send("stderr", data)

    async def resizes(self) -> AsyncIterator[Size]:
        while size := await self._sizes.get():
            yield size

    def resized(self, size: Size) -> None:
        self._sizes.put_nowait(size)

    async def gone(self) -> None:
        await self._lost.wait()

    def lose(self) -> None:
        """The client is gone."""
        self._lost.set()
        self._sizes.put_nowait(None)
        self.input.end()

    async def finish(self, code: int = 0, message: str = "") -> None:
        if not self._finished:
            self._finished = True
            with contextlib.suppress(ConnectionError):
                await self.send("error", self.status(code, message))

    def status(self, code: int, message: str) -> bytes:
        return status(code, message)

    async def drive(self, run: Run) -> None:
        """Run what is behind these streams, and see that it ends with a status."""
        try:
            await run(self)
        except ConnectionError as e:
            if not self._lost.is_set():
                await self.finish(message=str(e))
        except Exception as e:
            log.info("a stream's handler failed: %s: %s", type(e).__name__, e)
            await self.finish(message=str(e) or type(e).__name__)
        else:
            await self.finish()


def status(code: int, message: str) -> bytes:
    """The Kubernetes Status that ends a command, as kubectl reads the exit status from it."""
    said: dict[str, object] = {"metadata": {}, "status": "Success"}
    if message:
        details: dict[str, object] = {"causes": [{"message": message}]}
        text = f"Internal error occurred: {message}"
        said |= {
            "status": "Failure",
            "message": text,
            "reason": "InternalError",
            "details": details,
            "code": 500,
        }
    elif code:
        details = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
        text = f"command terminated with non-zero exit code: exit status {code}"
        said |= {"status": "Failure", "message": text, "reason": "NonZeroExitCode", "details": details}
    return json.dumps(said).encode()


def plain_status(code: int, message: str) -> bytes:
    """How protocols before version 4 end a command: with a text where it failed, else with nothing."""
    if message:
        return message.encode()
    return f"command terminated with non-zero exit code: exit status {code}".encode() if code else b""


def sizes(text: str) -> tuple[list[Size], str]:
    """The terminal sizes at the beginning of a text of JSON objects, and what is left of the text."""
    decoder = json.JSONDecoder()
    found: list[Size] = []
    while text := text.lstrip():
        try:
            value, end = decoder.raw_decode(text)
            found.append(Size(int(value["Width"]), int(value["Height"])))
        except (ValueError, KeyError, TypeError):
            break
        text = text[end:]
    return found, text


def not_upgraded(request: Request) -> Response:
    """For a client that offers neither protocol."""
    offered = request.headers.get("upgrade") or "nothing"
    text = f"unable to upgrade: {offered} is offered, neither websocket nor SPDY/3.1\n"
    return Response(400, text.encode(), {"content-type": "text/plain; charset=utf-8"})


async def serve_port(
    client: Connection, port: int, dial: Dial, fail: Callable[[str], Awaitable[None]]
) -> None:
    """Join a client's connection to the port; `fail` gets the message where that fails."""
    try:
        async with asyncio.timeout(OPENING):
            connection = await dial(port)
    except Exception as e:
        with contextlib.suppress(ConnectionError):
            await fail(f"cannot connect to port {port}: {e or type(e).__name__}")
        await client.close()
        return
    await splice(client, connection)
