"""The HTTP client against servers that behave badly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import pytest

from sampan.client.api import ApiError, Unavailable
from sampan.client.http import HttpApiClient, connect
from sampan.http import server as http
from sampan.http.messages import Request, Response

Handler = Callable[[Request], Awaitable[Response]]
Serve = Callable[[Handler], Awaitable[HttpApiClient]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves a handler, and gives a client of it."""
    servers: list[http.Server] = []
    clients: list[HttpApiClient] = []

    async def start(handler: Handler) -> HttpApiClient:
        sock = http.listen("127.0.0.1", 0)
        servers.append(await http.serve(handler, sockets=[sock]))
        clients.append(connect(f"http://127.0.0.1:{sock.getsockname()[1]}"))
        return clients[-1]

    yield start
    for client in clients:
        await client.close()
    for one in servers:
        await one.close(grace=0.1)


async def test_told_to_wait_it_comes_again(serve: Serve) -> None:
    answers = [Response(429, b"{}", {"retry-after": "0"}), Response(200, b'{"metadata":{}}')]

    async def handler(request: Request) -> Response:
        return answers.pop(0)

    client = await serve(handler)
    assert await client.get("configmaps", "a", "default") == {"metadata": {}}
    assert not answers


async def test_an_answer_that_is_no_status_is_told_as_it_is(serve: Serve) -> None:
    async def handler(request: Request) -> Response:
        return Response(502, b"<html>bad gateway</html>")

    client = await serve(handler)
    with pytest.raises(ApiError, match="bad gateway") as caught:
        await client.get("configmaps", "a", "default")
    assert caught.value.code == 502


async def test_no_server_is_unavailable() -> None:
    client = connect("http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="POST"):
        await client.create("configmaps", {"metadata": {"name": "a", "namespace": "default"}})
    await client.close()


async def test_lists_say_what_their_items_are(serve: Serve) -> None:
    """Upstream leaves apiVersion and kind out of the items."""

    async def handler(request: Request) -> Response:
        found = {
            "kind": "PodList",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": "7"},
            "items": [{"metadata": {}}],
        }
        return Response(200, orjson.dumps(found))

    listing = await (await serve(handler)).list("pods")
    assert listing.items == [{"metadata": {}, "apiVersion": "v1", "kind": "Pod"}]
    assert listing.revision == "7"


async def test_a_kind_that_is_not_built_in_is_discovered(serve: Serve) -> None:
    asked: list[str] = []

    async def handler(request: Request) -> Response:
        asked.append(request.target)
        if request.path == "/apis/example.com":
            return Response(200, b'{"preferredVersion":{"version":"v2"}}')
        if request.path == "/apis/example.com/v2":
            return Response(200, b'{"resources":[{"name":"boats","namespaced":true}]}')
        return Response(200, b'{"metadata":{}}')

    client = await serve(handler)
    await client.get("boats.example.com", "b", "default")
    await client.get("boats.example.com", "b", "default")
    assert asked[2:] == ["/apis/example.com/v2/namespaces/default/boats/b"] * 2


async def test_a_watch_that_is_cut_off_just_ends(serve: Serve) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n{"type":"ADD'
        raise ConnectionError("gone")

    async def handler(request: Request) -> Response:
        return Response(200, cut())

    client = await serve(handler)
    seen = [change.object["metadata"]["name"] async for change in client.watch("pods", since="1")]
    assert seen == ["a"]
