"""The image store: names, images, and what becomes of content that nothing needs any more.

An image is known by its ID, the digest of its configuration, as in Docker and CRI. Names point at manifests;
several names may point at one image, and an image may have none. Whoever adds content holds the store's lock
shared (`adding`) until a name or an image refers to it; the collector takes it alone, or leaves the work to the
last one who adds.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from sampan.engine.images import references
from sampan.engine.images.content import Blobs, Scratch, write_file
from sampan.engine.images.layers import Layers
from sampan.engine.images.model import (
    ImageConfig,
    ImageError,
    ImageInUse,
    ImageNotFound,
    Manifest,
    chain_ids,
    dump,
    hex_of,
)
from sampan.engine.images.references import InvalidReference
from sampan.host import mounts
from sampan.machinery.images import Reference

CACHE_DAYS = 7


@dataclass(frozen=True)
class Image:
    """An image that is here. `tags` and `digests` are full references, as CRI's repo_tags and repo_digests."""

    id: str
    manifest_digest: str
    manifest: Manifest
    config: ImageConfig
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    loaded: float  # when it came here, seconds since the epoch

    @property
    def chain(self) -> list[str]:
        """Chain IDs, bottom first."""
        return self.config.chain


@dataclass(frozen=True, slots=True)
class Removed:
    """What `remove` did: names taken away, images deleted (by ID)."""

    untagged: tuple[str, ...]
    deleted: tuple[str, ...]


class ImageStore:
    """The images under one directory. Every method blocks on the disk; use a thread."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.scratch = Scratch(root / "tmp")
        self.blobs = Blobs(root / "blobs" / "sha256", self.scratch)
        self.layers = Layers(root / "layers", self.blobs, self.scratch)
        self.snapshots = root / "snapshots"
        self.cache = root / "cache"
        self._references = root / "references"
        self._images = root / "images"
        for directory in (self.snapshots, self.cache, self._references, self._images):
            directory.mkdir(exist_ok=True)
        self._wanted = root / "collect"  # exists while a collection is due

    def clean(self, before: Callable[[Path], object] = mounts.unmount_below) -> None:
        """Remove what processes that were killed have left unfinished. Call once when a process starts.

        `before` is told of each such directory; it must at least unmount what is mounted there.
        """
        self.scratch.clean(before)

    def close(self) -> None:
        self.scratch.close()

    # Names

    def names(self) -> dict[str, str]:
        """Every name (tags and digests, full) and the ID of its image."""
        found = {}
        for entry in self._references.iterdir():
            try:
                found[unquote(entry.name)] = str(json.loads(entry.read_bytes())["image"])
            except (FileNotFoundError, ValueError, KeyError):
                continue
        return found

    def _name_file(self, name: Reference | str) -> Path:
        return self._references / quote(str(name), safe="")

    def put(self, manifest_digest: str, names: Iterable[Reference | str] = ()) -> Image:
        """Make an image of a manifest whose content is all here, and point names at it. Call while `adding`."""
        manifest = Manifest.parse(self.blobs.read(manifest_digest))
        identity = manifest.config.digest
        file = self._images / (hex_of(identity) + ".json")
        with self._renaming():
            if not self._record(identity):
                record = {"manifest": manifest_digest, "loaded": time.time()}
                write_file(file, dump(record), self.scratch)
            for name in names:
                self._point(name, manifest_digest, identity)
            return self._image(identity, self.names())

    @contextmanager
    def _renaming(self) -> Iterator[None]:
        """Keep names and images as they are, for others, while both are changed; short."""
        fd = os.open(self.root / "names", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _point(self, name: Reference | str, manifest: str, identity: str) -> None:
        data = dump({"manifest": manifest, "image": identity})
        path = self._name_file(name)
        if len(path.name) > 255:
            raise InvalidReference(f"the name {name} is too long")
        write_file(path, data, self.scratch)

    def manifest_of(self, name: str) -> str:
        """The digest of the manifest that a full name points at; empty where there is no such name."""
        try:
            return str(json.loads(self._name_file(name).read_bytes())["manifest"])
        except FileNotFoundError:
            return ""

    def tag(self, source: str, name: str) -> None:
        """Give an image one more name. Raises ImageNotFound, InvalidReference."""
        target = references.parse(name)
        if target.digest:
            raise InvalidReference("refusing to create a tag with a digest reference")
        with self.adding(), self._renaming():
            image = self.find(source)
            self._point(target, image.manifest_digest, image.id)

    # Looking up

    def find(self, name: str) -> Image:
        """An image by name, ID, or a unique beginning of an ID. Raises ImageNotFound, worded as Docker's."""
        names = self.names()
        identity = self._identify(name, names)
        if identity:
            return self._image(identity, names)
        raise ImageNotFound(f"No such image: {_shown(name)}")

    def _identify(self, name: str, names: dict[str, str]) -> str:
        bare = name.removeprefix("sha256:")
        if len(bare) == 64 and (self._images / f"{bare}.json").exists():
            return f"sha256:{bare}"
        try:
            reference = references.parse(name)
        except InvalidReference:
            reference = None
        if reference and reference.digest:
            found = names.get(str(reference.at(reference.digest)))
            if found:
                return found
        elif reference and str(reference) in names:
            return names[str(reference)]
        if bare and not set(bare) - set("0123456789abcdef"):
            fit = [e.stem for e in self._images.glob(f"{bare}*.json")]
            if len(fit) == 1:
                return f"sha256:{fit[0]}"
        return ""

    def has(self, name: str) -> bool:
        return bool(self._identify(name, self.names()))

    def all(self) -> list[Image]:
        """All images, the newest first."""
        names = self.names()
        found = []
        for entry in self._images.glob("*.json"):
            try:
                found.append(self._image(f"sha256:{entry.stem}", names))
            except ImageError:
                continue  # removed meanwhile, or damaged: not an image
        return sorted(found, key=lambda i: i.config.created, reverse=True)

    def _image(self, identity: str, names: dict[str, str]) -> Image:
        record = self._record(identity)
        if not record:
            raise ImageNotFound(f"No such image: {identity}")
        manifest = Manifest.parse(self.blobs.read(record["manifest"]))
        config = ImageConfig.parse(self.blobs.read(identity))
        own = sorted(name for name, target in names.items() if target == identity)
        size = sum(self.layers.size(c) for c in config.chain) or sum(x.size for x in manifest.layers)
        return Image(
            identity,
            record["manifest"],
            manifest,
            config,
            tuple(n for n in own if "@" not in n),
            tuple(n for n in own if "@" in n),
            size,
            float(record.get("loaded", 0)),
        )

    def _record(self, identity: str) -> dict[str, Any]:
        """What is written of an image; empty where there is none, or one that is torn."""
        try:
            record: dict[str, Any] = json.loads((self._images / (hex_of(identity) + ".json")).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return record

    def unpack(self, image: Image) -> list[Path]:
        """The directories of an image's layers, bottom first, unpacked if they were not."""
        with self.adding():
            return self.layers.unpack(image.config.diff_ids, image.manifest.layers)

    # Removing

    def remove(
        self,
        name: str,
        *,
        force: bool = False,
        used_by: Callable[[str], str] | None = None,
        collect: bool = True,
    ) -> Removed:
        """Take a name away, and the image with its last name, as `docker rmi` does.

        `used_by` names a container that uses an image ID, or is empty. Raises ImageNotFound, ImageInUse.
        """
        with self._renaming():
            removed = self._remove(name, force, used_by)
        if collect:
            self.collect()
        return removed

    def _remove(self, name: str, force: bool, used_by: Callable[[str], str] | None) -> Removed:
        image = self.find(name)
        own = [*image.tags, *image.digests]
        gone = self._names_going(name, own)
        by_id = not gone
        if by_id:
            if len({_repository(n) for n in own}) > 1 and not force:
                raise ImageInUse(
                    f"conflict: unable to delete {_short(image.id)} (must be forced) - "
                    "image is referenced in multiple repositories"
                )
            gone = own
        last = len(gone) == len(own)
        user = used_by(image.id) if used_by and last else ""
        if user and (by_id or not force):
            raise ImageInUse(_in_use(name, image.id, user, by_id))
        for each in gone:
            self._name_file(each).unlink(missing_ok=True)
        deleted: tuple[str, ...] = ()
        if last and not user:
            (self._images / (hex_of(image.id) + ".json")).unlink(missing_ok=True)
            deleted = (image.id,)
        return Removed(tuple(gone), deleted)

    @staticmethod
    def _names_going(name: str, own: Sequence[str]) -> list[str]:
        """The names that go with one: itself, and with a repository's last tag that repository's digests.

        None where `name` is an ID.
        """
        try:
            reference = references.parse(name)
        except InvalidReference:
            return []
        wanted = str(reference.at(reference.digest) if reference.digest else reference)
        if wanted not in own:
            return []
        stem = f"{reference.registry}/{reference.repository}"
        tags = [n for n in own if n.startswith(stem + ":")]
        digests = [n for n in own if n.startswith(stem + "@")]
        return [wanted, *digests] if tags == [wanted] else [wanted]

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Hold off the collector while content comes in that nothing refers to yet."""
        fd = self._lock()
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield
        finally:
            os.close(fd)
            if self._wanted.exists():
                self.collect()

    def _lock(self) -> int:
        return os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def collect(self) -> int:
        """Delete content and layers that no image, container or fresh build step needs.

        Returns the bytes of content freed.
        Where content is being added right now it happens as soon as that ends.
        """
        self._wanted.touch()
        fd = self._lock()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._wanted.unlink(missing_ok=True)
            gone = self._detach_unneeded()
        except BlockingIOError:
            return 0
        finally:
            os.close(fd)
        return sum(map(_delete, gone))  # without the lock: files may be many, and the disk slow

    def _detach_unneeded(self) -> list[Path]:
        """Take out what nothing needs; the paths are to be deleted. Call with the lock."""
        try:
            blobs, layers = self._needed()
        except (ValueError, KeyError, ImageError, OSError):
            return []  # a file of ours is damaged: nobody knows what it needed, so everything stays
        found = [self.blobs.detach(d) for d in list(self.blobs) if d not in blobs]
        found += [self.layers.detach(c) for c in list(self.layers) if c not in layers]
        return [path for path in found if path]

    def _needed(self) -> tuple[set[str], set[str]]:
        """The blobs and the chain IDs that must stay."""
        blobs: set[str] = set()
        layers: set[str] = set()
        manifests = {json.loads(e.read_bytes())["manifest"] for e in self._images.glob("*.json")}
        manifests |= {json.loads(e.read_bytes())["manifest"] for e in self._references.iterdir()}
        for digest in manifests:
            blobs.add(digest)
            try:
                manifest = Manifest.parse(self.blobs.read(digest))
                config = ImageConfig.parse(self.blobs.read(manifest.config.digest))
            except ImageNotFound:
                continue
            blobs |= {manifest.config.digest, *(x.digest for x in manifest.layers)}
            layers |= set(config.chain)
        for entry in self.snapshots.glob("*/snapshot.json"):
            layers |= set(json.loads(entry.read_bytes())["layers"])
        for step in self._fresh_steps():
            layers |= set(chain_ids(step["diff_ids"]))
            blobs |= set(step["blobs"])
        return blobs, layers

    def _fresh_steps(self) -> Iterator[dict[str, Any]]:
        """Build steps used in the last days; older ones are forgotten."""
        for entry in self.cache.glob("*.json"):
            if time.time() - entry.stat().st_mtime > CACHE_DAYS * 86400:
                entry.unlink(missing_ok=True)
            else:
                yield json.loads(entry.read_bytes())

    def prune(self) -> tuple[tuple[str, ...], int]:
        """Delete the images without a name; returns their IDs and the bytes freed."""
        with self._renaming():
            gone = [i.id for i in self.all() if not i.tags and not i.digests]
            for identity in gone:
                (self._images / (hex_of(identity) + ".json")).unlink(missing_ok=True)
        return tuple(gone), self.collect()

    def forget_steps(self) -> int:
        """Empty the build cache; returns the bytes freed."""
        for entry in self.cache.glob("*.json"):
            entry.unlink(missing_ok=True)
        return self.collect()


def _delete(path: Path) -> int:
    """Delete a file or a directory; returns the bytes of a file."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return 0
    size = path.stat().st_size
    path.unlink()
    return size


def _repository(name: str) -> str:
    return name.partition("@")[0] if "@" in name else name.rpartition(":")[0]


def _in_use(name: str, identity: str, user: str, by_id: bool) -> str:
    """Docker's words for an image that a container keeps."""
    if by_id:
        return (
            f"conflict: unable to delete {_short(identity)} (cannot be forced) - "
            f"image is being used by running container {user}"
        )
    return (
        f'conflict: unable to remove repository reference "{name}" (must force) - '
        f"container {user} is using its referenced image {_short(identity)}"
    )


def _short(identity: str) -> str:
    return identity.removeprefix("sha256:")[:12]


def _shown(name: str) -> str:
    """A name as Docker's errors show it: with its tag."""
    try:
        return references.parse(name).familiar
    except InvalidReference:
        return name


def short_history(config: ImageConfig, sizes: list[int]) -> list[dict[str, Any]]:
    """The history of an image, newest first, each entry with the size of the layer it made."""
    rest = list(sizes)
    found = []
    for step in config.raw.get("history") or []:
        size = 0 if step.get("empty_layer") or not rest else rest.pop(0)
        found.append({**step, "size": size})
    return found[::-1]
