"""Linux namespaces that live without a process: made, kept by a bind mount of their file, and entered.

A namespace belongs to a thread, so each piece of work here runs in a short-lived thread of its own, which is
never used again: were it not to find its way back, nobody else would notice. The calls block; use
asyncio.to_thread around them. Sources: namespaces(7), unshare(2), setns(2).
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from sampan.host import mounts

FLAGS = {"net": 0x40000000, "ipc": 0x08000000, "uts": 0x04000000}

T = TypeVar("T")


def make(pins: Mapping[str, Path], *, hostname: str = "", sysctls: Mapping[str, str] | None = None) -> None:
    """Make new namespaces and keep each at a path: `{"net": Path("/run/x/net"), "uts": ...}`.

    The loopback of a new network namespace is up. `hostname` needs "uts" among the pins. `sysctls` are set
    inside. Raises OSError.
    """

    def work() -> None:
        flags = 0
        for kind in pins:
            flags |= FLAGS[kind]
        _check(mounts.libc().unshare(flags), "unshare")
        if hostname and "uts" in pins:
            socket.sethostname(hostname)
        if "net" in pins:
            _loopback_up()
        for name, value in (sysctls or {}).items():
            Path("/proc/sys", name.replace(".", "/")).write_text(value)
        for kind, path in pins.items():
            path.touch()
            mounts.mount(f"/proc/self/task/{threading.get_native_id()}/ns/{kind}", path, flags=mounts.BIND)

    _in_thread(work)


def unmake(path: Path) -> None:
    """Let go of a namespace kept at `path`; nothing happens where there is none."""
    mounts.unmount(path, lazy=True)
    path.unlink(missing_ok=True)


def kept(path: Path) -> bool:
    """Whether a namespace is mounted at `path` (its file lies on nsfs)."""
    try:
        return os.stat(path).st_dev != os.stat(path.parent).st_dev
    except OSError:
        return False


def inside(net: str | Path, work: Callable[[], T]) -> T:
    """Run `work` in a thread that has entered the network namespace kept at `net`."""

    def entered() -> T:
        fd = os.open(net, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(mounts.libc().setns(fd, FLAGS["net"]), f"setns {net}")
        finally:
            os.close(fd)
        return work()

    return _in_thread(entered)


def tcp_socket(net: str | Path, family: int = socket.AF_INET) -> socket.socket:
    """A TCP socket that belongs to the network namespace; it can be used from anywhere."""
    return inside(
        net, lambda: socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    )


def _in_thread(work: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _loopback_up() -> None:
    """Set IFF_UP on `lo` with SIOCSIFFLAGS (netdevice(7)); the kernel then adds its addresses itself."""
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
