"""What the runtime says about one pod: plain values that decisions and statuses are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sampan.machinery.cri import messages
from sampan.node import names

State = Literal["created", "running", "exited", "unknown"]


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the runtime. Times are seconds since the epoch, 0 where there is none yet."""

    id: str
    name: str
    attempt: int
    state: State
    sandbox: str = ""
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_ref: str = ""
    hash: str = ""
    log_path: str = ""
    user: tuple[int, int, tuple[int, ...]] | None = None
    # CPU shares, CPU quota and memory limit in bytes, as they are in effect; None where the runtime does not say.
    resources: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod sandbox; `ips` is empty on the host's network."""

    id: str
    attempt: int
    ready: bool
    ips: tuple[str, ...] = ()
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Observed:
    """One pod's sandboxes and containers, each newest first."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest sandbox, if it is ready."""
        return self.sandboxes[0] if self.sandboxes and self.sandboxes[0].ready else None

    def of(self, name: str) -> list[Container]:
        """The containers of that name, newest first."""
        return [c for c in self.containers if c.name == name]

    def latest(self, name: str, sandbox: str | None = None) -> Container | None:
        """The newest container of that name; with `sandbox`, only of that sandbox."""
        for c in self.containers:
            if c.name == name and (sandbox is None or c.sandbox == sandbox):
                return c
        return None

    @property
    def attempts(self) -> dict[str, int]:
        """The highest attempt of each container name."""
        found: dict[str, int] = {}
        for c in self.containers:
            found[c.name] = max(found.get(c.name, 0), c.attempt)
        return found


def container(status: Any, sandbox: str) -> Container:
    """From a CRI ContainerStatus."""
    linux = status.user.linux if status.HasField("user") else None
    held = status.resources.linux if status.HasField("resources") else None
    return Container(
        id=status.id,
        name=status.labels.get(names.CONTAINER_NAME) or status.metadata.name,
        attempt=_attempt(status),
        state=_STATES[status.state],
        sandbox=sandbox,
        created=status.created_at / 1e9,
        started=status.started_at / 1e9,
        finished=status.finished_at / 1e9,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        image=status.image.user_specified_image or status.image.image,
        image_ref=status.image_ref or status.image_id,
        hash=status.annotations.get(names.HASH, ""),
        log_path=status.log_path,
        user=(linux.uid, linux.gid, tuple(linux.supplemental_groups)) if linux else None,
        resources=(held.cpu_shares, held.cpu_quota, held.memory_limit_in_bytes) if held else None,
    )


def _attempt(status: Any) -> int:
    text = status.annotations.get(names.RESTARTS, "")
    return int(text) if text.isdigit() else int(status.metadata.attempt)


def sandbox(status: Any) -> Sandbox:
    """From a CRI PodSandboxStatus."""
    ips = [status.network.ip, *(extra.ip for extra in status.network.additional_ips)]
    return Sandbox(
        id=status.id,
        attempt=status.metadata.attempt,
        ready=status.state == messages.SANDBOX_READY,
        ips=tuple(ip for ip in ips if ip),
        created=status.created_at / 1e9,
    )


def observed(sandboxes: Iterable[Sandbox], containers: Iterable[Container]) -> Observed:
    return Observed(
        tuple(sorted(sandboxes, key=lambda s: (s.attempt, s.created), reverse=True)),
        tuple(sorted(containers, key=lambda c: (c.created, c.attempt), reverse=True)),
    )


_STATES: dict[int, State] = {0: "created", 1: "running", 2: "exited", 3: "unknown"}
