"""Unpacked layers, each a directory by chain ID. A layer is unpacked once, under a temporary name, and then renamed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sampan.engine.images.compression import Decompressed
from sampan.engine.images.content import Blobs, DigestMismatch, Scratch, write_file
from sampan.engine.images.model import Descriptor, ImageError, ImageNotFound, chain_ids, dump, hex_of
from sampan.engine.images.unpack import unpack


class Layers:
    """The layers under one directory."""

    def __init__(self, directory: Path, blobs: Blobs, scratch: Scratch):
        self._directory = directory
        self._blobs = blobs
        self._scratch = scratch
        directory.mkdir(parents=True, exist_ok=True)

    def path(self, chain_id: str) -> Path:
        """Where the unpacked layer is, or would be."""
        return self._directory / hex_of(chain_id)

    def has(self, chain_id: str) -> bool:
        """Whether the layer is here; one whose record a power cut has torn is not, as its files may be torn too."""
        return bool(self._record(chain_id)) and self.path(chain_id).exists()

    def size(self, chain_id: str) -> int:
        """The bytes of this one layer's files; 0 where it is not unpacked."""
        return int(self._record(chain_id).get("size", 0))

    def blob(self, chain_id: str) -> str:
        """The digest of the archive it was unpacked from. Raises ImageNotFound."""
        record = self._record(chain_id)
        if "blob" not in record:
            raise ImageNotFound(f"layer {chain_id} is not unpacked")
        return str(record["blob"])

    def _record(self, chain_id: str) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads(self._file(chain_id).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return record

    def _file(self, chain_id: str) -> Path:
        return self._directory / (hex_of(chain_id) + ".json")

    def missing(self, diff_ids: Sequence[str]) -> bool:
        """Whether any layer of an image is not unpacked yet."""
        return not all(self.has(chain) for chain in chain_ids(diff_ids))

    def unpack(self, diff_ids: Sequence[str], layers: Sequence[Descriptor]) -> list[Path]:
        """Unpack what is missing of an image's layers, bottom first; returns their directories.

        Raises ImageError where the archives do not have the diff IDs that the configuration says.
        """
        if len(diff_ids) != len(layers):
            raise ImageError(
                f"the image has {len(layers)} layers but its configuration names {len(diff_ids)}"
            )
        chain = chain_ids(diff_ids)
        for n in range(len(layers)):
            self.unpack_one(chain[: n + 1], diff_ids[n], layers[n].digest)
        return [self.path(c) for c in chain]

    def unpack_one(self, chain: Sequence[str], diff_id: str, blob: str) -> None:
        """Unpack the topmost layer of `chain` from a blob, unless it is there; the ones below must be."""
        if self.has(chain[-1]):
            return
        with self._one_at_a_time(chain[-1]):
            if self.has(chain[-1]):
                return
            target = self._scratch.new("layer-")
            target.mkdir(mode=0o755)
            try:
                with self._blobs.open(blob) as f:
                    stream = Decompressed(f, hashed=blob != diff_id)
                    size = unpack(stream, target, [self.path(c) for c in reversed(chain[:-1])]).size
                    if blob != diff_id and stream.digest() != diff_id:
                        raise DigestMismatch(
                            f"layer {blob} does not unpack to {diff_id}; the image is damaged"
                        )
                if not self.has(chain[-1]) and (torn := self.detach(chain[-1])):
                    shutil.rmtree(torn, ignore_errors=True)
                self._publish(target, chain[-1], size, blob)
            except BaseException:
                shutil.rmtree(target, ignore_errors=True)
                raise

    def adopt(self, tree: Path, chain_id: str, size: int, blob: str) -> None:
        """Make an overlay's upper directory, whose archive is already a blob, a layer; the directory is gone after."""
        with self._one_at_a_time(chain_id):
            if self.has(chain_id):
                shutil.rmtree(tree, ignore_errors=True)
            else:
                self._publish(tree, chain_id, size, blob)

    def _publish(self, tree: Path, chain_id: str, size: int, blob: str) -> None:
        write_file(self._file(chain_id), dump({"size": size, "blob": blob}), self._scratch, durable=False)
        try:
            os.rename(tree, self.path(chain_id))
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(tree, ignore_errors=True)  # another process was quicker

    @contextmanager
    def _one_at_a_time(self, chain_id: str) -> Iterator[None]:
        """Keep others, also other processes, from unpacking the same layer meanwhile."""
        path = self._directory / (hex_of(chain_id) + ".lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            path.unlink(
                missing_ok=True
            )  # whoever waits for it finds the layer there, or unpacks beside, to no harm
            os.close(fd)

    def detach(self, chain_id: str) -> Path | None:
        """Take a layer out of the store at once; the directory given is the caller's to delete."""
        away = self._scratch.new("gone-")
        self._file(chain_id).unlink(missing_ok=True)
        try:
            os.rename(self.path(chain_id), away)
        except FileNotFoundError:
            return None
        return away

    def __iter__(self) -> Iterator[str]:
        """The chain IDs of all layers here."""
        return (f"sha256:{e.name}" for e in self._directory.iterdir() if len(e.name) == 64)
