"""Linux namespaces that live without a process, held by bind mounts of their files.

They are made in a thread of its own, which ends with them, so that nobody else notices the move. For network
namespaces alone, and for entering them, see `netns`. The calls block: use asyncio.to_thread around them.
Sources: namespaces(7), unshare(2), setns(2).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from sampan.host import libc, mounts

T = TypeVar("T")

FLAGS = {"net": 0x40000000, "ipc": 0x08000000, "uts": 0x04000000}


def make(pins: Mapping[str, Path], *, hostname: str = "", sysctls: Mapping[str, str] | None = None) -> None:
    """Make new namespaces and hold each at a path: `{"net": Path("/run/x/net"), "uts": ...}`.

    The loopback of a new network namespace is up. `hostname` needs "uts" among the pins. `sysctls` are set
    inside. Raises OSError.
    """

    def work() -> None:
        flags = 0
        for kind in pins:
            flags |= FLAGS[kind]
        libc.check(libc.library().unshare(flags), f"make namespaces ({', '.join(pins)})")
        if hostname and "uts" in pins:
            socket.sethostname(hostname)
        if "net" in pins:
            _loopback_up()
        for name, value in (sysctls or {}).items():
            Path("/proc/sys", name.replace(".", "/")).write_text(value)
        for kind, path in pins.items():
            hold(path, kind)

    in_thread(work)


def hold(path: Path, kind: str) -> None:
    """Hold the calling thread's namespace of a kind at `path`, so that it outlives whoever is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    mounts.mount(f"/proc/thread-self/ns/{kind}", path, flags=mounts.BIND)


def release(path: Path) -> None:
    """Let go of the namespace at `path`; it ends when its last process and socket do. Idempotent."""
    while mounts.unmount(path, lazy=True):
        pass  # a crash between two starts may have mounted twice
    path.unlink(missing_ok=True)


def held(path: Path) -> bool:
    """Whether a namespace is held at `path`: a file of nsfs stands there, not the plain file below it."""
    try:
        return os.stat(path).st_dev != os.stat(path.parent).st_dev
    except OSError:
        return False


def in_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread of its own, which ends with it, and so may leave its namespaces as it likes."""
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            result.append(function())
        except BaseException as e:
            failure.append(e)

    thread = threading.Thread(target=body, name="namespaces")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _loopback_up() -> None:
    """Set IFF_UP on `lo` with SIOCSIFFLAGS (netdevice(7)); the kernel then adds its addresses itself."""
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))
