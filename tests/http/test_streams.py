"""Exec, attach and port-forward, with a real process and a real port behind them, in every protocol."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import struct
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sampan.http import channels, streams, websocket
from sampan.http.client import HttpClient
from sampan.http.messages import Connection, Request, Response, query
from sampan.http.server import listen, serve
from sampan.http.spdy import Session, Stream
from sampan.http.streams import Size, Streams, Wanted
from sampan.http.websocket import Tunnel

ALL = Wanted(stdin=True, stdout=True, stderr=True)


class Shell:
    """A shell command as a `streams.Process`."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self.sizes: list[Size] = []
        self.closed = asyncio.Event()
        self._output: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self._readers = [
            asyncio.create_task(self._read(1, child.stdout)),
            asyncio.create_task(self._read(2, child.stderr)),
        ]

    @classmethod
    async def start(cls, command: str) -> Shell:
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_shell(command, stdin=pipe, stdout=pipe, stderr=pipe))

    async def _read(self, number: int, source: asyncio.StreamReader | None) -> None:
        assert source
        while data := await source.read(65536):
            self._output.put_nowait((number, data))
        self._output.put_nowait((number, b""))

    async def read(self) -> tuple[int, bytes] | None:
        ends = 0
        while ends < 2:
            number, data = await self._output.get()
            if data:
                return number, data
            ends += 1
        return None

    async def write(self, data: bytes) -> None:
        assert self.child.stdin
        self.child.stdin.write(data)
        await self.child.stdin.drain()

    async def close_stdin(self) -> None:
        assert self.child.stdin
        self.child.stdin.close()

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append(Size(width, height))
        await self.write(b"%dx%d\n" % (width, height))

    async def wait(self) -> int:
        return await self.child.wait()

    async def close(self) -> None:
        if self.child.returncode is None:
            self.child.kill()
            await self.child.wait()
        await asyncio.gather(*self._readers)
        self.closed.set()


@contextlib.asynccontextmanager
async def serving(handler: Callable[[Request], Awaitable[Response]]) -> AsyncIterator[HttpClient]:
    sock = listen("127.0.0.1", 0)
    server = await serve(handler, sockets=[sock])
    client = HttpClient(f"http://127.0.0.1:{sock.getsockname()[1]}", timeout=10)
    try:
        yield client
    finally:
        await client.close()
        await server.close(grace=1)


def executing(command: str, wanted: Wanted = ALL) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        async def run(ends: Streams) -> None:
            await streams.relay(ends, await Shell.start(command))

        return streams.remote_command(request, wanted, run)

    return handler


async def collect(command: channels.RemoteCommand) -> dict[int, bytes]:
    """Everything each channel carried until the end."""
    got: dict[int, bytes] = {}
    async with asyncio.timeout(10):
        while piece := await command.read():
            got[piece[0]] = got.get(piece[0], b"") + piece[1]
    return got


def exit_code(status: bytes) -> int:
    said = json.loads(status)
    if said["status"] == "Success":
        return 0
    assert said["reason"] == "NonZeroExitCode"
    return int(next(c["message"] for c in said["details"]["causes"] if c["reason"] == "ExitCode"))


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"])
async def test_exec_over_a_websocket(protocol: str) -> None:
    async with serving(executing("read line; echo got $line; echo wrong >&2; exit 3")) as client:
        command, _ = await channels.connect(client, "/", protocols=[protocol])
        assert command
        await command.write(b"hello\n")
        got = await collect(command)
        assert got[channels.STDOUT] == b"got hello\n"
        assert got[channels.STDERR] == b"wrong\n"
        assert exit_code(got[channels.ERROR]) == 3
        await command.close()


async def test_the_end_of_stdin_reaches_the_process() -> None:
    data = bytes(range(256)) * 4000
    async with serving(executing("cat; sleep 0.1", Wanted(stdin=True, stdout=True))) as client:
        command, _ = await channels.connect(client, "/")
        assert command
        collecting = asyncio.create_task(collect(command))
        for at in range(0, len(data), 30_000):
            await command.write(data[at : at + 30_000])
        await command.close_stdin()
        got = await collecting
        assert got[channels.STDOUT] == data
        assert exit_code(got[channels.ERROR]) == 0
        await command.close()


async def test_terminal_sizes_reach_the_process() -> None:
    wanted = Wanted(stdin=True, stdout=True, stderr=True, tty=True)
    async with serving(executing("read size; echo $size; echo unseen >&2", wanted)) as client:
        command, _ = await channels.connect(client, "/")
        assert command
        await command.resize(Size(120, 40))
        got = await collect(command)
        assert got[channels.STDOUT] == b"120x40\n"
        assert channels.STDERR not in got
        await command.close()


async def test_a_command_that_cannot_run_says_why() -> None:
    async def handler(request: Request) -> Response:
        async def run(ends: Streams) -> None:
            raise RuntimeError("no such container")

        return streams.remote_command(request, ALL, run)

    async with serving(handler) as client:
        command, _ = await channels.connect(client, "/")
        assert command
        said = json.loads((await collect(command))[channels.ERROR])
        assert (said["status"], said["reason"]) == ("Failure", "InternalError")
        assert "no such container" in said["message"]
        await command.close()


async def test_a_client_that_goes_away_ends_the_relay() -> None:
    shells: list[Shell] = []

    async def handler(request: Request) -> Response:
        async def run(ends: Streams) -> None:
            shells.append(await Shell.start("echo ready; exec sleep 60"))
            await streams.relay(ends, shells[0])

        return streams.remote_command(request, ALL, run)

    async with serving(handler) as client:
        command, _ = await channels.connect(client, "/")
        assert command
        await command.read()
        await client.close()
        async with asyncio.timeout(10):
            await shells[0].closed.wait()


async def spdy_client(client: HttpClient, protocol: str) -> tuple[Session, asyncio.Task[None]]:
    headers = {"upgrade": "SPDY/3.1", "x-stream-protocol-version": protocol}
    response, connection = await client.upgrade("POST", "/?port=80", headers)
    assert connection
    assert response.headers["x-stream-protocol-version"] == protocol
    session = Session(connection, client=True)
    return session, asyncio.create_task(session.run())


async def read_all(stream: Any) -> bytes:
    got = b""
    async with asyncio.timeout(10):
        while data := await stream.read():
            got += data
    return got


async def test_exec_over_spdy() -> None:
    async with serving(executing("cat; echo wrong >&2; exit 4")) as client:
        session, running = await spdy_client(client, "v4.channel.k8s.io")
        opened = {
            kind: await session.open({"streamType": kind}) for kind in ("error", "stdin", "stdout", "stderr")
        }
        await opened["stdin"].write(b"through spdy")
        await opened["stdin"].end()
        assert await read_all(opened["stdout"]) == b"through spdy"
        assert await read_all(opened["stderr"]) == b"wrong\n"
        assert exit_code(await read_all(opened["error"])) == 4
        await session.close(timeout=0.01)
        await running


async def test_terminal_sizes_over_spdy() -> None:
    wanted = Wanted(stdin=True, stdout=True, tty=True)
    async with serving(executing("read a; read b; echo $a $b", wanted)) as client:
        session, running = await spdy_client(client, "v4.channel.k8s.io")
        opened = {
            kind: await session.open({"streamType": kind}) for kind in ("error", "stdin", "stdout", "resize")
        }
        for piece in (b'{"Width":80,"He', b'ight":24}\n{"Width":100,"Height":30}'):
            await opened["resize"].write(piece)
        assert await read_all(opened["stdout"]) == b"80x24 100x30\n"
        await session.close(timeout=0.01)
        await running


async def test_an_unknown_protocol_is_refused() -> None:
    async with serving(executing("true")) as client:
        headers = {"upgrade": "SPDY/3.1", "x-stream-protocol-version": "v99"}
        response, _ = await client.upgrade("POST", "/", headers)
        assert response.status == 403
        assert "v4.channel.k8s.io" in response.headers["x-accepted-stream-protocol-versions"]
        await response.close()
        for headers in (
            {"upgrade": "h2c"},
            {"upgrade": "websocket", "sec-websocket-protocol": "v99"},
        ):
            response, connection = await client.upgrade("GET", "/", headers)
            assert (response.status, connection) == (400, None)
            await response.close()


# Port-forward: port 80 shouts what it hears, any other refuses.


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data.upper())
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def forwarding() -> AsyncIterator[HttpClient]:
    target = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = target.sockets[0].getsockname()[1]

    async def dial(wanted: int) -> Connection:
        if wanted != 80:
            raise OSError(f"nobody listens on {wanted}")
        return Socket(*await asyncio.open_connection("127.0.0.1", port))

    async def handler(request: Request) -> Response:
        return streams.port_forward(request, dial)

    async with serving(handler) as client:
        yield client
    target.close()


class Socket:
    """A TCP connection as a `Connection`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self) -> bytes:
        return await self.reader.read(65536)

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def end(self) -> None:
        self.writer.write_eof()

    async def close(self) -> None:
        self.writer.close()


async def forward(session: Session, number: int, port: int) -> tuple[Stream, Stream]:
    headers = {"port": str(port), "requestID": str(number)}
    error = await session.open({"streamType": "error", **headers}, fin=True)
    return error, await session.open({"streamType": "data", **headers})


async def check_forwarding(session: Session) -> None:
    """Several connections at once, one of them refused."""
    error, data = await forward(session, 0, 80)
    refused, nothing = await forward(session, 1, 81)
    second_error, second = await forward(session, 2, 80)
    await second.write(b"two")
    await data.write(b"one" * 50_000)
    await data.end()
    await second.end()
    assert await read_all(data) == b"ONE" * 50_000
    assert await read_all(second) == b"TWO"
    assert b"nobody listens on 81" in await read_all(refused)
    assert await read_all(nothing) == await read_all(error) == await read_all(second_error) == b""


async def test_port_forward_over_spdy() -> None:
    async with forwarding() as client:
        session, running = await spdy_client(client, "portforward.k8s.io")
        await check_forwarding(session)
        await session.close(timeout=0.01)
        await running


async def test_port_forward_over_spdy_in_a_websocket() -> None:
    async with forwarding() as client:
        socket, _ = await websocket.connect(client, "/", protocols=["SPDY/3.1+portforward.k8s.io"])
        assert socket
        session = Session(Tunnel(socket), client=True)
        running = asyncio.create_task(session.run())
        await check_forwarding(session)
        await socket.close()
        await running


async def test_port_forward_over_websocket_channels() -> None:
    async with forwarding() as client:
        socket, _ = await websocket.connect(client, "/?port=80&port=81", protocols=["v4.channel.k8s.io"])
        assert socket
        ends = channels.Channels(socket, channels.PORT_PROTOCOLS[socket.protocol])
        await ends.send(0, b"hello")
        got: dict[int, bytes] = {}
        async with asyncio.timeout(10):
            while len(got.get(0, b"")) < 7 or len(got.get(3, b"")) <= 2:
                piece = await ends.receive()
                assert piece
                got[piece[0]] = got.get(piece[0], b"") + piece[1]
        assert got[0] == (80).to_bytes(2, "little") + b"HELLO"
        assert got[3].startswith((81).to_bytes(2, "little"))
        assert b"nobody listens on 81" in got[3]
        await socket.close()


# An unmodified kubectl, against just enough of an API server

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "containers": [{"name": "main", "image": "none", "stdin": True, "ports": [{"containerPort": 80}]}]
    },
    "status": {"phase": "Running"},
}
RESOURCES = {
    "kind": "APIResourceList",
    "groupVersion": "v1",
    "resources": [
        {"name": "pods", "namespaced": True, "kind": "Pod", "verbs": ["get"], "singularName": "pod"}
    ],
}
ANSWERS = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "groups": []},
    "/api/v1": RESOURCES,
    "/api/v1/namespaces/default/pods/web": POD,
}


def api(dial: streams.Dial) -> Callable[[Request], Awaitable[Response]]:
    """Discovery, one pod, and its exec (of a shell command on this machine) and port-forward."""

    async def handler(request: Request) -> Response:
        asked = query(request.query)
        if request.path in ANSWERS:
            return Response(
                200, json.dumps(ANSWERS[request.path]).encode(), {"content-type": "application/json"}
            )
        if request.path.endswith("/portforward"):
            return streams.port_forward(request, dial)
        if not request.path.endswith("/exec"):
            return Response(404)

        async def run(ends: Streams) -> None:
            await streams.relay(ends, await Shell.start(asked["command"][-1]))

        wanted = Wanted(*(asked.get(name) == ["true"] for name in ("stdin", "stdout", "stderr", "tty")))
        return streams.remote_command(request, wanted, run)

    return handler


async def start_kubectl(client: HttpClient, home: Path, *words: str, websockets: bool, **pipes: Any) -> Any:
    use = "true" if websockets else "false"
    env = {
        "HOME": str(home),
        "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": use,
        "KUBECTL_PORT_FORWARD_WEBSOCKETS": use,
    }
    program = Path(sys.executable).parent / "kubectl"
    return await asyncio.create_subprocess_exec(program, "--server", client.base, *words, env=env, **pipes)


async def no_port(port: int) -> Connection:
    raise OSError(f"nobody listens on {port}")


BOTH = pytest.mark.parametrize("websockets", [True, False], ids=["websocket", "spdy"])
PIPES = {
    "stdin": asyncio.subprocess.PIPE,
    "stdout": asyncio.subprocess.PIPE,
    "stderr": asyncio.subprocess.PIPE,
}


@BOTH
async def test_kubectl_exec(tmp_path: Path, websockets: bool) -> None:
    data = bytes(range(256)) * 4000
    async with serving(api(no_port)) as client:
        words = ("exec", "-i", "web", "--", "cat; echo wrong >&2; exit 7")
        child = await start_kubectl(client, tmp_path, *words, websockets=websockets, **PIPES)
        async with asyncio.timeout(20):
            out, err = await child.communicate(data)
        assert out == data
        assert err.startswith(b"wrong\n")
        assert child.returncode == 7


@BOTH
async def test_kubectl_exec_with_a_terminal(tmp_path: Path, websockets: bool) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    async with serving(api(no_port)) as client:
        words = ("exec", "-it", "web", "--", "read size; echo size $size")
        ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        child = await start_kubectl(client, tmp_path, *words, websockets=websockets, **ends)
        os.close(theirs)
        async with asyncio.timeout(20):
            await child.wait()
        said = await asyncio.to_thread(os.read, ours, 4096)
        assert b"size 111x33" in said
    os.close(ours)


@BOTH
async def test_kubectl_port_forward(tmp_path: Path, websockets: bool) -> None:
    target = await asyncio.start_server(shout, "127.0.0.1", 0)

    async def dial(port: int) -> Connection:
        assert port == 80
        return Socket(*await asyncio.open_connection(*target.sockets[0].getsockname()))

    async with serving(api(dial)) as client:
        words = ("port-forward", "--address", "127.0.0.1", "pod/web", ":80")
        child = await start_kubectl(client, tmp_path, *words, websockets=websockets, **PIPES)
        try:
            async with asyncio.timeout(20):
                port = int((await child.stdout.readline()).split(b":")[1].split()[0])
                for n in range(3):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(b"hello %d" % n * 10_000)
                    writer.write_eof()
                    assert await reader.read() == b"HELLO %d" % n * 10_000
                    writer.close()
        finally:
            child.terminate()
            await child.wait()
    target.close()
