"""CRI over gRPC on a unix socket, for kubelets and crictl.

Until somebody connects this is a socket and nothing more: grpclib takes 50 ms and some megabytes, and our own
kubelet calls the engine in process. Then grpclib's server takes the socket over, and answers from the table
of methods.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.machinery.cri import CriError, Method, methods

if TYPE_CHECKING:
    from sampan.engine.engine import Engine

EVENTS = "GetContainerEvents"
NO_DEADLINE = 24 * 3600.0


class CriServer:
    """Serves the calls of one engine on a socket that listens already."""

    def __init__(self, engine: Engine, listening: socket.socket):
        self._engine, self._listening = engine, listening

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._first_connection()
        from grpclib.server import Server

        server = Server([self])
        await server.start(sock=self._listening)
        try:
            await server.wait_closed()
        finally:
            server.close()

    async def _first_connection(self) -> None:
        loop = asyncio.get_running_loop()
        somebody = asyncio.Event()
        loop.add_reader(self._listening, somebody.set)
        try:
            await somebody.wait()
        finally:
            loop.remove_reader(self._listening)

    def __mapping__(self) -> dict[str, Any]:
        """What grpclib asks of a service: a handler for each path."""
        from grpclib.const import Cardinality, Handler

        found = {}
        for method in methods().values():
            kind = Cardinality.UNARY_STREAM if method.stream else Cardinality.UNARY_UNARY
            found[method.path] = Handler(self._handler(method), kind, method.request, method.response)
        return found

    def _handler(self, method: Method) -> Callable[[Any], Awaitable[None]]:
        async def handle(stream: Any) -> None:
            from grpclib.const import Status
            from grpclib.exceptions import GRPCError

            request = await stream.recv_message()
            try:
                if method.name == EVENTS:
                    await self._events(stream)
                else:
                    left = stream.deadline.time_remaining() if stream.deadline else NO_DEADLINE
                    await stream.send_message(await self._engine.call(method.name, request, timeout=left))
            except CriError as e:
                raise GRPCError(Status[e.code], str(e)) from e

        return handle

    async def _events(self, stream: Any) -> None:
        async with contextlib.aclosing(self._engine.events()) as events:
            async for event in events:
                await stream.send_message(event)


async def serve(engine: Engine, path: Path) -> None:
    """Serve CRI on the socket at `path` until cancelled. Raises OSError."""
    from sampan.http.server import listen_unix

    path.parent.mkdir(parents=True, exist_ok=True)
    await CriServer(engine, listen_unix(path)).run()
