"""Small images for tests: archives by hand, and images put straight into a store."""

from __future__ import annotations

from sampan.engine.images import tar
from sampan.engine.images.model import OCI_CONFIG, OCI_LAYER, digest_of, dump, make_manifest
from sampan.engine.images.store import Image, ImageStore
from sampan.engine.images.tar import Entry


def archive(*members: Entry | tuple[Entry, bytes]) -> bytes:
    """A tar archive; a member with data is a pair."""
    out = []
    for member in members:
        entry, data = member if isinstance(member, tuple) else (member, b"")
        entry.size = len(data)
        out += [tar.header(entry), data, tar.padding(len(data))]
    return b"".join([*out, tar.END])


def file(name: str, data: bytes = b"", **more: object) -> tuple[Entry, bytes]:
    return Entry(name, **more), data  # type: ignore[arg-type]


def directory(name: str, mode: int = 0o755, **more: object) -> Entry:
    return Entry(name, tar.DIRECTORY, mode, **more)  # type: ignore[arg-type]


def symlink(name: str, target: str) -> Entry:
    return Entry(name, tar.SYMLINK, 0o777, target=target)


def put_image(store: ImageStore, *layers: bytes, names: tuple[str, ...] = (), **config: object) -> Image:
    """An image of uncompressed layers; `config` is its `config` part."""
    with store.adding():
        blobs = [store.blobs.put(data, OCI_LAYER) for data in layers]
        document = {
            "created": "2026-01-02T03:04:05Z",
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest_of(x) for x in layers]},
            "history": [{"created_by": f"layer {n}"} for n in range(len(layers))],
        }
        manifest = make_manifest(store.blobs.put(dump(document), OCI_CONFIG), blobs)
        return store.put(store.blobs.put(manifest).digest, names)
