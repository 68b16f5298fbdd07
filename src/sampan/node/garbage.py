"""What piles up: images that nobody uses, logs that grow, leftovers of pods. (Workers tidy dead containers.)"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.machinery.cri import CriError, messages
from sampan.node.removing import remove

if TYPE_CHECKING:
    from sampan.node.kubelet import Kubelet

log = logging.getLogger(__name__)

IMAGES_EVERY = 300.0
LOGS_EVERY = 10.0
HIGH, LOW = 0.85, 0.80  # of the image file system: collect above HIGH, down to LOW
YOUNGEST = 120.0  # seconds that an image is kept in any case
# Our own engine turns logs over at 10 MiB by itself; this is for runtimes that leave it to the node.
LOG_SIZE = 12 << 20
LOG_FILES = 5


async def run(node: Kubelet) -> None:
    """Until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_images(node))
        group.create_task(_logs(node))


async def _images(node: Kubelet) -> None:
    while True:
        await asyncio.sleep(IMAGES_EVERY)
        try:
            await collect_images(node)
        except (CriError, OSError) as e:
            log.warning("collecting images: %s", e)


async def collect_images(node: Kubelet) -> int:
    """Remove unused images, those unused for longest first, where the disk is too full; how many bytes went."""
    info = await node.runtime.cri.call("ImageFsInfo", messages.ImageFsInfoRequest())
    if not info.image_filesystems:
        return 0
    disk = os.statvfs(info.image_filesystems[0].fs_id.mountpoint)
    size = disk.f_blocks * disk.f_frsize
    used = size - disk.f_bavail * disk.f_frsize
    if used < HIGH * size:
        return 0
    images = (await node.runtime.cri.call("ListImages", messages.ListImagesRequest())).images
    containers = (await node.runtime.cri.call("ListContainers", messages.ListContainersRequest())).containers
    busy = (
        {c.image_ref for c in containers}
        | {c.image_id for c in containers}
        | {c.image.image for c in containers}
    )
    freed = 0
    for image in victims(images, busy, node.context.images.used, int(used - LOW * size), time.time()):
        await node.runtime.cri.call(
            "RemoveImage", messages.RemoveImageRequest(image=messages.ImageSpec(image=image.id))
        )
        freed += image.size
        log.info("removed the image %s to free %d bytes", image.id, image.size)
    return freed


def victims(
    images: Iterable[Any], busy: set[str], used: Mapping[str, float], wanted: int, now: float
) -> list[Any]:
    """Which images (CRI Images) to remove to free `wanted` bytes."""
    found, total = [], 0
    for image in sorted(images, key=lambda i: used.get(i.id, 0.0)):
        names = {image.id, *image.repo_tags, *image.repo_digests}
        if total >= wanted:
            break
        if image.pinned or names & busy or now - used.get(image.id, 0.0) < YOUNGEST:
            continue
        found.append(image)
        total += image.size
    return found


async def _logs(node: Kubelet) -> None:
    """Turn over logs that have grown too large. Their sizes are only looked at where pods run."""
    while True:
        await asyncio.sleep(LOGS_EVERY)
        for worker in list(node.workers.values()):
            for c in worker.observed.containers:
                if c.state == "running" and c.log_path:
                    try:
                        await rotate(node, c.id, Path(c.log_path))
                    except (CriError, OSError) as e:
                        log.warning("rotating %s: %s", c.log_path, e)


async def rotate(node: Kubelet, id: str, path: Path) -> bool:
    """Move a log that is too large aside; the runtime opens a new one. Older ones are compressed, the oldest go."""
    if not path.exists() or path.stat().st_size < LOG_SIZE:
        return False
    aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}")
    path.rename(aside)
    try:
        await node.runtime.cri.call("ReopenContainerLog", messages.ReopenContainerLogRequest(container_id=id))
    except CriError:
        aside.rename(path)
        raise
    await asyncio.to_thread(_compress, path, aside)
    return True


def _compress(path: Path, newest: Path) -> None:
    """All but the newest rotated file are compressed, since a reader may still be in that one."""
    rotated = sorted(p for p in path.parent.glob(f"{path.name}.*") if not p.name.endswith(".tmp"))
    for old in rotated[: max(0, len(rotated) - (LOG_FILES - 1))]:
        old.unlink()
    for old in rotated[-(LOG_FILES - 1) :]:
        if old != newest and old.suffix != ".gz":
            staged = old.with_name(old.name + ".tmp")
            with old.open("rb") as source, gzip.open(staged, "wb", compresslevel=1) as target:
                shutil.copyfileobj(source, target)
            staged.rename(old.with_name(old.name + ".gz"))
            old.unlink()


async def leftovers(node: Kubelet) -> None:
    """Directories and cgroups of pods that are not here any more."""
    uids = set(node.workers)
    context = node.context
    await context.cgroups.orphans(uids)
    gone = [p for p in _directories(context.root / "pods") if p.name not in uids]
    gone += [p for p in _directories(context.host.logs) if p.name.rpartition("_")[2] not in uids]
    await asyncio.to_thread(remove, *gone)


def _directories(path: Path) -> list[Path]:
    return [p for p in path.iterdir() if p.is_dir()] if path.is_dir() else []
