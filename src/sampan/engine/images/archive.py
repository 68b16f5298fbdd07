"""Images as one tar archive: what `docker save` and `docker load` exchange, and OCI image layouts.

`save` writes both forms in one: an OCI layout with a `manifest.json` beside it that points into its blobs, as Docker
25 and later do. `load` reads that, older Docker archives (`ID/layer.tar`) and bare OCI layouts, compressed or not.
Source: OCI image specification v1.1, image-layout.md; moby, image/spec/v1.2.md.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.engine.images import references, tar
from sampan.engine.images.ahead import Ahead, looks_like_layer
from sampan.engine.images.compression import Decompressed
from sampan.engine.images.model import (
    INDEXES,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    Descriptor,
    ImageConfig,
    ImageError,
    ImageNotFound,
    Manifest,
    choose,
    dump,
    hex_of,
    host_platform,
    make_manifest,
    parse,
)
from sampan.engine.images.references import InvalidReference
from sampan.engine.images.store import Image, ImageStore
from sampan.engine.images.tar import Entry, Source, TarReader
from sampan.machinery.images import Reference

_SMALL = 1 << 20  # members up to this size are kept in memory until it shows whether they are needed
_NAME, _REF = "io.containerd.image.name", "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image that came in, and the names the archive gave it (familiar; none for an image without)."""

    image: Image
    names: tuple[str, ...]


@dataclass(slots=True)
class _Members:
    """An archive's files by path: small ones as bytes, large ones as the blobs they have become."""

    store: ImageStore
    small: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, Descriptor] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    ahead: dict[str, Ahead] = field(default_factory=dict)  # by blob
    started: list[Ahead] = field(default_factory=list)

    def unpack(self, manifest: Manifest, config: ImageConfig) -> None:
        """Unpack an image's layers, with what has been unpacked ahead."""
        for n, layer in enumerate(manifest.layers[: len(config.diff_ids)]):
            chain = config.chain[: n + 1]
            if ahead := self.ahead.pop(layer.digest, None):
                ahead.adopt(self.store.layers, chain, config.diff_ids[n], layer.digest)
            self.store.layers.unpack_one(chain, config.diff_ids[n], layer.digest)
        self.store.layers.unpack(config.diff_ids, manifest.layers)

    def discard(self) -> None:
        for ahead in self.started:
            ahead.discard()

    def _real(self, path: str) -> str:
        path = posixpath.normpath(path)
        for _ in range(8):
            if path not in self.links:
                return path
            path = self.links[path]
        raise ImageError(f"the archive's {path} is a symbolic link to itself")

    def has(self, path: str) -> bool:
        return (real := self._real(path)) in self.small or real in self.large

    def text(self, path: str) -> bytes:
        """A document. Raises ImageError where it is missing or far too large."""
        real = self._real(path)
        if real not in self.small:
            raise ImageError(f"invalid archive: it has no {path}")
        return self.small[real]

    def blob(self, path: str, media_type: str) -> Descriptor:
        """A file as a blob of the store. Raises ImageError where it is missing."""
        real = self._real(path)
        if real in self.large:
            found = self.large[real]
            return Descriptor(media_type, found.digest, found.size)
        if real not in self.small:
            raise ImageError(f"invalid archive: it has no {path}")
        return self.store.blobs.put(self.small[real], media_type)

    def content(self, digest: str, media_type: str) -> Descriptor:
        """A blob of an OCI layout; what the archive leaves out may be in the store already."""
        path = f"blobs/sha256/{hex_of(digest)}"
        if not self.has(path) and self.store.blobs.has(digest):
            return Descriptor(media_type, digest, self.store.blobs.size(digest))
        found = self.blob(path, media_type)
        if found.digest != digest:
            raise ImageError(f"invalid archive: {path} is not what its name says")
        return found


def load(
    store: ImageStore, source: Source, progress: Callable[[str, int, int], None] | None = None
) -> list[Loaded]:
    """Read an archive into the store and unpack its images.

    `progress` is told the name, size and bytes done of each large member. Raises ImageError.
    """
    with store.adding():
        members = _Members(store)
        try:
            _read(members, source, progress)
            if members.has("manifest.json"):
                return _docker(members)
            if members.has("index.json"):
                return _layout(members)
            raise ImageError("invalid archive: no manifest.json (docker save) and no index.json (OCI layout)")
        finally:
            members.discard()


def _read(members: _Members, source: Source, progress: Callable[[str, int, int], None] | None) -> None:
    reader = TarReader(Decompressed(source, hashed=False))
    for entry in reader:
        path = posixpath.normpath(entry.name)
        if entry.kind in (tar.SYMLINK, tar.LINK):
            base = posixpath.dirname(path) if entry.kind == tar.SYMLINK else ""
            members.links[path] = posixpath.normpath(posixpath.join(base, entry.target))
        elif entry.kind == tar.FILE and entry.size <= _SMALL:
            members.small[path] = b"".join(reader.pieces())
        elif entry.kind == tar.FILE:
            members.large[path] = _ingest(members, reader, entry, progress)


def _ingest(
    members: _Members, reader: TarReader, entry: Entry, progress: Callable[[str, int, int], None] | None
) -> Descriptor:
    """Store a large member, and unpack it meanwhile where it may be a layer."""
    ahead: Ahead | None = None
    with members.store.blobs.ingest() as blob:
        try:
            for piece in reader.pieces():
                if not blob.size and looks_like_layer(piece):
                    ahead = Ahead(members.store)
                if ahead:
                    ahead.feed(piece)
                blob.write(piece)
                if progress:
                    progress(entry.name, entry.size, blob.size)
            digest = blob.commit()
        finally:
            if ahead:
                ahead.finish()
                members.started.append(ahead)
    if ahead:
        members.ahead[digest] = ahead
    return Descriptor("", digest, blob.size)


def _docker(members: _Members) -> list[Loaded]:
    """The images that a manifest.json lists."""
    import json

    try:
        listed = json.loads(members.text("manifest.json"))
    except ValueError as e:
        raise ImageError(f"invalid archive: manifest.json is not JSON: {e}") from None
    if not isinstance(listed, list) or not all(
        isinstance(each, dict) and "Config" in each for each in listed
    ):
        raise ImageError("invalid archive: manifest.json is not a list of images")
    found = []
    for each in listed:
        config = members.blob(each["Config"], OCI_CONFIG)
        layers = [members.blob(path, OCI_LAYER) for path in each.get("Layers") or ()]
        layers = [_typed(members.store, x) for x in layers]
        manifest = members.store.blobs.put(_kept(members, config) or make_manifest(config, layers))
        names = [references.parse(n) for n in each.get("RepoTags") or ()]
        found.append(_put(members, manifest.digest, names))
    return found


def _kept(members: _Members, config: Descriptor) -> bytes | None:
    """The manifest that the archive's OCI index has for this configuration, so that its digest stays."""
    if not members.has("index.json"):
        return None
    for entry in parse(members.text("index.json"), "index.json").get("manifests") or ():
        path = f"blobs/sha256/{hex_of(Descriptor.of(entry).digest)}"
        if members.has(path):
            data = members.text(path)
            raw = parse(data, path)
            if (raw.get("config") or {}).get("digest") == config.digest:
                return data
    return None


def _typed(store: ImageStore, layer: Descriptor) -> Descriptor:
    """A layer with the media type that its compression calls for."""
    with store.blobs.open(layer.digest) as f:
        head = f.read(4)
    suffix = "+gzip" if head[:2] == b"\x1f\x8b" else "+zstd" if head == b"\x28\xb5\x2f\xfd" else ""
    return Descriptor(OCI_LAYER + suffix, layer.digest, layer.size)


def _layout(members: _Members) -> list[Loaded]:
    """The images of an OCI layout: of each entry in its index the one for this machine."""
    found = []
    for raw in parse(members.text("index.json"), "index.json").get("manifests") or ():
        entry = Descriptor.of(raw)
        while entry.media_type in INDEXES:
            index = members.text(f"blobs/sha256/{hex_of(members.content(entry.digest, '').digest)}")
            entry = Descriptor.of({**choose(index, host_platform()).json(), "annotations": entry.annotations})
        manifest = members.content(entry.digest, entry.media_type)
        parsed = Manifest.parse(members.store.blobs.read(manifest.digest))
        for part in (parsed.config, *parsed.layers):
            members.content(part.digest, part.media_type)
        found.append(_put(members, manifest.digest, _names(entry.annotations)))
    return found


def _names(annotations: dict[str, str]) -> list[Reference]:
    """The name an index entry carries: containerd's full one, else the layout's own where that is a name."""
    for key in (_NAME, _REF):
        text = annotations.get(key, "")
        if text and (key == _NAME or "/" in text or ":" in text):
            try:
                return [references.parse(text)]
            except InvalidReference:
                continue
    return []


def _put(members: _Members, digest: str, names: Sequence[Reference]) -> Loaded:
    """Make an image of a manifest once its layers have been unpacked, so that a damaged one never gets a name."""
    manifest = Manifest.parse(members.store.blobs.read(digest))
    members.unpack(manifest, ImageConfig.parse(members.store.blobs.read(manifest.config.digest)))
    return Loaded(members.store.put(digest, names), tuple(n.familiar for n in names))


def save(store: ImageStore, names: Sequence[str]) -> Iterator[bytes]:
    """The pieces of an archive of images, by name or ID; a repository without tag means all its tags.

    Raises ImageNotFound before the first piece.
    """
    chosen: dict[str, tuple[Image, list[Reference]]] = {}
    for name in names:
        for image, reference in _wanted(store, name):
            _, refs = chosen.setdefault(image.id, (image, []))
            if reference and reference not in refs:
                refs.append(reference)
    return _archive(store, list(chosen.values()))


def _wanted(store: ImageStore, name: str) -> list[tuple[Image, Reference | None]]:
    """The images, with their names, that one argument of `docker save` means."""
    try:
        reference = references.parse(name, default_tag="")
    except InvalidReference:
        reference = None
    if reference and not reference.version:
        stem = f"{reference.registry}/{reference.repository}:"
        tagged = [(store.find(n), references.parse(n)) for n in sorted(store.names()) if n.startswith(stem)]
        if tagged:
            return list(tagged)
    image = store.find(name)
    named = reference is not None and str(reference) in image.tags
    return [(image, reference if named else None)]


def _archive(store: ImageStore, images: list[tuple[Image, list[Reference]]]) -> Iterator[bytes]:
    index: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    blobs: dict[str, None] = {}
    for image, names in images:
        parts = [image.manifest_digest, image.id, *(x.digest for x in image.manifest.layers)]
        blobs.update(dict.fromkeys(parts))
        entry = Descriptor(
            image.manifest.media_type, image.manifest_digest, store.blobs.size(image.manifest_digest)
        )
        notes = [{_NAME: str(n), _REF: n.tag} for n in names]
        index += [{**entry.json(), "annotations": note} for note in notes] or [entry.json()]
        listed.append(
            {
                "Config": _path(image.id),
                "RepoTags": [n.familiar for n in names] or None,
                "Layers": [_path(x.digest) for x in image.manifest.layers],
            }
        )
    for digest in blobs:
        if not store.blobs.has(digest):
            raise ImageNotFound(f"content {digest} is not in the store")
    yield tar.header(Entry("blobs/", tar.DIRECTORY, 0o755))
    yield tar.header(Entry("blobs/sha256/", tar.DIRECTORY, 0o755))
    for digest in sorted(blobs):
        yield from _blob(store, digest)
    yield from _document("index.json", dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index}))
    yield from _document("manifest.json", dump(listed))
    yield from _document("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    yield tar.END


def _path(digest: str) -> str:
    return f"blobs/sha256/{hex_of(digest)}"


def _blob(store: ImageStore, digest: str) -> Iterator[bytes]:
    size = store.blobs.size(digest)
    yield tar.header(Entry(_path(digest), size=size))
    with store.blobs.open(digest) as f:
        while piece := f.read(tar.CHUNK):
            yield piece
    yield tar.padding(size)


def _document(name: str, data: bytes) -> Iterator[bytes]:
    yield tar.header(Entry(name, size=len(data)))
    yield data + tar.padding(len(data))


def single_layer(store: ImageStore, source: Source, names: Sequence[str] = (), **config: Any) -> Image:
    """An image of one layer from the archive of a root filesystem, as `docker import` does; `config` is how it runs."""
    from datetime import UTC, datetime

    with store.adding():
        stream = Decompressed(source, hashed=False)
        digest, size = store.blobs.put_from(iter(lambda: stream.read(tar.CHUNK), b""))
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        here = host_platform()
        document = {
            "created": now,
            "architecture": here.architecture,
            "os": here.os,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest]},
            "history": [{"created": now, "comment": "Imported from a root filesystem"}],
        }
        described = store.blobs.put(dump(document), OCI_CONFIG)
        manifest = make_manifest(described, [Descriptor(OCI_LAYER, digest, size)])
        store.layers.unpack([digest], [Descriptor(OCI_LAYER, digest, size)])
        return store.put(store.blobs.put(manifest).digest, [references.parse(n) for n in names])
