"""HTTP over TLS, and who the client says it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.host import pki
from sampan.host.pki import Pki, create_authority
from sampan.http.client import HttpClient
from sampan.http.messages import Connection, Request, Response, Upgrade
from sampan.http.server import listen, serve
from sampan.http.tls import client_context, server_context


async def whoami(request: Request) -> Response:
    async def run(connection: Connection) -> None:
        while data := await connection.read():
            await connection.write(data)

    async def streamed() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(10_000)

    if "upgrade" in request.headers:
        return Response(101, Upgrade(run), {"upgrade": "echo"})
    if request.path == "/stream":
        return Response(200, streamed())
    shown = request.peer.certificate
    return Response(200, pki.identity(shown).user.encode() if shown else b"anonymous")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Pki, str]]:
    made = Pki(tmp_path)
    sock = listen("127.0.0.1", 0)
    context = server_context(made.server("server", ["127.0.0.1"]), client_ca=made.ca)
    running = await serve(whoami, sockets=[sock], tls=context)
    yield made, f"https://127.0.0.1:{sock.getsockname()[1]}"
    await running.close(grace=0)


async def test_the_client_certificate_is_the_peer(server: tuple[Pki, str]) -> None:
    made, base = server
    alice = client_context(ca=made.ca, pair=made.client("alice", "alice"))
    for context, name in ((client_context(ca=made.ca), b"anonymous"), (alice, b"alice")):
        client = HttpClient(base, tls=context)
        assert await (await client.request("GET", "/")).read() == name
        assert len(await (await client.request("GET", "/stream")).read()) == 1_000_000
        await client.close()


async def test_an_unknown_authority_is_refused_on_either_side(
    server: tuple[Pki, str], tmp_path: Path
) -> None:
    made, base = server
    stranger = tmp_path / "stranger.pem"
    authority = create_authority("other")
    stranger.write_bytes(authority.client("mallory").pem)
    for context in (client_context(ca=made.ca, pair=stranger), client_context(ca=authority.pair.certificate)):
        client = HttpClient(base, tls=context)
        with pytest.raises(ConnectionError):
            await client.request("GET", "/")
        await client.close()


async def test_an_upgrade_over_tls(server: tuple[Pki, str]) -> None:
    made, base = server
    client = HttpClient(base, tls=client_context(ca=made.ca))
    _, connection = await client.upgrade("GET", "/", {"upgrade": "echo"})
    assert connection
    await connection.write(b"x" * 1_000_000)
    got = 0
    while got < 1_000_000:
        got += len(await connection.read())
    await connection.close()
    await client.close()
