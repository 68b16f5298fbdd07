"""Network namespaces: make one, enter it for a moment, run a program in it.

A namespace is named by the path that holds it (`namespaces.hold`), such as /run/sampan/x/netns/1, or /proc/PID/ns/net.
Entering changes the calling thread alone, so `entered` must not span an await. Sockets made inside belong to the
namespace for good, which is how DNS servers and port-forwards get theirs. All of it needs root.

Source: network_namespaces(7), setns(2).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.host import libc, namespaces

_NEWNET = namespaces.FLAGS["net"]


def create(path: Path) -> None:
    """Make a network namespace and hold it at `path`, with its loopback still down.

    Idempotent: a namespace that is already held there is kept.
    """
    if namespaces.held(path):
        return

    def work() -> None:
        libc.check(libc.library().unshare(_NEWNET), "make a network namespace")
        namespaces.hold(path, "net")

    namespaces.in_thread(work)


@contextmanager
def entered(path: Path | str | None) -> Iterator[None]:
    """Run a block in a network namespace; None stays where the caller is. Without awaits: the thread has moved."""
    if path is None:
        yield
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(path)
        try:
            yield
        finally:
            libc.check(libc.library().setns(home, _NEWNET), "return to the own network namespace")
    finally:
        os.close(home)


def enter(path: Path | str) -> None:
    """Move the calling thread into a namespace for good; for a child just before it starts its program."""
    target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.check(libc.library().setns(target, _NEWNET), f"enter the network namespace at {path}")
    finally:
        os.close(target)


def command(
    path: Path | None, argv: list[str], input: bytes = b"", timeout: float = 30.0
) -> subprocess.CompletedProcess[bytes]:
    """Run a program inside a namespace to its end; blocks, so call it in a thread. Raises OSError, TimeoutExpired."""
    with entered(path):
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with child:
        try:
            out, err = child.communicate(input, timeout=timeout)
        except BaseException:
            child.kill()
            raise
    return subprocess.CompletedProcess(argv, child.returncode, out, err)


def write_sysctls(values: dict[str, str]) -> None:
    """Set kernel parameters of the current network namespace, named as sysctl(8) does but with slashes."""
    for name, value in values.items():
        file = Path("/proc/sys", name)
        if file.read_text().strip() != value:
            file.write_text(value)
