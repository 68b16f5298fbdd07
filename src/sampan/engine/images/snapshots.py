"""A container's root filesystem: an image's layers below, a writable layer above, joined by overlayfs.

`prepare` twice is `prepare` once; `remove` of what is not there does nothing: both may be repeated after a crash.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from sampan.engine.images.content import write_file
from sampan.engine.images.model import ImageError, dump
from sampan.engine.images.store import Image, ImageStore
from sampan.engine.images.unpack import look_like
from sampan.host import mounts

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_OPTIONS_LIMIT = 4000  # the kernel takes one page of mount options


def prepare(store: ImageStore, container: str, image: Image) -> Path:
    """Mount a container's root filesystem and return its path. Raises ImageError, OSError."""
    home = directory(store, container)
    with store.adding():
        lowers = store.layers.unpack(image.config.diff_ids, image.manifest.layers)
        if not (home / "snapshot.json").exists():
            for name in ("upper", "work", "rootfs"):
                (home / name).mkdir(parents=True, exist_ok=True)
            if lowers:
                look_like(home / "upper", lowers[-1])  # the root of an overlay is its upper directory
            record = {"image": image.id, "layers": image.chain}
            write_file(home / "snapshot.json", dump(record), store.scratch)
    if not mounts.mounted(home / "rootfs"):
        mount(lowers, home)
    return home / "rootfs"


def restore(store: ImageStore, container: str) -> Path:
    """Mount again what `prepare` once made, as after a reboot. Raises ImageError where there is nothing."""
    home = directory(store, container)
    try:
        record = json.loads((home / "snapshot.json").read_bytes())
    except FileNotFoundError:
        raise ImageError(f"container {container} has no snapshot") from None
    if not mounts.mounted(home / "rootfs"):
        mount([store.layers.path(c) for c in record["layers"]], home)
    return home / "rootfs"


def remove(store: ImageStore, container: str) -> None:
    """Unmount and delete a container's writable layer."""
    home = directory(store, container)
    while mounts.unmount(home / "rootfs", lazy=True):
        pass
    away = store.scratch.new("gone-")
    try:
        os.rename(home, away)
    except FileNotFoundError:
        return
    shutil.rmtree(away, ignore_errors=True)


def usage(store: ImageStore, container: str) -> tuple[int, int]:
    """Bytes and inodes of a container's writable layer."""
    size = inodes = 0
    for path, directories, files in os.walk(directory(store, container) / "upper"):
        inodes += len(directories) + len(files)
        for name in files:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(path, name)).st_blocks * 512
    return size, inodes


def containers(store: ImageStore) -> list[str]:
    """The IDs that have a snapshot."""
    return sorted(e.name for e in store.snapshots.iterdir())


def image_users(store: ImageStore, image_id: str) -> list[str]:
    """The containers whose snapshots stand on an image."""
    users = []
    for entry in store.snapshots.glob("*/snapshot.json"):
        with contextlib.suppress(OSError, ValueError):
            if json.loads(entry.read_bytes())["image"] == image_id:
                users.append(entry.parent.name)
    return sorted(users)


def directory(store: ImageStore, container: str) -> Path:
    """Where a container's `upper`, `work` and `rootfs` are. Raises ImageError for what is no path component."""
    if not _NAME.fullmatch(container):
        raise ImageError(f"{container!r} cannot name a snapshot")
    return store.snapshots / container


def mount(lowers: Sequence[Path], home: Path) -> None:
    """Mount `home/rootfs` over `lowers` (bottom first) with `home/upper` and `home/work`."""
    if not lowers:
        mounts.bind(home / "upper", home / "rootfs")
        return
    with _short(list(reversed(lowers))) as names:
        # Without redirects and metadata-only copies, the upper directory is a layer as it stands.
        data = f"lowerdir={':'.join(names)},upperdir={home}/upper,workdir={home}/work,redirect_dir=off,metacopy=off"
        mounts.mount("overlay", home / "rootfs", "overlay", 0, data)


@contextlib.contextmanager
def _short(lowers: Sequence[Path]) -> Iterator[list[str]]:
    """The layers' paths; where many would overflow the mount options, names through open descriptors."""
    names = [str(p) for p in lowers]
    if sum(len(n) + 1 for n in names) < _OPTIONS_LIMIT - 400:
        yield names
        return
    opened = [os.open(p, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for p in lowers]
    try:
        yield [f"/proc/self/fd/{fd}" for fd in opened]
    finally:
        for fd in opened:
            os.close(fd)
