"""What the engine and its callers agree on: processes with streams.

The kubelet reaches exec, attach and port-forward through `Streaming`, in process; elsewhere the same goes
through the streaming server's URLs. The pod network is whatever fulfils `network.attachment.Network`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

STDOUT = 1
STDERR = 2


class Process(Protocol):
    """The streams of a process in a container: one that exec started, or the container's own (attach).

    With a terminal all output is STDOUT. A slow reader slows the process down; one that stops reading for
    five seconds loses the stream, as the end of output.
    """

    async def read(self) -> tuple[int, bytes] | None:
        """The next piece of output and its stream, STDOUT or STDERR; None at the end."""

    async def write(self, data: bytes) -> None:
        """Send to the standard input; waits while the process does not read. Raises ConnectionError at its end."""

    async def close_stdin(self) -> None: ...

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters; without a terminal nothing happens."""

    async def signal(self, number: int) -> None:
        """Send a signal to the process; nothing happens once it has ended."""

    async def wait(self) -> int:
        """The exit status, 128 + the signal that ended it; 137 where it was lost."""

    async def close(self) -> None:
        """Let go of the streams; the process itself runs on."""


class Streaming(Protocol):
    """The in-process seam for exec, attach and port-forward. All raise machinery.cri.CriError."""

    async def exec(
        self, container_id: str, argv: Sequence[str], *, tty: bool = False, stdin: bool = False
    ) -> Process:
        """Start a program in a running container, as its user, in its working directory and environment."""

    async def attach(self, container_id: str) -> Process:
        """The container's own streams, from now on.

        Its input is open only if the container was made with stdin.
        """

    async def port_forward(self, sandbox_id: str, port: int) -> Connection:
        """A TCP connection to the port on the sandbox's loopback (IPv4, then IPv6)."""


class Connection(Protocol):
    """A raw connection, as in http.messages.Connection."""

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def end(self) -> None: ...
    async def close(self) -> None: ...
