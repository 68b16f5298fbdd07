"""What the engine's callers and helpers agree on: processes with streams, and the pod network.

The kubelet reaches exec, attach and port-forward through `Streaming`, in process; elsewhere the same goes
through the streaming server's URLs. The pod network is whatever fulfils `Network`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
        """Send to the standard input;

        waits while the process does not read. Raises ConnectionError at its end.
        """

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


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the host that leads to a port of the sandbox; `protocol` is TCP, UDP or SCTP."""

    protocol: str
    host_port: int
    container_port: int
    host_address: str = ""


class Network(Protocol):
    """The pod network. Both calls are idempotent:

    attach finds what is there, detach takes away what remains.
    """

    async def attach(
        self, sandbox_id: str, netns: str, *, name: str, namespace: str, ports: Sequence[PortMapping] = ()
    ) -> list[str]:
        """Join the sandbox whose network namespace is at the path `netns`; the addresses it got, the primary
        first.
        """

    async def detach(self, sandbox_id: str, netns: str) -> None:
        """Leave the network. The namespace may be gone already."""

    async def known(self) -> set[str]:
        """The sandboxes that hold anything in the network, so that the engine can detach those it no longer
        has.
        """

    def problem(self) -> str:
        """Why the network is not ready, for the CRI condition NetworkReady; empty when it is."""
