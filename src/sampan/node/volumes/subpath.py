"""Parts of volumes: a path within one, mounted without letting links lead out of it.

What a container can write it can also turn into a link, between our looking and the mount. So the path is
opened step by step without following links, and what was opened is what is mounted. Sources: the Kubernetes
advisory on CVE-2017-1002101, open(2), mount(2).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sampan.host import mounts

_DIRECTORY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class SubPathError(Exception):
    """The path leads out of the volume, or is changed while it is looked at."""


def mount(volume: Path, part: str, target: Path) -> Path:
    """Mount `volume/part` at `target`, for a runtime to mount from; a missing part becomes a directory. Blocks.

    Idempotent. Raises SubPathError, OSError.
    """
    if mounts.mounted(target):
        return target
    handle = _open(volume, _resolved(volume, part))
    try:
        source = f"/proc/self/fd/{handle}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(source):
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        mounts.bind(source, target)
    finally:
        os.close(handle)
    return target


def _resolved(volume: Path, part: str) -> list[str]:
    """The steps from the volume to the part, once links within the volume are followed."""
    top = Path(os.path.realpath(volume))
    found = Path(os.path.realpath(top / part))
    if ".." in Path(part).parts or Path(part).is_absolute() or not found.is_relative_to(top):
        raise SubPathError(f"subpath {part!r} not within volume path {volume}")
    return list(found.relative_to(top).parts)


def _open(volume: Path, steps: list[str]) -> int:
    """A handle on the last step; directories that are missing are made."""
    handle = os.open(os.path.realpath(volume), _DIRECTORY)
    for step in steps:
        try:
            inner = _step(handle, step)
        finally:
            os.close(handle)
        handle = inner
    return handle


def _step(handle: int, step: str) -> int:
    try:
        inner = os.open(step, _DIRECTORY, dir_fd=handle)
    except FileNotFoundError:
        os.mkdir(step, 0o750, dir_fd=handle)
        inner = os.open(step, _DIRECTORY, dir_fd=handle)
        os.chmod(f"/proc/self/fd/{inner}", 0o777 & ~0o022 | (os.fstat(handle).st_mode & 0o022))
        os.chown(f"/proc/self/fd/{inner}", os.fstat(handle).st_uid, os.fstat(handle).st_gid)
    if stat.S_ISLNK(os.fstat(inner).st_mode):
        os.close(inner)
        raise SubPathError(f"subpath step {step!r} became a symbolic link")
    return inner
