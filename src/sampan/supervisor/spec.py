"""What the supervisor is told of a process, read from `processes.json` in the cluster's run directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Listen:
    """A socket that the supervisor binds in the process's network namespace, so that connections and datagrams wait
    while the process restarts.
    """

    address: str
    port: int
    protocol: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, slots=True)
class Spec:
    """One process. `netns` is a path, or empty for the host's; `uid` 0 keeps root.

    An unprivileged process runs in a mount namespace where `reach` (its program, its state) can be reached even below
    a directory that is closed to others, such as /root, and nothing else there can. `after` names a process
    that must have been ready once.
    """

    name: str
    argv: tuple[str, ...]
    log: str
    netns: str = ""
    uid: int = 0
    gid: int = 0
    reach: tuple[str, ...] = ()
    listen: tuple[Listen, ...] = ()
    after: str = ""
    environment: dict[str, str] = field(default_factory=dict)


def dump(specs: list[Spec]) -> str:
    return json.dumps([asdict(s) for s in specs], indent=1)


def load(path: Path) -> list[Spec]:
    return [
        Spec(
            **{
                **raw,
                "argv": tuple(raw["argv"]),
                "reach": tuple(raw["reach"]),
                "listen": tuple(Listen(**x) for x in raw["listen"]),
            }
        )
        for raw in json.loads(path.read_text())
    ]
