"""The streaming server: CRI's Exec, Attach and PortForward answer with a URL here, good for one use within a minute.

It listens on a loopback port from the first such call on. The kubelet of this project does not need it: it
has the same streams in process (seams.Streaming). Source: CRI's api.proto; the URL's path as other runtimes
make it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any

from sampan.engine.seams import Connection, Process
from sampan.machinery.cri import CriError

if TYPE_CHECKING:
    from sampan.engine.seams import Streaming
    from sampan.http.messages import Request, Response
    from sampan.http.streams import Streams

LIFETIME = 60.0
MOST = 1000


class StreamingServer:
    """Turns requests into URLs, and what connects to these into streams of `engine`."""

    def __init__(self, engine: Streaming):
        self._engine = engine
        self._tokens: dict[str, tuple[float, str, Any]] = {}
        self._server: Any = None
        self._port = 0
        self._starting = asyncio.Lock()

    async def url(self, kind: str, request: Any) -> str:
        """A URL for an ExecRequest, AttachRequest or PortForwardRequest.

        Raises CriError when too many wait.
        """
        now = time.monotonic()
        self._tokens = {t: waiting for t, waiting in self._tokens.items() if waiting[0] > now}
        if len(self._tokens) >= MOST:
            raise CriError("RESOURCE_EXHAUSTED", "maximum number of in-flight requests exceeded")
        async with self._starting:
            if not self._server:
                await self._start()
        token = secrets.token_urlsafe(16)
        self._tokens[token] = (now + LIFETIME, kind, request)
        return f"http://127.0.0.1:{self._port}/{kind}/{token}"

    async def _start(self) -> None:
        from sampan.http import server

        listening = server.listen("127.0.0.1", 0)
        self._port = listening.getsockname()[1]
        self._server = await server.serve(self._handle, sockets=[listening])

    async def close(self) -> None:
        if self._server:
            await self._server.close(0)
            self._server = None

    async def _handle(self, request: Request) -> Response:
        from sampan.http import streams
        from sampan.http.messages import Response

        kind, _, token = request.path.strip("/").partition("/")
        until, wanted_kind, wanted = self._tokens.pop(token, (0.0, "", None))
        if kind != wanted_kind or until < time.monotonic():
            return Response(404, b"the URL is not known, or has been used or has expired\n")
        if kind == "portforward":
            return streams.port_forward(request, lambda port: self._dial(wanted, port))
        given = streams.Wanted(stdin=wanted.stdin, stdout=wanted.stdout, stderr=wanted.stderr, tty=wanted.tty)
        return streams.remote_command(request, given, lambda found: self._run(kind, wanted, found))

    async def _dial(self, wanted: Any, port: int) -> Connection:
        if wanted.port and port not in wanted.port:
            raise CriError("INVALID_ARGUMENT", f"port {port} was not asked for")
        return await self._engine.port_forward(wanted.pod_sandbox_id, port)

    async def _run(self, kind: str, wanted: Any, found: Streams) -> None:
        from sampan.http import streams

        process: Process
        if kind == "attach":
            process = await self._engine.attach(wanted.container_id)
        else:
            process = await self._engine.exec(
                wanted.container_id, list(wanted.cmd), tty=wanted.tty, stdin=wanted.stdin
            )
        await streams.relay(found, process)
