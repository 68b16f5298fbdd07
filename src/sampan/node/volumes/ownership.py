"""Handing a volume to the pod's fsGroup. Source: the API reference of PodSecurityContext.fsGroup."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def give(path: Path, group: int, policy: str = "Always") -> None:
    """Everything below `path` belongs to `group` and is writable by it, and what is made there later too.

    With the policy OnRootMismatch nothing is done where the top is right already. Blocks; raises OSError.
    """
    top = path.stat()
    if policy == "OnRootMismatch" and top.st_gid == group and top.st_mode & 0o2070 == 0o2070:
        return
    for base, directories, files in os.walk(path):
        for name in (*directories, *files):
            _give(os.path.join(base, name), group)
    # The top comes last, since it tells that all of it was done.
    _give(str(path), group)


def _give(path: str, group: int) -> None:
    found = os.lstat(path)
    os.lchown(path, -1, group)
    if stat.S_ISLNK(found.st_mode):
        return
    more = 0o2070 if stat.S_ISDIR(found.st_mode) else 0o060 | (0o010 if found.st_mode & 0o100 else 0)
    os.chmod(path, stat.S_IMODE(found.st_mode) | more)
