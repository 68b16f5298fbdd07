"""What the engine remembers: a record for each sandbox and container, and the states they go through.

One JSON file each, replaced by rename. They are not fsynced: a container does not outlive the machine, and
whoever finds a file torn after a power cut removes what it names (recovery.py). States change only as the
tables say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson

from sampan.host import files

CREATING, CREATED, STARTING, RUNNING, EXITED = "creating", "created", "starting", "running", "exited"
READY, STOPPED, REMOVING = "ready", "stopped", "removing"

CONTAINER_STATES = {
    (CREATING, "prepared"): CREATED,
    (CREATED, "start"): STARTING,
    (STARTING, "started"): RUNNING,
    (STARTING, "ended"): EXITED,
    (RUNNING, "ended"): EXITED,
    (CREATING, "remove"): REMOVING,
    (CREATED, "remove"): REMOVING,
    (EXITED, "remove"): REMOVING,
    (REMOVING, "remove"): REMOVING,
}
SANDBOX_STATES = {
    (CREATING, "attached"): READY,
    (CREATING, "stop"): STOPPED,
    (READY, "stop"): STOPPED,
    (STOPPED, "stop"): STOPPED,
    (STOPPED, "remove"): REMOVING,
    (REMOVING, "stop"): REMOVING,
    (REMOVING, "remove"): REMOVING,
}


class IllegalStep(Exception):
    """A record was asked to do what its state does not allow."""


@dataclass(slots=True)
class Sandbox:
    """A pod's sandbox. `config` is CRI's PodSandboxConfig in JSON; times are nanoseconds since the epoch."""

    id: str
    config: dict[str, Any]
    created: int
    handler: str = ""
    state: str = CREATING
    addresses: list[str] = field(default_factory=list)
    cgroup: str = ""
    pause: int = 0

    def step(self, event: str) -> None:
        """Raises IllegalStep."""
        self.state = _next(SANDBOX_STATES, "sandbox", self.id, self.state, event)


@dataclass(slots=True)
class Container:
    """A container. `config` is CRI's ContainerConfig in JSON; `image` is the image's id, `log` the log's path or empty.

    `status` is the exit status, `reason` and `message` say more for people and for the kubelet; `stop` is the
    signal that asks it to end. `resources` are CRI's LinuxContainerResources in JSON as last updated.
    """

    id: str
    sandbox: str
    config: dict[str, Any]
    image: str
    created: int
    state: str = CREATING
    started: int = 0
    finished: int = 0
    status: int = 0
    reason: str = ""
    message: str = ""
    cgroup: str = ""
    log: str = ""
    pid: int = 0
    stop: int = 15
    uid: int = 0
    gid: int = 0
    groups: list[int] = field(default_factory=list)
    resources: dict[str, Any] = field(default_factory=dict)

    def step(self, event: str) -> None:
        """Raises IllegalStep."""
        self.state = _next(CONTAINER_STATES, "container", self.id, self.state, event)


def _next(table: dict[tuple[str, str], str], kind: str, name: str, state: str, event: str) -> str:
    try:
        return table[state, event]
    except KeyError:
        raise IllegalStep(f"{kind} {name} is {state}: cannot {event}") from None


R = TypeVar("R", Sandbox, Container)


class Records(Generic[R]):
    """All records of one kind, in memory and in a directory."""

    def __init__(self, directory: Path, kind: type[R]):
        self._directory = directory
        self._kind: type[R] = kind
        self._all: dict[str, R] = {}

    def load(self) -> list[str]:
        """Read every record; the ids of those that are torn."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._all.clear()
        torn = []
        names = {f.name for f in fields(self._kind)}
        for path in self._directory.glob("*.json"):
            try:
                raw = orjson.loads(path.read_bytes())
                self._all[path.stem] = self._kind(**{k: v for k, v in raw.items() if k in names})
            except (ValueError, TypeError, AttributeError):
                torn.append(path.stem)
        for path in self._directory.glob("*.new"):
            path.unlink(missing_ok=True)
        return torn

    def save(self, record: R) -> None:
        """Write a record, which is one of all from now on. Raises OSError, such as for a full disk."""
        self._all[record.id] = record
        files.write(self._directory / f"{record.id}.json", orjson.dumps(record), durable=False)

    def advance(self, record: R, event: str) -> None:
        """Step and save, or neither. Raises IllegalStep, OSError."""
        before = record.state
        record.step(event)
        try:
            self.save(record)
        except OSError:
            record.state = before
            raise

    def note(self, record: R, event: str) -> None:
        """Step, and save if the disk takes it: for what is true already. Raises IllegalStep.

        Where it does not, the file keeps an earlier state, from which recovery comes to the same end.
        """
        record.step(event)
        with contextlib.suppress(OSError):
            self.save(record)

    def forget(self, name: str) -> None:
        """Remove a record; nothing happens when there is none."""
        (self._directory / f"{name}.json").unlink(missing_ok=True)
        self._all.pop(name, None)

    def get(self, name: str) -> R | None:
        """A record by its id, or by a unique beginning of it."""
        if found := self._all.get(name):
            return found
        fit = [r for n, r in self._all.items() if name and n.startswith(name)]
        return fit[0] if len(fit) == 1 else None

    def __iter__(self) -> Iterator[R]:
        return iter(list(self._all.values()))

    def __contains__(self, name: str) -> bool:
        return name in self._all
