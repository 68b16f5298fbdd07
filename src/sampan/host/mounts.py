"""Mounts by system call, without a child process, and what /proc says is mounted.

The calls block (briefly, or as long as the file system takes): call them in a thread. Sources: mount(2),
umount2(2), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sampan.host import libc

RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
REMOUNT, BIND, REC = 32, 4096, 16384
DETACH, NOFOLLOW = 2, 8


def mount(source: str | Path, target: str | Path, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError, naming the target."""
    words = (os.fsencode(source), os.fsencode(target), fstype.encode() or None)
    status = libc.library().mount(*words, ctypes.c_ulong(flags), data.encode() or None)
    libc.check(status, f"mount {os.fspath(target)}")


def bind(source: str | Path, target: str | Path, *, readonly: bool = False, recursive: bool = True) -> None:
    """Make `source` appear at `target`, which must exist and be of the same sort."""
    mount(source, target, flags=BIND | (REC if recursive else 0))
    if readonly:
        mount("none", target, flags=BIND | REMOUNT | RDONLY)


def unmount(target: str | Path, *, lazy: bool = False) -> bool:
    """Take away the topmost mount at `target`; False when there is none. Raises OSError: EBUSY, unless `lazy`."""
    if libc.library().umount2(os.fsencode(target), NOFOLLOW | (DETACH if lazy else 0)) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOENT):  # not mounted, or no such path
        return False
    raise libc.error(f"unmount {os.fspath(target)}")


def unmount_below(directory: str | Path) -> list[str]:
    """Take away every mount at or below a directory, the innermost first, in use or not; returns what was mounted."""
    found = [m.target for m in below(directory)]
    for target in reversed(found):
        unmount(target, lazy=True)
    return found


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo: what is mounted where, and the part of the file system that shows there."""

    target: str
    fstype: str
    source: str
    root: str
    options: str
    propagation: str


def parse(mountinfo: str) -> Iterator[Mount]:
    """The mounts that a mountinfo file lists, in the order they were made."""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        _, _, _, root, target, options, *optional = left.split(" ")
        fstype, source, _ = right.split(" ", 2)
        yield Mount(_plain(target), fstype, _plain(source), _plain(root), options, " ".join(optional))


def all() -> list[Mount]:
    """Every mount that this process sees."""
    return list(parse(Path("/proc/self/mountinfo").read_text(errors="surrogateescape")))


def below(directory: str | Path) -> list[Mount]:
    """The mounts at or below a directory, in the order they were made."""
    top = os.fspath(directory).rstrip("/")
    return [m for m in all() if m.target == top or m.target.startswith(top + "/")]


def mounted(target: str | Path) -> bool:
    """Whether something is mounted exactly there: then it lies on another mount than its directory.

    The whole of mountinfo would be long on a node with many pods.
    """
    path = os.fspath(target).rstrip("/")
    try:
        return _mount_of(path) != _mount_of(os.path.dirname(path) or "/")
    except FileNotFoundError:
        return False


def _mount_of(path: str) -> str:
    """The number of the mount that a path lies on (proc_pid_fdinfo(5))."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}") as info:
            return next(line for line in info if line.startswith("mnt_id:"))
    finally:
        os.close(fd)


def _plain(text: str) -> str:
    """The kernel writes blank, tab, newline and backslash as octal escapes."""
    if "\\" not in text:
        return text
    for escape, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escape, char)
    return text
