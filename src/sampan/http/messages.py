"""What an HTTP handler gets and gives.

A handler is `async def handler(request: Request) -> Response`. The server has parsed the head; a body is read
whole with `await request.body()` (limited in size) or piecewise with `request.chunks()`. A `Response` carries
bytes, an async iterator of bytes (sent chunked as they come), a `Push` (chunks too, written at once by whoever
has them), a `File` (sent with sendfile), or an `Upgrade` that takes the connection over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl


class Connection(Protocol):
    """A raw connection after an upgrade: bytes both ways."""

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Send; waits while the peer is slow. Raises ConnectionError when it is gone."""

    async def end(self) -> None:
        """Close the sending side, where the transport can."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class File:
    """A file to send from `offset`, `length` bytes (None: to its end)."""

    path: Path
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Answer 101 with the response's headers, then hand the connection to `run`; it is closed when that returns."""

    run: Callable[[Connection], Awaitable[None]]


class Sink(Protocol):
    """The body of a response while it is being made: many may be written to in one callback, none waits."""

    def write(self, data: bytes) -> None:
        """Send a piece at once; what the kernel does not take is kept in memory. Of a lost connection, nothing."""

    @property
    def full(self) -> bool:
        """Whether the peer is slow: call `drain` before writing more."""

    async def drain(self) -> None:
        """Wait until the peer has taken enough. Raises ConnectionError when it is gone or takes nothing in time."""


@dataclass(frozen=True, slots=True)
class Push:
    """A body without an end of its own: `run` gets the sink, and the response ends when it returns."""

    run: Callable[[Sink], Awaitable[None]]


Body = bytes | AsyncIterator[bytes] | Push | File | Upgrade


@dataclass(slots=True)
class Response:
    status: int = 200
    body: Body = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def phrase(self) -> str:
        return HTTPStatus(self.status).phrase


@dataclass(slots=True)
class Peer:
    """Who is at the other end:

    Address, and the DER of the client certificate that TLS has verified, if any.
    """

    address: str
    certificate: bytes | None = None


class BodyTooLarge(Exception):
    """The request's body exceeds the server's limit; the server answers 413 where a handler lets it pass."""


class Request(Protocol):
    """Header names are lower case. `path` is percent-decoded, `target` is the request target as sent."""

    method: str
    path: str
    target: str
    query: str
    headers: dict[str, str]
    peer: Peer

    async def body(self) -> bytes:
        """The whole body. Raises BodyTooLarge."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, without a limit."""


Handler = Callable[[Request], Awaitable[Response]]


def query(text: str) -> dict[str, list[str]]:
    """The parameters of a query string, in order for each name, blank values kept."""
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return found
