"""One command at a time starts, stops or erases a cluster: the others wait for it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.network.addresses import LEASES

DEADLINE = 90.0


class Busy(Exception):
    """Another command is at work on the cluster, and does not come to an end."""


@contextmanager
def held(name: str, *, directory: Path = LEASES, deadline: float = DEADLINE) -> Iterator[None]:
    """Hold the lock of the cluster `name`, for the block; whoever is killed lets go of it. Raises Busy."""
    path = directory / f"{name}.lock"
    directory.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + deadline
    while (fd := _take(path)) is None:
        if time.monotonic() > until:
            raise Busy(
                f"another sampan command is at work on cluster {name!r}, and has been for {deadline:g} s"
            )
        time.sleep(0.02)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is ours; whoever waits makes a new one
        os.close(fd)


def _take(path: Path) -> int | None:
    """The lock, or None while somebody else has it, or has just removed its file."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == os.stat(path).st_ino:
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None
