"""Linux namespaces of a pod that live without a process: made together, and kept by bind mounts of their
files.

They are made in a thread of its own, which ends with them, so that nobody else notices the move. For network
namespaces alone, and for entering them, see `netns`. The calls block: use asyncio.to_thread around them.
Sources: namespaces(7), unshare(2), setns(2).
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

from sampan.host import mounts, netns

FLAGS = {"net": 0x40000000, "ipc": 0x08000000, "uts": 0x04000000}


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

    netns.in_thread(work)


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
