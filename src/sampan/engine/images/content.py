"""Content by digest, on disk: written whole under a temporary name, verified, then renamed.

Several processes share the directories. Unfinished files live in a directory of their own for each process, which
holds a lock on it: a directory that nobody locks was left by a process that died, and is removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from sampan.engine.images.model import Descriptor, ImageError, ImageNotFound, digest_of, hex_of
from sampan.host import files

CHUNK = 1 << 20

log = logging.getLogger(__name__)


class DigestMismatch(ImageError):
    """Content is not what its digest says: damaged on the way, or forged."""


class Scratch:
    """This process's directory for unfinished work, on the same filesystem as the store."""

    def __init__(self, parent: Path):
        parent.mkdir(parents=True, exist_ok=True)
        self._parent = parent
        while True:
            self.path = parent / secrets.token_hex(8)
            self.path.mkdir(mode=0o700)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if self.path.exists():  # else a cleaner took it between mkdir and flock
                break
            os.close(self._lock)

    def new(self, prefix: str = "") -> Path:
        """A name in the directory that nothing else has."""
        return self.path / (prefix + secrets.token_hex(8))

    def alone(self) -> bool:
        """Whether no other process has, or has left, a directory here."""
        return os.listdir(self._parent) == [self.path.name]

    def clean(self, before: Callable[[Path], object]) -> None:
        """Remove what processes that died have left; `before` is told of each such directory first."""
        for entry in self._parent.iterdir():
            if entry == self.path:
                continue
            try:
                fd = os.open(entry, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                before(entry)
                shutil.rmtree(entry, ignore_errors=True)
            except BlockingIOError:
                pass
            finally:
                os.close(fd)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def write_file(path: Path, data: bytes, scratch: Scratch, *, durable: bool = True) -> None:
    """Replace a small file at once: a reader sees the old bytes or the new, also after a crash."""
    files.write(path, data, 0o644, durable=durable, staged=scratch.new())


class Ingest:
    """A blob being written. Use as a context manager; it is thrown away unless `commit` was reached."""

    def __init__(self, blobs: Blobs, path: Path, offset: int = 0):
        self._blobs = blobs
        self._file: BinaryIO = open(path, "ab" if offset else "wb")  # noqa: SIM115 - closed by __exit__
        self._hash = hashlib.sha256()
        self.path = path
        self.size = offset
        if offset:
            with open(path, "rb") as f:
                while piece := f.read(CHUNK):
                    self._hash.update(piece)

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def commit(self, expected: str = "", size: int = -1) -> str:
        """Verify and publish; returns the digest. Raises DigestMismatch."""
        digest = "sha256:" + self._hash.hexdigest()
        if size >= 0 and self.size != size:
            raise DigestMismatch(
                f"content of {expected or digest} has {self.size} bytes where {size} were announced"
            )
        if expected and digest != expected:
            raise DigestMismatch(f"content does not match its digest: expected {expected}, got {digest}")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.path, self._blobs.path(digest))
        return digest


class Blobs:
    """The blobs under one directory."""

    def __init__(self, directory: Path, scratch: Scratch):
        self._directory = directory
        self._scratch = scratch
        directory.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be."""
        return self._directory / hex_of(digest)

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def size(self, digest: str) -> int:
        """Raises ImageNotFound."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise ImageNotFound(f"content {digest} is not in the store") from None

    def open(self, digest: str) -> BinaryIO:
        """Raises ImageNotFound."""
        try:
            return open(self.path(digest), "rb")
        except FileNotFoundError:
            raise ImageNotFound(f"content {digest} is not in the store") from None

    def read(self, digest: str) -> bytes:
        """A small blob, whole and verified. Raises ImageNotFound, also where it is damaged: then it is removed."""
        with self.open(digest) as f:
            data = f.read()
        if digest_of(data) != digest:
            self.path(digest).unlink(missing_ok=True)
            log.warning("content %s was damaged on disk; pull or load its image again", digest)
            raise ImageNotFound(f"content {digest} was damaged on disk; pull or load its image again")
        return data

    def ingest(self) -> Ingest:
        """Begin to write a blob."""
        return Ingest(self, self._scratch.new("blob-"))

    def put(self, data: bytes, media_type: str = "") -> Descriptor:
        """Store a small blob."""
        digest = digest_of(data)
        if not self._holds(digest, data):
            write_file(self.path(digest), data, self._scratch)
        return Descriptor(media_type, digest, len(data))

    def _holds(self, digest: str, data: bytes) -> bool:
        try:
            return self.path(digest).read_bytes() == data
        except FileNotFoundError:
            return False

    def put_from(self, pieces: Iterable[bytes | memoryview], expected: str = "") -> tuple[str, int]:
        """Store what `pieces` give; returns digest and size. Raises DigestMismatch."""
        with self.ingest() as blob:
            for piece in pieces:
                blob.write(piece)
            return blob.commit(expected), blob.size

    def detach(self, digest: str) -> Path | None:
        """Take a blob out of the store at once; the file given is the caller's to delete."""
        away = self._scratch.new("gone-")
        try:
            os.rename(self.path(digest), away)
        except FileNotFoundError:
            return None
        return away

    def __iter__(self) -> Iterator[str]:
        return (f"sha256:{entry.name}" for entry in self._directory.iterdir())
