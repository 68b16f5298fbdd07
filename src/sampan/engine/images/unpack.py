"""Unpack one layer's archive into a directory that overlayfs can stack.

Nothing an archive says can reach outside the directory: every path is walked from the directory's descriptor, one
component at a time, never through a symbolic link except by reading it and resolving it inside the directory, as
chroot would.

Whiteouts (`.wh.NAME`) become character devices 0:0, opaque markers the attribute `trusted.overlay.opaque`.
Source: OCI image specification v1.1, layer.md; Linux Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.engine.images import tar
from sampan.engine.images.tar import Entry, Source, TarError, TarReader

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
OPAQUE_XATTR = "trusted.overlay.opaque"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
_OPEN_DIRECTORIES = 64


def parts(path: str) -> list[str]:
    """A path's components as if from the root: `..` never climbs above it. Raises TarError for a NUL."""
    found: list[str] = []
    for word in path.split("/"):
        if word == "..":
            del found[-1:]
        elif word not in ("", "."):
            found.append(word)
    if "\0" in path:
        raise TarError("an entry's name has a NUL")
    return found


class Tree:
    """A directory, by path or descriptor, that is written through descriptors.

    `lowers` are the layers below, topmost first.
    """

    def __init__(self, root: Path | int, lowers: Sequence[Path] = ()):
        self._root = os.dup(root) if isinstance(root, int) else os.open(root, _DIRECTORY)
        self._lowers = lowers
        self.implied = False  # whether a directory was made that nobody asked for by itself
        self._open: dict[tuple[str, ...], int] = {}

    def close(self) -> None:
        self.forget()
        os.close(self._root)

    def forget(self) -> None:
        """Drop what is known of directories; needed whenever one may have been replaced."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def directory(self, words: Sequence[str]) -> int:
        """A descriptor of the directory, made where missing; it stays valid until the next call."""
        key = tuple(words)
        if not key:
            return self._root
        fd = self._open.get(key)
        if fd is None:
            if len(self._open) >= _OPEN_DIRECTORIES:
                self.forget()
            fd = self._open[key] = self._walk(list(words))
        return fd

    def _walk(self, words: list[str]) -> int:
        """Open component by component, resolving links inside the root."""
        stack = [os.dup(self._root)]
        names: list[str] = []
        links = 0
        try:
            while words:
                word = words.pop(0)
                if word == "..":
                    if names:
                        os.close(stack.pop())
                        names.pop()
                    continue
                step = self._step(stack[-1], word, names)
                if isinstance(step, int):
                    stack.append(step)
                    names.append(word)
                    continue
                links += 1
                if links > _MOST_LINKS:
                    raise TarError(f"too many symbolic links in {'/'.join([*names, word])}")
                if step.startswith("/"):
                    for fd in stack[1:]:
                        os.close(fd)
                    del stack[1:]
                    names.clear()
                words[:0] = [w for w in step.split("/") if w not in ("", ".")]
            return stack.pop()
        finally:
            for fd in stack:
                os.close(fd)

    def _step(self, fd: int, word: str, above: Sequence[str]) -> int | str:
        """Enter a directory, making it where it is missing; or a link's target where it is one."""
        try:
            return os.open(word, _DIRECTORY, dir_fd=fd)
        except FileNotFoundError:
            self._make_like_below(fd, word, above)
        except OSError as e:
            if e.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            mode = os.stat(word, dir_fd=fd, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                return os.readlink(word, dir_fd=fd)
            os.unlink(word, dir_fd=fd)
            os.mkdir(word, 0o755, dir_fd=fd)
            if _is_whiteout(mode):
                self._opaque(fd, word)
        return os.open(word, _DIRECTORY, dir_fd=fd)

    def _make_like_below(self, fd: int, word: str, above: Sequence[str]) -> None:
        """A directory the archive left out looks as it does in the layer below, else root's and 0755."""
        self.implied = True
        os.mkdir(word, 0o755, dir_fd=fd)
        for lower in self._lowers:
            try:
                found = os.lstat(lower.joinpath(*above, word))
            except OSError:
                continue
            if stat.S_ISDIR(found.st_mode):
                os.chown(word, found.st_uid, found.st_gid, dir_fd=fd)
                os.chmod(word, stat.S_IMODE(found.st_mode), dir_fd=fd)
                os.utime(word, ns=(found.st_mtime_ns, found.st_mtime_ns), dir_fd=fd)
            return

    def clear(self, fd: int, name: str) -> int:
        """Remove what stands at a name, if anything; returns its mode, or 0."""
        try:
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return 0
        if stat.S_ISDIR(mode):
            again = os.dup(fd)  # forget() may close fd itself
            try:
                self.forget()
                shutil.rmtree(name, dir_fd=again)
            finally:
                os.close(again)
        else:
            os.unlink(name, dir_fd=fd)
        return mode

    def make_directory(self, words: Sequence[str]) -> int:
        """The directory itself, replacing whatever else stands there; returns its descriptor."""
        if not words:
            return self._root
        fd, name = self.directory(words[:-1]), words[-1]
        try:
            os.mkdir(name, 0o755, dir_fd=fd)
        except FileExistsError:
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
            if not stat.S_ISDIR(mode):
                os.unlink(name, dir_fd=fd)
                os.mkdir(name, 0o755, dir_fd=fd)
                if _is_whiteout(mode):
                    self._opaque(fd, name)
                self.forget()
                fd = self.directory(words[:-1])
        key = tuple(words)
        if key not in self._open:
            opened = os.open(name, _DIRECTORY, dir_fd=fd)
            if len(self._open) >= _OPEN_DIRECTORIES:
                self.forget()
            self._open[key] = opened
        return self._open[key]

    def create(self, words: Sequence[str]) -> int:
        """A new regular file open for writing, replacing what stands there."""
        fd, name = self.directory(words[:-1]), words[-1]
        try:
            return os.open(name, _CREATE, 0o600, dir_fd=fd)
        except FileExistsError:
            self.clear(fd, name)
            return os.open(name, _CREATE, 0o600, dir_fd=self.directory(words[:-1]))

    def whiteout(self, words: Sequence[str]) -> None:
        """Hide what the layers below have at this name; what this layer put there stays."""
        fd, name = self.directory(words[:-1]), words[-1]
        try:
            os.mknod(name, stat.S_IFCHR | 0o600, 0, dir_fd=fd)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                self._opaque(fd, name)

    def set_time(self, words: Sequence[str], mtime: int) -> None:
        """A directory's time, last, since filling it changes that; nothing where it has been replaced meanwhile."""
        fd = os.dup(self._root)
        try:
            for word in words:
                step = os.open(word, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = step
            os.utime(fd, ns=(mtime, mtime))
        except OSError as e:
            if e.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                raise
        finally:
            os.close(fd)

    def _opaque(self, fd: int, name: str) -> None:
        own = os.open(name, _DIRECTORY, dir_fd=fd)
        try:
            os.setxattr(own, OPAQUE_XATTR, b"y")
        finally:
            os.close(own)

    def link(self, words: Sequence[str], target: Sequence[str]) -> None:
        """A hard link to a file of this layer, or a copy of one below."""
        if not words or not target:
            raise TarError("a hard link to or at the root")
        self.clear(self.directory(words[:-1]), words[-1])
        source = os.dup(self.directory(target[:-1]))
        try:
            to = self.directory(words[:-1])
            os.link(target[-1], words[-1], src_dir_fd=source, dst_dir_fd=to, follow_symlinks=False)
        except FileNotFoundError:
            self._copy_below(words, target)
        finally:
            os.close(source)

    def _copy_below(self, words: Sequence[str], target: Sequence[str]) -> None:
        for lower in self._lowers:
            path = lower.joinpath(*target)
            inside = path.parent.resolve() == path.parent
            if inside and path.is_file() and not path.is_symlink():
                found = path.stat()
                out = self.create(words)
                try:
                    with open(path, "rb") as f:
                        while piece := f.read(tar.CHUNK):
                            os.write(out, piece)
                    os.fchown(out, found.st_uid, found.st_gid)
                    os.fchmod(out, stat.S_IMODE(found.st_mode))
                    os.utime(out, ns=(found.st_mtime_ns, found.st_mtime_ns))
                finally:
                    os.close(out)
                return
        raise TarError(f"hard link {'/'.join(words)} to {'/'.join(target)}, which is in no layer")


def _is_whiteout(mode: int) -> bool:
    return stat.S_ISCHR(mode)


def look_like(directory: Path, other: Path) -> None:
    """Give a directory the owner and mode of another."""
    found = other.stat()
    os.chown(directory, found.st_uid, found.st_gid)
    os.chmod(directory, stat.S_IMODE(found.st_mode))


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What `unpack` did: the bytes of all files, and whether the result would be another with other layers below.

    `implied`: the archive left out directories that it has files in; `rooted`: it describes the root itself.
    """

    size: int
    implied: bool
    rooted: bool


def unpack(
    source: Source, root: Path | int, lowers: Sequence[Path] = (), *, whiteouts: bool = True
) -> Unpacked:
    """Unpack an archive into the directory `root`.

    `whiteouts` off takes `.wh.` names as ordinary ones, for archives that are no layers. Raises TarError, OSError.
    """
    if lowers and isinstance(root, Path):
        look_like(root, lowers[0])
    tree = Tree(root, lowers)
    times: list[tuple[list[str], int]] = []
    total = 0
    try:
        reader = TarReader(source)
        for entry in reader:
            words = parts(entry.name)
            if whiteouts and words and words[-1].startswith(WHITEOUT):
                _hide(tree, words)
                continue
            total += _extract(tree, reader, entry, words, times)
        for words, mtime in reversed(times):
            tree.set_time(words, mtime)
        return Unpacked(total, tree.implied, any(not words for words, _ in times))
    finally:
        tree.close()


def _hide(tree: Tree, words: list[str]) -> None:
    name = words[-1]
    if name == OPAQUE:
        os.setxattr(tree.make_directory(words[:-1]), OPAQUE_XATTR, b"y")
    elif not name.startswith(".wh..wh."):  # aufs's own bookkeeping
        hidden = name[len(WHITEOUT) :]
        if hidden in ("", ".", ".."):
            raise TarError(f"{'/'.join(words)} is not a whiteout of anything")
        tree.whiteout([*words[:-1], hidden])


def _extract(
    tree: Tree, reader: TarReader, entry: Entry, words: list[str], times: list[tuple[list[str], int]]
) -> int:
    """One entry; returns the bytes of a file."""
    if entry.kind == tar.DIRECTORY:
        fd = tree.make_directory(words)
        _dress(fd, entry)
        times.append((words, entry.mtime))
        return 0
    if not words:
        raise TarError("the root of a layer must be a directory")
    if entry.kind == tar.FILE:
        fd = tree.create(words)
        try:
            _fill(fd, reader, entry)
            _dress(fd, entry)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)
        return entry.size
    if entry.kind == tar.LINK:
        tree.link(words, parts(entry.target))
    elif entry.kind in (tar.SYMLINK, tar.CHARACTER, tar.DEVICE, tar.FIFO):
        _special(tree, entry, words)
    return 0  # other kinds (volume labels and the like) hold no file


def _fill(fd: int, reader: TarReader, entry: Entry) -> None:
    if entry.holes is None:
        for piece in reader.pieces():
            _write(fd, piece)
        return
    pieces = reader.pieces()
    data = b""
    for offset, length in entry.holes:
        if offset < 0 or length < 0 or offset + length > entry.size:
            raise TarError(f"{entry.name}: a sparse map reaches outside the file")
        os.lseek(fd, offset, os.SEEK_SET)
        while length:
            data = data or next(pieces, b"")
            if not data:
                raise TarError(f"{entry.name}: a sparse map wants more data than there is")
            _write(fd, data[:length])
            data, length = data[length:], length - min(length, len(data))
    os.ftruncate(fd, entry.size)


def _write(fd: int, data: bytes) -> None:
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, data[done:])


def _dress(fd: int, entry: Entry) -> None:
    """Owner, attributes, mode: in that order, since a change of owner clears set-user-ID and capabilities."""
    os.fchown(fd, entry.uid, entry.gid)
    if entry.xattrs:
        _attributes(fd, entry.xattrs)
    os.fchmod(fd, entry.mode)


def _attributes(where: int | str, xattrs: dict[str, bytes]) -> None:
    for key, value in xattrs.items():
        if key.startswith("trusted."):
            continue  # overlayfs keeps its own state there
        try:
            os.setxattr(where, key, value, **({"follow_symlinks": False} if isinstance(where, str) else {}))
        except OSError as e:
            if e.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


def _special(tree: Tree, entry: Entry, words: list[str]) -> None:
    fd, name = tree.directory(words[:-1]), words[-1]
    if tree.clear(fd, name):
        tree.forget()
        fd = tree.directory(words[:-1])
    if entry.kind == tar.SYMLINK:
        os.symlink(entry.target, name, dir_fd=fd)
        tree.forget()
        fd = tree.directory(words[:-1])
    else:
        kind = {tar.CHARACTER: stat.S_IFCHR, tar.DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}[entry.kind]
        os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=fd)
    os.chown(name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
    if entry.xattrs:
        _attributes(f"/proc/self/fd/{fd}/{name}", entry.xattrs)
    if entry.kind != tar.SYMLINK:
        os.chmod(name, entry.mode, dir_fd=fd)  # just made by us, and no link
    os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=fd, follow_symlinks=False)
