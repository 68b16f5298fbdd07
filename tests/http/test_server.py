"""The server and the client against each other, and the server against hand-written bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.http.client import HttpClient
from sampan.http.messages import Connection, File, Handler, Request, Response, Upgrade
from sampan.http.server import Server, Timeouts, listen, listen_unix, serve


@contextlib.asynccontextmanager
async def running(
    handler: Handler, *, limit: int = 1 << 20, timeouts: Timeouts | None = None
) -> AsyncIterator[tuple[Server, HttpClient, int]]:
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    server = await serve(handler, sockets=[sock], limit=limit, timeouts=timeouts)
    client = HttpClient(f"http://127.0.0.1:{port}", timeout=10)
    try:
        yield server, client, port
    finally:
        await client.close()
        await server.close(grace=0)


async def talk(port: int, *sent: bytes, pause: float = 0.0) -> bytes:
    """What the server says to these bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in sent:
        writer.write(piece)
        await asyncio.sleep(pause)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def echo(request: Request) -> Response:
    body = await request.body()
    return Response(200, f"{request.method} {request.path} {request.query} ".encode() + body)


async def test_a_request_and_its_response() -> None:
    async with running(echo) as (_, client, _):
        response = await client.request("POST", "/a%20b?x=1", body=b"hello")
        assert (response.status, await response.read()) == (200, b"POST /a b x=1 hello")
        assert response.headers["content-length"] == "19"


async def test_connections_are_kept_and_reused() -> None:
    async with running(echo) as (server, client, _):
        for n in range(5):
            async with await client.request("PUT", f"/{n}", body=b"x") as response:
                assert (await response.read()).startswith(b"PUT /%d" % n)
        assert len(server.connections) == 1
        many = await asyncio.gather(*(client.request("GET", "/") for _ in range(8)))
        for response in many:
            await response.read()
        assert len(server.connections) == 8


async def test_bodies_stream_both_ways() -> None:
    async def upper(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            async for chunk in request.chunks():
                yield chunk.upper()

        return Response(200, body())

    taken = asyncio.Queue[bytes]()

    async def sent() -> AsyncIterator[bytes]:
        while piece := await taken.get():
            yield piece

    async with running(upper) as (_, client, _):
        taken.put_nowait(b"one")
        response = await client.request("POST", "/", body=sent())
        assert response.headers["transfer-encoding"] == "chunked"
        chunks = response.chunks()
        assert await anext(chunks) == b"ONE"
        taken.put_nowait(b"two")
        assert await anext(chunks) == b"TWO"
        taken.put_nowait(b"")
        assert [c async for c in chunks] == []


async def test_a_large_body_both_ways() -> None:
    async def mirror(request: Request) -> Response:
        return Response(200, await request.body())

    body = bytes(range(256)) * 16384
    async with running(mirror, limit=len(body)) as (_, client, _):
        response = await client.request("POST", "/", body=body)
        assert await response.read() == body


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def slower_first(request: Request) -> Response:
        await asyncio.sleep(0.05 if request.path == "/0" else 0)
        return Response(200, request.path.encode())

    async with running(slower_first) as (_, _, port):
        requests = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(50)]
        requests.append(b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = await talk(port, b"".join(requests))
        bodies = [part.rpartition(b"\r\n\r\n")[2] for part in said.split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [b"/%d" % n for n in range(50)] + [b"/last"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 200 + b"\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\nabc", b"413"),
    ],
)
async def test_what_is_refused(sent: bytes, status: bytes) -> None:
    async with running(echo) as (_, _, port):
        said = await talk(port, sent)
        assert said.startswith(b"HTTP/1.1 " + status)
        assert said.count(b"\r\ndate: ") == 1


async def test_a_slow_head_and_a_slow_body_time_out() -> None:
    async with running(echo, timeouts=Timeouts(head=0.2, idle=0.2, body=0.2)) as (_, _, port):
        assert (await talk(port, b"GET / HT")).startswith(b"HTTP/1.1 408")
        said = await talk(port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
        assert said.startswith(b"HTTP/1.1 408")
        # An idle connection is closed without a word.
        assert (await talk(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).count(b"HTTP/1.1") == 1
        assert await talk(port) == b""


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    ended = asyncio.Event()

    async def flood(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(65536)
            finally:
                ended.set()

        return Response(200, body())

    async with running(flood, timeouts=Timeouts(write=0.3)) as (server, _, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(10):
            await ended.wait()
            await server.emptied()
        writer.close()


@pytest.mark.parametrize("begun", [False, True], ids=["before the response", "while it streams"])
async def test_a_handler_whose_client_goes_away_is_cancelled(begun: bool) -> None:
    waits, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        waits.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def handler(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            await wait()

        if not begun:
            await wait()
        return Response(200, body())

    async with running(handler) as (server, _, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(10):
            await waits.wait()
            writer.close()
            await cancelled.wait()
            await server.emptied()


async def test_a_failing_handler_is_a_500_and_a_failing_stream_breaks_off() -> None:
    async def handler(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            raise RuntimeError("midway")

        if request.path == "/":
            raise RuntimeError("at once")
        return Response(200, body())

    async with running(handler) as (_, client, _):
        response = await client.request("GET", "/")
        assert (response.status, await response.read()) == (500, b"internal server error\n")
        response = await client.request("GET", "/stream")
        with pytest.raises(ConnectionError):
            await response.read()


async def test_head_and_bodyless_responses_keep_the_connection() -> None:
    async def handler(request: Request) -> Response:
        return Response(
            204 if request.path == "/empty" else 200, b"" if request.path == "/empty" else b"body"
        )

    async with running(handler) as (server, client, _):
        response = await client.request("HEAD", "/")
        assert (await response.read(), response.headers["content-length"]) == (b"", "4")
        assert await (await client.request("GET", "/empty")).read() == b""
        assert await (await client.request("GET", "/")).read() == b"body"
        assert len(server.connections) == 1


async def test_expect_continue() -> None:
    async with running(echo) as (_, _, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 100")
        await reader.readline()
        writer.write(b"ok")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_http_1_0_closes_unless_asked() -> None:
    async with running(echo) as (_, _, port):
        said = await talk(port, b"GET /old HTTP/1.0\r\n\r\n")
        assert said.endswith(b"GET /old  ")
        assert b"chunked" not in said


@pytest.mark.parametrize(("offset", "length"), [(0, None), (5, 1_500_000), (3_999_990, None), (10, 0)])
async def test_a_file(tmp_path: Path, offset: int, length: int | None) -> None:
    path = tmp_path / "layer"
    content = bytes(range(250)) * 16000
    path.write_bytes(content)
    wanted = content[offset : None if length is None else offset + length]

    async def handler(request: Request) -> Response:
        return Response(200, File(path, offset, length))

    async with running(handler) as (server, client, _):
        for _ in range(2):
            response = await client.request("GET", "/")
            assert int(response.headers["content-length"]) == len(wanted)
            assert await response.read() == wanted
        assert len(server.connections) == 1


async def test_a_file_that_is_not_there_is_a_404(tmp_path: Path) -> None:
    async def handler(request: Request) -> Response:
        return Response(200, File(tmp_path / "none"))

    async with running(handler) as (_, client, _):
        assert (await client.request("GET", "/")).status == 404


async def test_an_upgrade_hands_over_the_connection() -> None:
    async def handler(request: Request) -> Response:
        async def run(connection: Connection) -> None:
            while data := await connection.read():
                await connection.write(data.upper())
            await connection.write(b"bye")

        return Response(101, Upgrade(run), {"upgrade": request.headers["upgrade"]})

    async with running(handler) as (_, client, port):
        response, connection = await client.upgrade("GET", "/", {"upgrade": "shout"})
        assert (response.status, response.headers["upgrade"]) == (101, "shout")
        assert connection
        await connection.write(b"hello")
        assert await connection.read() == b"HELLO"
        big = b"x" * (4 << 20)
        writing = asyncio.create_task(connection.write(big))
        got = 0
        while got < len(big):
            got += len(await connection.read())
        await writing
        await connection.end()
        assert await connection.read() == b"bye"
        assert await connection.read() == b""
        await connection.close()
        # Bytes sent together with the request belong to the upgraded connection.
        upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nearly"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(upgrade)
        assert (await reader.readuntil(b"EARLY")).startswith(b"HTTP/1.1 101")
        writer.close()


async def test_an_upgrade_that_is_not_taken_goes_on_as_http() -> None:
    async with running(echo) as (_, client, port):
        response, connection = await client.upgrade("GET", "/", {"upgrade": "h2c"})
        assert (response.status, connection) == (200, None)
        await response.close()
        said = await talk(
            port,
            b"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
            b"GET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        assert said.count(b"HTTP/1.1 200") == 2
        assert said.endswith(b"GET /2  ")


async def test_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    server = await serve(echo, sockets=[listen_unix(path, 0o660)])
    assert path.stat().st_mode & 0o777 == 0o660
    client = HttpClient(f"unix://{path}")
    assert await (await client.request("GET", "/x")).read() == b"GET /x  "
    await client.close()
    await server.close()


async def test_a_stale_pooled_connection_is_retried_once() -> None:
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    server = await serve(echo, sockets=[sock])
    client = HttpClient(f"http://127.0.0.1:{port}", timeout=10)
    await (await client.request("GET", "/")).read()
    for connection in server.connections:
        connection.transport.abort()
    # The client has not yet read that the connection is gone.
    assert await (await client.request("GET", "/again")).read() == b"GET /again  "
    await client.close()
    await server.close()


async def test_no_answer_is_a_connection_error() -> None:
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    sock.close()
    with pytest.raises(ConnectionError, match=f"cannot connect to http://127.0.0.1:{port}"):
        await HttpClient(f"http://127.0.0.1:{port}").request("GET", "/")


async def test_close_lets_requests_end_and_cancels_the_rest() -> None:
    begun = asyncio.Event()

    async def handler(request: Request) -> Response:
        begun.set()
        await asyncio.sleep(0.1 if request.path == "/short" else 60)
        return Response(200, b"done")

    async with running(handler) as (server, client, _):
        short = asyncio.create_task(client.request("GET", "/short"))
        await begun.wait()
        long = asyncio.create_task(client.request("GET", "/long"))
        await asyncio.sleep(0.02)
        await server.close(grace=0.5)
        response = await short
        assert (response.status, response.headers["connection"]) == (200, "close")
        with pytest.raises(ConnectionError):
            await long


async def test_headers_cannot_break_out_of_their_line() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, b"", {"x": "a\r\ny: b"})

    async with running(handler) as (_, client, _):
        with pytest.raises(ConnectionError):
            await client.request("GET", "/")
        with pytest.raises(ValueError, match="line break"):
            await client.request("GET", "/ HTTP/1.1\r\nx: y")
