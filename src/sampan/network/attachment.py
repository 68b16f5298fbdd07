"""What the engine asks of a pod network: attach a sandbox, detach it, clean up after a crash. CNI's semantics.

Two implementations: `pods.PodNetwork`, ours, in process; `cni.CniNetwork`, which runs other people's plugins.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class NetworkError(Exception):
    """A sandbox could not be attached or detached; the message says which, what failed and what may help."""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the node that leads to one of the pod. `protocol` is TCP, UDP or SCTP; no `host_ip` means any."""

    container_port: int
    host_port: int
    protocol: str = "TCP"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Limits in bits per second, as seen from the pod; 0 is none."""

    ingress: int = 0
    egress: int = 0


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a sandbox got: its addresses (the first is the pod's IP), and its interface inside and on the node."""

    addresses: tuple[str, ...]
    gateway: str = ""
    mtu: int = 0
    interface: str = "eth0"
    host_interface: str = ""
    mac: str = ""


class Network(Protocol):
    """Attach and detach sandboxes. All calls are idempotent, also across crashes of the caller."""

    async def start(self) -> None:
        """Make ready what the first attach needs. Raises NetworkError where the machine lacks something."""

    async def attach(
        self,
        sandbox_id: str,
        netns: Path,
        *,
        namespace: str = "",
        name: str = "",
        uid: str = "",
        port_mappings: Sequence[PortMapping] = (),
        bandwidth: Bandwidth | None = None,
    ) -> Attachment:
        """Connect the network namespace at `netns`; on failure nothing is left of the attempt."""

    async def detach(self, sandbox_id: str, netns: Path | None = None) -> None:
        """Take back everything that the sandbox was given, whether or not its namespace still exists."""

    async def recover(self, known: Collection[str]) -> None:
        """Detach every sandbox but the known ones: those whose owner was killed half-way."""

    def problem(self) -> str:
        """Why the network is not ready, in words for a node condition; empty when it is."""
