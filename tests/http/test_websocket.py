"""WebSocket frames by themselves, and over real connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.http import websocket
from sampan.http.client import HttpClient
from sampan.http.messages import Request, Response
from sampan.http.server import listen, serve
from sampan.http.websocket import Codec, Message, Opcode, WebSocket, WebSocketError


@given(
    messages=st.lists(
        st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), st.binary(max_size=300)), max_size=8
    ),
    client=st.booleans(),
    step=st.integers(1, 50),
)
def test_what_one_side_encodes_the_other_decodes(
    messages: list[tuple[Opcode, bytes]], client: bool, step: int
) -> None:
    sender, receiver = Codec(client=client), Codec(client=not client)
    sent = b"".join(sender.encode(opcode, data) for opcode, data in messages)
    got = [m for at in range(0, len(sent), step) for m in receiver.feed(sent[at : at + step])]
    assert got == [Message(opcode, data) for opcode, data in messages]


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_every_form_of_length(length: int) -> None:
    (message,) = Codec(client=False).feed(Codec(client=True).encode(Opcode.BINARY, bytes(length)))
    assert len(message.data) == length


def test_the_examples_of_rfc_6455_section_5_7() -> None:
    client, server = Codec(client=True), Codec(client=False)
    assert client.feed(bytes.fromhex("810548656c6c6f")) == [Message(Opcode.TEXT, b"Hello")]
    assert server.feed(bytes.fromhex("818537fa213d7f9f4d5158")) == [Message(Opcode.TEXT, b"Hello")]
    assert client.feed(bytes.fromhex("010348656c80026c6f")) == [Message(Opcode.TEXT, b"Hello")]
    assert client.feed(bytes.fromhex("890548656c6c6f")) == [Message(Opcode.PING, b"Hello")]
    # A control frame may come between the fragments of a message.
    interleaved = client.feed(bytes.fromhex("010348656c 8900 80026c6f".replace(" ", "")))
    assert interleaved == [Message(Opcode.PING, b""), Message(Opcode.TEXT, b"Hello")]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ("c100", 1002),  # a reserved bit
        ("8180aaaaaaaa", 1002),  # masked by a server
        ("8000", 1002),  # a continuation of nothing
        ("0100 0100", 1002),  # a message within a message
        ("0900", 1002),  # a fragmented ping
        ("8300", 1002),  # an unknown opcode
        ("827e0401", 1009),  # longer than the limit
        ("027e0400" + "00" * 1024 + "8001", 1009),  # longer than the limit in sum
    ],
)
def test_what_breaks_the_protocol(frames: str, code: int) -> None:
    with pytest.raises(WebSocketError) as error:
        Codec(client=True, limit=1024).feed(bytes.fromhex(frames.replace(" ", "")))
    assert error.value.code == code


@contextlib.asynccontextmanager
async def serving(
    run: Callable[[WebSocket], Awaitable[None]], protocol: str = ""
) -> AsyncIterator[HttpClient]:
    async def handler(request: Request) -> Response:
        return websocket.accept(request, protocol, run, limit=1 << 20)

    sock = listen("127.0.0.1", 0)
    server = await serve(handler, sockets=[sock])
    client = HttpClient(f"http://127.0.0.1:{sock.getsockname()[1]}")
    yield client
    await client.close()
    await server.close(grace=0)


async def echo(socket: WebSocket) -> None:
    while message := await socket.receive():
        await socket.send(message.data)


async def test_messages_over_a_connection_and_goodbye() -> None:
    ended = asyncio.Event()

    async def run(socket: WebSocket) -> None:
        await echo(socket)
        ended.set()

    async with serving(run, "p2") as client:
        socket, response = await websocket.connect(client, "/", protocols=["p1", "p2"])
        assert socket
        assert (response.status, socket.protocol) == (101, "p2")
        for data in (b"one", bytes(500_000), b""):
            await socket.send(data)
            message = await socket.receive()
            assert message
            assert message.data == data
        await socket.close()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_a_ping_is_answered_and_a_broken_frame_closes() -> None:
    async def rude(socket: WebSocket) -> None:
        with pytest.raises(WebSocketError):
            await socket.receive()

    async with serving(echo) as client:
        socket, _ = await websocket.connect(client, "/")
        assert socket
        await socket._send(Opcode.PING, b"are you there")
        await socket.send(b"x")
        assert await socket._fill()
        assert socket._messages[0] == Message(Opcode.PONG, b"are you there")
        await socket.close()
    async with serving(rude) as client:
        _, connection = await client.upgrade(
            "GET",
            "/",
            {"upgrade": "websocket", "sec-websocket-key": "eA==", "sec-websocket-version": "13"},
        )
        assert connection
        await connection.write(b"\xff\xff\xff")
        (close,) = Codec(client=True).feed(await connection.read())
        assert (close.opcode, close.close_code) == (Opcode.CLOSE, 1002)
        await connection.close()


async def test_a_request_that_is_no_handshake_is_refused() -> None:
    async with serving(echo) as client:
        response, connection = await client.upgrade("GET", "/", {"upgrade": "websocket"})
        assert (response.status, connection) == (400, None)
        await response.close()
