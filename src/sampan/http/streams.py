"""The kubelet's streams, as clients of Kubernetes expect them: exec and attach with their channels,
port-forward.

A handler answers with `remote_command(request, wanted, run)` or `port_forward(request, dial)`; they choose
the protocol that the client offers and speak it. What runs behind sees one `Streams`, or one connection for
each forwarded port.

    async def exec_(request):
        async def run(streams: Streams) -> None:
            await relay(streams, await engine.exec(...))
        return remote_command(request, Wanted(stdin=True, stdout=True), run)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from sampan.http.messages import Connection


@dataclass(frozen=True, slots=True)
class Wanted:
    """The streams that a client asked for. With `tty` there is no stderr: all output is stdout."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class Size:
    """A terminal's size in characters."""

    width: int
    height: int


class Streams(Protocol):
    """The streams of one exec or attach, at the server's side.

    What was not wanted is at its end, or is dropped.
    """

    wanted: Wanted

    async def stdin(self) -> bytes:
        """The next bytes for the standard input; empty at its end, and once the client is gone."""

    async def stdout(self, data: bytes) -> None:
        """Send output; waits while the client is slow. Raises ConnectionError when it is gone."""

    async def stderr(self, data: bytes) -> None:
        """Send error output, in the same way."""

    def resizes(self) -> AsyncIterator[Size]:
        """The terminal's sizes as the client reports them; ends with the connection."""

    async def gone(self) -> None:
        """Return once the client is gone."""

    async def finish(self, code: int = 0, message: str = "") -> None:
        """Tell how it ended: exit status `code`, or with `message` that it could not be run.

        The first call counts.
        """


class Process(Protocol):
    """What `relay` joins to streams: the engine's processes are like this (`engine.seams.Process`)."""

    async def read(self) -> tuple[int, bytes] | None:
        """The next output and its stream (1 stdout, 2 stderr); None at the end."""

    async def write(self, data: bytes) -> None: ...

    async def close_stdin(self) -> None: ...

    async def resize(self, width: int, height: int) -> None: ...

    async def wait(self) -> int:
        """The exit status."""

    async def close(self) -> None: ...


# What runs behind an exec or attach; where it raises, the client gets the message as the reason of the
# failure.
Run = Callable[[Streams], Awaitable[None]]

# Connects to a port of a pod; raises OSError, or anything else whose message then reaches the client.
Dial = Callable[[int], Awaitable[Connection]]
