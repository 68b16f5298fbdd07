"""hostPath: a path of the node itself. Source: the API reference of HostPathVolumeSource."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path

from sampan.node.volumes.place import Place

CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


async def set_up(place: Place) -> Path:
    """Raises VolumeError where the path is not of the sort that `type` asks for."""
    path = Path(place.source["path"])
    try:
        fault = await asyncio.to_thread(check, path, place.source.get("type") or "")
    except OSError as e:
        raise place.error(f"hostPath {path}: {e.strerror}") from e
    if fault:
        raise place.error(fault)
    return path


def check(path: Path, kind: str) -> str:
    """What is wrong with the path, or the empty string; makes it where the type says so. Raises OSError."""
    if kind == "DirectoryOrCreate" and not path.exists():
        path.mkdir(parents=True, mode=0o755)
    if kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    if not kind:
        # Without a type nothing is checked; a missing path becomes a directory, as container runtimes do.
        if not path.exists():
            path.mkdir(parents=True, mode=0o755)
        return ""
    known = CHECKS.get(kind)
    if known is None:
        return f"hostPath type check failed: {kind} is not a known type"
    if not path.exists() or not known[0](path.stat().st_mode):
        return f"hostPath type check failed: {path} is not {known[1]}"
    return ""
