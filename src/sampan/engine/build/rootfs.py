"""What steps do in a root filesystem: look users up, make the working directory, find sources and put them in place."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sampan.engine.build import copying
from sampan.engine.build.copying import Owner, Source
from sampan.engine.build.dockerfile import Instruction
from sampan.engine.build.state import State
from sampan.engine.images.unpack import Tree, parts
from sampan.engine.users import Identity, Wanted, resolve
from sampan.host import mounts


def discard(home: Path) -> None:
    """Unmount and delete a step's directory."""
    mounts.unmount(home / "rootfs", lazy=True)
    shutil.rmtree(home, ignore_errors=True)


def _read(rootfs: Path, name: str) -> str:
    path = copying.resolve(rootfs, name)
    return path.read_text(errors="surrogateescape") if path.is_file() else ""


def identity(rootfs: Path, user: str) -> Identity:
    """The numbers of `USER[:GROUP]`. Raises UnknownUser."""
    return resolve(Wanted(user), _read(rootfs, "etc/passwd"), _read(rootfs, "etc/group"))


def make_directory(rootfs: Path, current: State) -> None:
    """Make a stage's working directory where it is missing."""
    if copying.resolve(rootfs, current.workdir).is_dir():
        return
    tree = Tree(rootfs)
    try:
        tree.directory(parts(current.workdir))
    finally:
        tree.close()


def find(
    root: Path, listed: Sequence[str], ignored: Callable[[str], bool], texts: Mapping[str, Source]
) -> list[Source]:
    """What the sources of a COPY mean, here-documents among them."""
    found: list[Source] = []
    for name in listed:
        if name.startswith("<<") and name.lstrip("<-") in texts:
            found.append(texts[name.lstrip("<-")])
        else:
            found += copying.sources(root, name, ignored)
    return found


def put(
    rootfs: Path,
    found: Sequence[Source],
    target: str,
    flags: Mapping[str, str],
    ignored: Callable[[str], bool],
    each: Instruction,
) -> None:
    """Carry out a COPY or ADD."""
    copying.copy(rootfs, found, target, owner(rootfs, flags, each), ignored, extract=each.keyword == "ADD")


def owner(rootfs: Path, flags: Mapping[str, str], each: Instruction) -> Owner:
    """What --chown and --chmod say; else copies from the context are root's, others keep their owner."""
    mode = None
    if "chmod" in flags:
        try:
            mode = stat.S_IMODE(int(flags["chmod"], 8))
        except ValueError:
            raise each.error(
                f"invalid chmod parameter: {flags['chmod']!r}. it should be octal string"
            ) from None
    if "chown" in flags:
        who = identity(rootfs, flags["chown"])
        return Owner(
            who.uid, who.gid if ":" in flags["chown"] or not flags["chown"].isdigit() else who.uid, mode
        )
    return Owner(None, None, mode) if "from" in flags else Owner(mode=mode)
