"""Files: replaced whole, so that nobody ever meets half of one; and read in a tree that others filled."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_IN_ROOT = 0x10


def write(
    path: Path,
    data: bytes | str,
    mode: int = 0o600,
    *,
    owner: tuple[int, int] | None = None,
    durable: bool = True,
    staged: Path | None = None,
) -> None:
    """Put a whole file in place of what was there, at once.

    `owner` is (uid, gid). `durable` waits until it would survive a power cut too; without, only until it would survive
    this process. It is written at `staged` first, on the same file system: by default a hidden name beside it that
    ends in `.new`. The directory must be there. Raises OSError, and then nothing has changed.
    """
    staged = staged or path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            os.fchmod(file.fileno(), mode)
            if owner:
                os.fchown(file.fileno(), *owner)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.rename(staged, path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    if durable:
        _sync(path.parent)


def _sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_inside(root: Path, path: str, limit: int = 1 << 20) -> str:
    """The beginning of a regular file at `path` as a process with the root `root` sees it; empty where there is none.

    No symbolic link leads out of `root`. Source: openat2(2).
    """
    import ctypes  # which costs a start-up that only writes

    from sampan.host import libc

    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = (ctypes.c_uint64 * 3)(os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
        fd = libc.library().syscall(_OPENAT2, top, os.fsencode(path), how, ctypes.sizeof(how))
    finally:
        os.close(top)
    if fd < 0:
        return ""
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        return file.read(limit).decode(errors="replace")
