"""Directories for what must not reach the disk: secrets and tokens."""

from __future__ import annotations

import contextlib
from pathlib import Path

from sampan.host import mounts


def directory(path: Path) -> None:
    """Make `path` a small file system in memory, if it is not one already. Blocks.

    A process that may not mount (tests as an ordinary user) gets a directory for itself alone.
    """
    path.mkdir(parents=True, exist_ok=True)
    if not mounts.mounted(path):
        with contextlib.suppress(PermissionError):
            mounts.mount("tmpfs", path, "tmpfs", mounts.NOSUID | mounts.NODEV | mounts.NOEXEC, "size=64m")
