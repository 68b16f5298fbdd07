"""An HTTP/1.1 server on sockets that already listen. `connection` serves each client, `responses` sends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from sampan.http.connection import ServerConnection, Service, Timeouts
from sampan.http.messages import Handler

__all__ = ["Server", "Timeouts", "listen", "listen_unix", "serve"]


def listen(address: str, port: int, *, share: bool = False) -> socket.socket:
    """A TCP socket that listens on an IPv4 or IPv6 address; port 0 takes any.

    With `share` other processes may listen there too, and the kernel spreads connections among them.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
        sock.listen(1024)
    except OSError as e:
        sock.close()
        raise OSError(e.errno, f"cannot listen on {address} port {port}: {e.strerror}") from e
    sock.setblocking(False)
    return sock


def listen_unix(path: str | os.PathLike[str], mode: int = 0o600) -> socket.socket:
    """A unix socket that listens at `path` with file mode `mode`, in place of one left by a dead process."""
    name = os.fspath(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    staged = f"{name}.{os.getpid()}"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged)
        sock.bind(staged)
        os.chmod(staged, mode)
        sock.listen(1024)
        os.rename(staged, name)
    except OSError as e:
        sock.close()
        raise OSError(e.errno, f"cannot listen on {name}: {e.strerror}") from e
    sock.setblocking(False)
    return sock


async def serve(
    handler: Handler,
    *,
    sockets: Sequence[socket.socket],
    tls: ssl.SSLContext | None = None,
    limit: int = 16 << 20,
    timeouts: Timeouts | None = None,
) -> Server:
    """Serve on `sockets`. `limit` bounds what `Request.body` reads, in bytes.

    With `tls`, a client certificate that the context has verified is in `request.peer.certificate`.
    """
    server = Server(Service(handler, limit, timeouts or Timeouts()))
    await server.start(sockets, tls)
    return server


class Server:
    """A running server; `close` ends it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._servers: list[asyncio.AbstractServer] = []

    @property
    def connections(self) -> set[ServerConnection]:
        return self._service.connections

    async def start(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        handshake = self._service.timeouts.head if tls else None
        for sock in sockets:
            create: Any = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
            made = await create(
                lambda: ServerConnection(self._service),
                sock=sock,
                ssl=tls,
                backlog=1024,
                ssl_handshake_timeout=handshake,
            )
            self._servers.append(made)

    async def close(self, grace: float = 5.0) -> None:
        """Stop listening, let requests in progress end for `grace` seconds, then cancel what is left."""
        self._service.closing = True
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.emptied()
        tasks = [c.task for c in self.connections if c.task]
        for connection in list(self.connections):
            connection.transport.abort()
        # An upgraded connection's handler sees its end; whoever does not is cancelled.
        if tasks:
            _, stubborn = await asyncio.wait(tasks, timeout=1.0)
            for task in stubborn:
                task.cancel()
            await asyncio.gather(*stubborn, return_exceptions=True)

    async def emptied(self) -> None:
        """Wait until no connection is left."""
        while self.connections:
            self._service.changed.clear()
            await self._service.changed.wait()
