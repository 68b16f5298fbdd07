"""CRI over gRPC: the same calls as the engine in process, against containerd, CRI-O or any other runtime's socket.

grpclib takes 50 ms to import, so that happens on the first call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sampan.machinery.cri import CriError, methods

# gRPC status codes by number; grpc/grpc, doc/statuscodes.md.
CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


class GrpcCri:
    """Implements `machinery.cri.Cri` over the unix socket at `path`."""

    def __init__(self, path: Path):
        self._path = path
        self._open: Any = None

    def _channel(self) -> Any:
        if self._open is None:
            from grpclib.client import Channel

            self._open = Channel(path=str(self._path))
        return self._open

    async def call(self, method: str, request: Any, *, timeout: float = 120.0) -> Any:
        """Raises CriError."""
        from grpclib.client import UnaryUnaryMethod
        from grpclib.exceptions import GRPCError, StreamTerminatedError

        known = methods()[method]
        stub: Any = UnaryUnaryMethod(self._channel(), known.path, known.request, known.response)
        try:
            return await stub(request, timeout=timeout)
        except GRPCError as e:
            raise CriError(CODES[e.status.value], e.message or "") from e
        except TimeoutError as e:
            raise CriError("DEADLINE_EXCEEDED", f"{method} took longer than {timeout:g} s") from e
        except (OSError, StreamTerminatedError) as e:
            raise CriError("UNAVAILABLE", f"{self._path}: {e}") from e

    async def events(self) -> AsyncIterator[Any]:
        """Raises CriError when the runtime ends the stream."""
        from grpclib.client import UnaryStreamMethod
        from grpclib.exceptions import GRPCError, StreamTerminatedError

        known = methods()["GetContainerEvents"]
        stub: Any = UnaryStreamMethod(self._channel(), known.path, known.request, known.response)
        try:
            async with stub.open() as stream:
                await stream.send_message(known.request(), end=True)
                async for event in stream:
                    yield event
        except GRPCError as e:
            raise CriError(CODES[e.status.value], e.message or "") from e
        except (OSError, StreamTerminatedError, asyncio.IncompleteReadError) as e:
            raise CriError("UNAVAILABLE", f"{self._path}: {e}") from e

    async def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
