"""exec, attach and port-forward: joined to the engine in process, or handed through to a runtime's streaming server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sampan.http.messages import Connection, Request, Response, Upgrade, query
from sampan.machinery.cri import CriError, messages
from sampan.node import pods

if TYPE_CHECKING:
    from sampan.node.server.api import KubeletApi
    from sampan.node.worker import Worker


def wanted(request: Request, *, tty: bool | None = None) -> Any:
    """The streams that a request asks for, by the kubelet's names for them or the API server's."""
    from sampan.http.streams import Wanted

    given = {name: values[0].lower() in ("1", "true") for name, values in query(request.query).items()}
    terminal = given.get("tty", False) if tty is None else tty
    return Wanted(
        stdin=given.get("input", False) or given.get("stdin", False),
        stdout=given.get("output", False) or given.get("stdout", False),
        stderr=(given.get("error", False) or given.get("stderr", False)) and not terminal,
        tty=terminal,
    )


async def execute(api: KubeletApi, request: Request, id: str) -> Response:
    argv = query(request.query).get("command") or []
    streams = wanted(request)
    if api.streams is None:
        asked = messages.ExecRequest(
            container_id=id,
            cmd=argv,
            tty=streams.tty,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
        )
        return await through(api, request, "Exec", asked)
    from sampan.http.streams import Streams, relay, remote_command

    async def run(joined: Streams) -> None:
        await relay(joined, await api.streams.exec(id, argv, tty=streams.tty, stdin=streams.stdin))

    return remote_command(request, streams, run)


async def attach(api: KubeletApi, request: Request, worker: Worker, name: str, id: str) -> Response:
    container = pods.named(worker.pod, name) or {}
    streams = wanted(request, tty=bool(container.get("tty")))
    if api.streams is None:
        asked = messages.AttachRequest(
            container_id=id,
            tty=streams.tty,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
        )
        return await through(api, request, "Attach", asked)
    from sampan.http.streams import Streams, relay, remote_command

    async def run(joined: Streams) -> None:
        await relay(joined, await api.streams.attach(id))

    return remote_command(request, streams, run)


async def forward(api: KubeletApi, request: Request, sandbox: str) -> Response:
    if api.streams is None:
        ports = [int(p) for p in query(request.query).get("port") or () if p.isdigit()]
        return await through(
            api, request, "PortForward", messages.PortForwardRequest(pod_sandbox_id=sandbox, port=ports)
        )
    from sampan.http.streams import port_forward

    async def dial(port: int) -> Connection:
        found: Connection = await api.streams.port_forward(sandbox, port)
        return found

    return port_forward(request, dial)


async def through(api: KubeletApi, request: Request, method: str, asked: Any) -> Response:
    """Hand the connection through to the URL that the runtime gives for it."""
    from sampan.http.client import HttpClient
    from sampan.http.transport import splice
    from sampan.node.server.api import Refused

    try:
        url = urlsplit((await api.node.runtime.cri.call(method, asked)).url)
    except CriError as e:
        raise Refused(500, f"Internal error occurred: {e}") from e
    client = HttpClient(f"{url.scheme}://{url.netloc}")
    kept = (
        "upgrade",
        "connection",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-protocol",
        "x-stream-protocol-version",
    )
    headers = {name: request.headers[name] for name in kept if name in request.headers}
    target = f"{url.path}?{url.query}" if url.query else url.path
    answer, far = await client.upgrade(request.method, target, headers)
    if far is None:
        said = await answer.read()
        await client.close()
        return Response(answer.status, said, {"content-type": "text/plain"})

    async def run(near: Connection) -> None:
        try:
            await splice(near, far)
        finally:
            await client.close()

    back = {
        k: v for k, v in answer.headers.items() if k not in ("content-length", "date", "transfer-encoding")
    }
    return Response(101, Upgrade(run), back)
