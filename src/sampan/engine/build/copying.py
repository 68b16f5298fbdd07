"""COPY and ADD: which files a source means, a digest of them, and putting them into a root filesystem.

Sources are read inside their root only: a symbolic link that points out of it is followed as if that root were `/`.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.engine.build.ignore import glob, has_wildcard
from sampan.engine.images.compression import Decompressed, decompressor
from sampan.engine.images.model import ImageError
from sampan.engine.images.tar import CHUNK
from sampan.engine.images.unpack import Tree, parts, unpack

_MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Source:
    """One file or directory to copy: where it is, its path in the context as a person knows it."""

    path: Path
    name: str

    @property
    def is_directory(self) -> bool:
        return self.path.is_dir()


@dataclass(frozen=True, slots=True)
class Owner:
    """Who gets the copies; None keeps the owner they have. `mode` likewise, for every file and directory."""

    uid: int | None = 0
    gid: int | None = 0
    mode: int | None = None


Ignored = Callable[[str], bool]


def resolve(root: Path, name: str) -> Path:
    """The real path of a name inside `root`, links resolved as chroot would. It need not exist. Raises ImageError."""
    todo = parts(name)
    done: list[str] = []
    links = 0
    while todo:
        word = todo.pop(0)
        if word == "..":
            del done[-1:]
            continue
        path = root.joinpath(*done, word)
        if path.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise ImageError(f"too many symbolic links in {name}")
            target = os.readlink(path)
            if target.startswith("/"):
                done.clear()
            todo[:0] = [w for w in target.split("/") if w not in ("", ".")]
        else:
            done.append(word)
    return root.joinpath(*done)


def sources(root: Path, pattern: str, ignored: Ignored) -> list[Source]:
    """What a source argument of COPY means, sorted. Raises ImageError, worded as Docker's, where it means nothing."""
    name = "/".join(parts(pattern))
    if not has_wildcard(name):
        path = resolve(root, name)
        if not os.path.lexists(path) or (name and ignored(name) and not path.is_dir()):
            raise ImageError(f'failed to compute cache key: "/{name}": not found')
        return [Source(path, name)]
    found = [
        Source(root / match, match)
        for match in sorted(_matches(root, name.split("/"), ""))
        if not ignored(match)
    ]
    if not found:
        raise ImageError(f'failed to compute cache key: "/{name}": no source files were found')
    return [Source(resolve(root, s.name), s.name) for s in found]


def _matches(root: Path, words: Sequence[str], prefix: str) -> Iterator[str]:
    """The paths that a pattern's components match, one level at a time."""
    directory = resolve(root, prefix)
    if not directory.is_dir():
        return
    test = glob(words[0])
    for name in os.listdir(directory):
        if test.fullmatch(name):
            path = f"{prefix}/{name}" if prefix else name
            if len(words) == 1:
                yield path
            else:
                yield from _matches(root, words[1:], path)


def digest(found: Sequence[Source], ignored: Ignored) -> str:
    """A digest of names, modes and contents, not of times: the same files give the same one on any machine."""
    whole = hashlib.sha256()
    for source in found:
        whole.update(
            f"{posixpath.basename(source.name)}\0{source.is_directory}\0".encode(errors="surrogateescape")
        )
        for path, name in walk(source.path, source.name, ignored):
            info = path.lstat()
            whole.update(f"{name[len(source.name) :]}\0{info.st_mode:o}\0".encode(errors="surrogateescape"))
            if stat.S_ISLNK(info.st_mode):
                whole.update(os.fsencode(os.readlink(path)))
            elif stat.S_ISREG(info.st_mode):
                with open(path, "rb") as f:
                    whole.update(hashlib.file_digest(f, "sha256").digest())
    return whole.hexdigest()


def walk(path: Path, name: str, ignored: Ignored) -> Iterator[tuple[Path, str]]:
    """A file, or a directory with everything in it that is not ignored, parents first, sorted."""
    yield path, name
    if path.is_symlink() or not path.is_dir():
        return
    for each in sorted(os.listdir(path)):
        inner = f"{name}/{each}" if name else each
        if not ignored(inner):
            yield from walk(path / each, inner, ignored)
        elif (path / each).is_dir() and not (path / each).is_symlink():
            yield from _kept(path / each, inner, ignored)


def _kept(path: Path, name: str, ignored: Ignored) -> Iterator[tuple[Path, str]]:
    """What a later pattern takes back from inside an ignored directory, with the directories above it."""
    inside: list[tuple[Path, str]] = []
    for each in sorted(os.listdir(path)):
        inner = f"{name}/{each}"
        if not ignored(inner):
            inside += walk(path / each, inner, ignored)
        elif (path / each).is_dir() and not (path / each).is_symlink():
            inside += _kept(path / each, inner, ignored)
    if inside:
        yield path, name
        yield from inside


def copy(
    rootfs: Path,
    found: Sequence[Source],
    target: str,
    owner: Owner,
    ignored: Ignored,
    *,
    extract: bool = False,
) -> None:
    """Put sources at a target in a root filesystem, or into it where it ends in a slash or is a directory.

    A directory's contents are copied, not itself. `extract` unpacks local archives, as ADD does. Raises ImageError.
    """
    into = target.endswith("/") or len(found) > 1 or resolve(rootfs, target).is_dir()
    tree = Tree(rootfs)
    try:
        for source in found:
            base = parts(target)
            if source.is_directory:
                _copy_directory(tree, source, base, owner, ignored)
            elif extract and _is_archive(source.path):
                with open(source.path, "rb") as f:
                    unpack(Decompressed(f), tree.directory(base), whiteouts=False)
            else:
                words = [*base, posixpath.basename(source.name)] if into else base
                _put(tree, source.path, words, owner)
    finally:
        tree.close()


def _is_archive(path: Path) -> bool:
    """Whether a file is a tar archive, by its contents, as ADD decides."""
    with open(path, "rb") as f:
        head = f.read(512)
        if decompressor(head):
            f.seek(0)
            try:
                head = Decompressed(f, hashed=False).read(512)
            except ImageError:
                return False
    return len(head) == 512 and head[257:262] == b"ustar"


def _copy_directory(tree: Tree, source: Source, base: list[str], owner: Owner, ignored: Ignored) -> None:
    fresh = not _is_there(tree, base)
    times: list[tuple[list[str], int]] = []
    for path, name in walk(source.path, source.name, ignored):
        words = base + parts(name[len(source.name) :])
        if path.is_dir() and (name == source.name or not path.is_symlink()):
            info = path.stat()
            fd = tree.directory(words)  # follows a link that is there already, as /bin may be
            if name != source.name or fresh:
                _dress(fd, info, owner)
            times.append((words, info.st_mtime_ns))
        else:
            _put(tree, path, words, owner)
    for words, mtime in reversed(times):
        tree.set_time(words, mtime)


def _is_there(tree: Tree, words: Sequence[str]) -> bool:
    if not words:
        return True
    try:
        os.stat(words[-1], dir_fd=tree.directory(words[:-1]))
    except FileNotFoundError:
        return False
    return True


def _put(tree: Tree, path: Path, words: Sequence[str], owner: Owner) -> None:
    """Copy one file, link or special file to a place in the tree. What stands there is replaced, links not followed."""
    info = path.lstat()
    if not words:
        raise ImageError("cannot copy a file to /: name a directory or a file below it")
    if stat.S_ISREG(info.st_mode):
        fd = tree.create(words)
        try:
            _fill(fd, path)
            _dress(fd, info, owner)
            os.utime(fd, ns=(info.st_mtime_ns, info.st_mtime_ns))
        finally:
            os.close(fd)
        return
    if stat.S_ISSOCK(info.st_mode):
        return
    directory = tree.directory(words[:-1])
    if tree.clear(directory, words[-1]):
        directory = tree.directory(words[:-1])
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(path), words[-1], dir_fd=directory)
        tree.forget()
        directory = tree.directory(words[:-1])
    else:
        os.mknod(words[-1], info.st_mode, info.st_rdev, dir_fd=directory)
    uid, gid = _owner(info, owner)
    os.chown(words[-1], uid, gid, dir_fd=directory, follow_symlinks=False)
    os.utime(words[-1], ns=(info.st_mtime_ns, info.st_mtime_ns), dir_fd=directory, follow_symlinks=False)


def _fill(fd: int, path: Path) -> None:
    with open(path, "rb") as f:
        offset = 0
        while sent := os.sendfile(fd, f.fileno(), offset, CHUNK * 16):
            offset += sent


def _owner(info: os.stat_result, owner: Owner) -> tuple[int, int]:
    return (info.st_uid if owner.uid is None else owner.uid), (
        info.st_gid if owner.gid is None else owner.gid
    )


def _dress(fd: int, info: os.stat_result, owner: Owner) -> None:
    os.fchown(fd, *_owner(info, owner))
    os.fchmod(fd, stat.S_IMODE(info.st_mode) if owner.mode is None else owner.mode)
