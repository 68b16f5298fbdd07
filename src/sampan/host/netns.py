"""Network namespaces: make one and hold it by a bind mount, enter it for a moment, delete it.

A namespace is named by the path that holds it, such as /run/sampan/x/netns/1, or /proc/PID/ns/net. Entering changes
the calling thread alone, so `entered` must not span an await. Sockets made inside belong to the namespace for good,
which is how DNS servers and port-forwards get theirs. All of it needs root.

Source: network_namespaces(7), setns(2).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MNT_DETACH = 2
_OWN = "/proc/thread-self/ns/net"


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(status: int, what: str) -> None:
    if status < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def create(path: Path) -> None:
    """Make a network namespace and hold it at `path`, with its loopback still down.

    Idempotent: a namespace that is already held there is kept.
    """
    if exists(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    in_thread(lambda: _create(path))


def _create(path: Path) -> None:
    _check(_libc().unshare(_CLONE_NEWNET), "cannot make a network namespace")
    hold(path)


def hold(path: Path, source: str = _OWN) -> None:
    """Hold a namespace, the calling thread's own unless told, at `path`, which outlives whoever is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    status = _libc().mount(source.encode(), bytes(path), b"none", _MS_BIND, None)
    _check(status, f"cannot hold a network namespace at {path}")


def exists(path: Path) -> bool:
    """Whether a namespace is held at `path`: a file of nsfs stands there, not the plain file below it."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except FileNotFoundError:
        return False


def delete(path: Path) -> None:
    """Let go of a namespace and remove the file. It ends when its last process and socket do. Idempotent."""
    while _libc().umount2(bytes(path), _MNT_DETACH) == 0:
        pass  # a crash between two starts may have mounted twice
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOENT):
        raise OSError(code, f"cannot release the network namespace at {path}: {os.strerror(code)}")
    path.unlink(missing_ok=True)


@contextmanager
def entered(path: Path | str | None) -> Iterator[None]:
    """Run a block in a network namespace; None stays where the caller is. Without awaits: the thread has moved."""
    if path is None:
        yield
        return
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(path)
        try:
            yield
        finally:
            _check(_libc().setns(home, _CLONE_NEWNET), "cannot return to the own network namespace")
    finally:
        os.close(home)


def enter(path: Path | str) -> None:
    """Move the calling thread into a namespace for good; for a child just before it starts its program."""
    target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc().setns(target, _CLONE_NEWNET), f"cannot enter the network namespace at {path}")
    finally:
        os.close(target)


def in_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread of its own, which ends with it, and so may leave the namespace as it likes."""
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            result.append(function())
        except BaseException as e:
            failure.append(e)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


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
