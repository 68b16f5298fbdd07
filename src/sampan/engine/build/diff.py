"""What a step has changed, as a layer's archive: the upper directory of an overlay, read back.

The same changes always give the same bytes: entries are sorted, and hold nothing of this machine.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sampan.engine.images import tar
from sampan.engine.images.tar import Entry
from sampan.engine.images.unpack import OPAQUE, OPAQUE_XATTR, WHITEOUT


def is_empty(upper: Path) -> bool:
    """Whether nothing was changed."""
    return next(os.scandir(upper), None) is None


def archive(upper: Path) -> Iterator[bytes]:
    """The archive's pieces; an unchanged root gives an archive without entries."""
    seen: dict[tuple[int, int], str] = {}
    for path, name in _walk(upper, ""):
        yield from _entry(path, name, seen)
    yield tar.END


def size(upper: Path) -> int:
    """The bytes of the files in it."""
    found = (path.lstat() for path, _ in _walk(upper, ""))
    return sum({i.st_ino: i.st_size for i in found if stat.S_ISREG(i.st_mode)}.values())


def _walk(directory: Path, prefix: str) -> Iterator[tuple[Path, str]]:
    """Everything below a directory, parents first, sorted by name."""
    with os.scandir(directory) as entries:
        found = sorted(entries, key=lambda e: os.fsencode(e.name))
    for entry in found:
        name = f"{prefix}{entry.name}"
        yield Path(entry.path), name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), name + "/")


def _entry(path: Path, name: str, seen: dict[tuple[int, int], str]) -> Iterator[bytes]:
    found = path.lstat()
    kind = tar.kind_of(found.st_mode)
    if kind is None:
        return  # a socket: nothing of it would be left anyway
    if kind == tar.CHARACTER and found.st_rdev == 0:
        head, _, last = name.rpartition("/")
        yield tar.header(Entry(f"{head}/{WHITEOUT}{last}" if head else WHITEOUT + last, mode=0))
        return
    entry = described(path, name, kind, found)
    if kind != tar.DIRECTORY and found.st_nlink > 1:
        first = seen.setdefault((found.st_dev, found.st_ino), name)
        if first != name:
            entry.kind, entry.target, entry.size = tar.LINK, first, 0
    yield tar.header(entry)
    if entry.kind == tar.FILE and entry.size:
        yield from data(path, entry.size)
    if kind == tar.DIRECTORY and _attribute(path, OPAQUE_XATTR) == b"y":
        yield tar.header(Entry(f"{name}/{OPAQUE}", mode=0))


def described(path: Path, name: str, kind: bytes, found: os.stat_result) -> Entry:
    """The entry for a file, without its data."""
    device = kind in (tar.CHARACTER, tar.DEVICE)
    return Entry(
        name + "/" if kind == tar.DIRECTORY else name,
        kind,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_size if kind == tar.FILE else 0,
        found.st_mtime_ns,
        os.readlink(path) if kind == tar.SYMLINK else "",
        os.major(found.st_rdev) if device else 0,
        os.minor(found.st_rdev) if device else 0,
        {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
            if not key.startswith("trusted.")
        },
    )


def data(path: Path, wanted: int) -> Iterator[bytes]:
    """A file's data, exactly as much as was announced, also where it changes meanwhile."""
    left = wanted
    with open(path, "rb") as f:
        while left and (piece := f.read(min(left, tar.CHUNK))):
            left -= len(piece)
            yield piece
    yield bytes(left) + tar.padding(wanted)


def _attribute(path: Path, key: str) -> bytes:
    try:
        return os.getxattr(path, key, follow_symlinks=False)
    except OSError:
        return b""
