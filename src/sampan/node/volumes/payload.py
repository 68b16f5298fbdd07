"""Directories of files that change all at once, as config maps, secrets and the like show them.

A directory holds `..data`, a link to a directory with the files of one version, and links to its entries. A
new version is written beside the old one, and a rename of `..data` swaps them, so that a reader sees either
all of the old or all of the new. Source: the documented layout that programs such as those using inotify on
`..data` rely on.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

DATA = "..data"


@dataclass(frozen=True, slots=True)
class File:
    """`owner` is a user id, or None for root."""

    data: bytes
    mode: int
    owner: int | None = None


Files = dict[str, File]


def read(directory: Path) -> Files:
    """The current version of the files, owners left out."""
    current = directory / DATA
    found: Files = {}
    for base, _, names in os.walk(current):
        for name in names:
            path = Path(base, name)
            found[str(path.relative_to(current))] = File(path.read_bytes(), path.stat().st_mode & 0o7777)
    return found


def write(directory: Path, files: Files, group: int | None = None) -> bool:
    """Make `files` (by relative path) what the directory shows; False where it shows them already.

    With a group, they belong to it and are readable by it. Raises OSError, ValueError for a path that leads
    outside.
    """
    files = {_inside(name): _shared(file, group) for name, file in files.items()}
    if (directory / DATA).exists() and read(directory) == {n: File(f.data, f.mode) for n, f in files.items()}:
        return False
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o777 if group is None else 0o2777)
    version = (
        directory / f"..{time.strftime('%Y_%m_%d_%H_%M_%S', time.gmtime())}.{time.time_ns() % 10**9:09d}"
    )
    _fill(version, files, group)
    _swap(directory, version.name)
    _link(directory, {name.split("/")[0] for name in files})
    for old in directory.glob("..*"):
        if old.is_dir() and not old.is_symlink() and old != version:
            shutil.rmtree(old, ignore_errors=True)
    return True


def _inside(name: str) -> str:
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or parts[0].startswith(".."):
        raise ValueError(f"invalid path {name!r}")
    return "/".join(parts)


def _shared(file: File, group: int | None) -> File:
    return file if group is None else File(file.data, file.mode | 0o040, file.owner)


def _fill(version: Path, files: Files, group: int | None) -> None:
    version.mkdir()
    version.chmod(0o755)
    for name, file in files.items():
        path = version / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as f:
            f.write(file.data)
        if group is not None or file.owner is not None:
            os.chown(path, -1 if file.owner is None else file.owner, -1 if group is None else group)
        path.chmod(file.mode)


def _swap(directory: Path, version: str) -> None:
    staged = directory / "..data_tmp"
    staged.unlink(missing_ok=True)
    staged.symlink_to(version)
    os.rename(staged, directory / DATA)


def _link(directory: Path, names: set[str]) -> None:
    """One link for each entry that users see; links to what is gone are removed."""
    for name in names:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"{DATA}/{name}")
    for entry in list(directory.iterdir()):
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
