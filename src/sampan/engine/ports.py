"""Connections into a sandbox's network namespace, for port-forward."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from sampan.host import namespaces, netns

ADDRESSES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
TIMEOUT = 10.0


class TcpConnection:
    """Fulfils seams.Connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(65536)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def dial(net: Path | None, port: int) -> TcpConnection:
    """Connect to a port on the loopback of a network namespace, our own for None. Raises OSError."""
    last: OSError | None = None
    for family, address in ADDRESSES:
        made = await asyncio.to_thread(namespaces.in_thread, lambda family=family: _socket(net, family))
        try:
            async with asyncio.timeout(TIMEOUT):
                await asyncio.get_running_loop().sock_connect(made, (address, port))
                return TcpConnection(*await asyncio.open_connection(sock=made))
        except OSError as e:  # TimeoutError is one
            made.close()
            last = last or e
    raise last or OSError("no address")


def _socket(net: Path | None, family: int) -> socket.socket:
    with netns.entered(net):
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    made.setblocking(False)
    return made
