"""emptyDir: a directory of the node's disk, or a file system in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sampan.host import mounts
from sampan.machinery import quantities
from sampan.node.volumes import ownership
from sampan.node.volumes.place import Place

KIND = "empty-dir"


async def set_up(place: Place) -> Path:
    await asyncio.to_thread(_set_up, place)
    return place.path


def _set_up(place: Place) -> None:
    fresh = not place.path.exists()
    place.path.mkdir(parents=True, exist_ok=True)
    if place.source.get("medium") == "Memory" and not mounts.mounted(place.path):
        limit = place.source.get("sizeLimit")
        size = f"size={quantities.parse(limit).value}" if limit else ""
        mounts.mount("tmpfs", place.path, "tmpfs", mounts.NOSUID | mounts.NODEV, size)
        fresh = True
    if fresh:
        place.path.chmod(0o777)
        if place.group is not None:
            ownership.give(place.path, place.group)
