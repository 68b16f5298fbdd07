"""Small images for tests: archives by hand, and images put straight into a store."""

from __future__ import annotations

from pathlib import Path

from sampan.engine.images import tar
from sampan.engine.images.model import OCI_CONFIG, OCI_LAYER, digest_of, dump, make_manifest
from sampan.engine.images.store import Image, ImageStore
from sampan.engine.images.tar import Entry

Member = Entry | tuple[Entry, bytes]


def archive(*members: Member) -> bytes:
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


def busybox_image(store: ImageStore, name: str = "docker.io/library/busybox:latest") -> Image:
    """The image that most tests build on: a static busybox under the usual names, users root, ann and nobody."""
    applets = [f"{d}/{n}" for d, names in _APPLETS.items() for n in names.split()]
    data = archive(
        directory("bin"),
        directory("usr/bin"),
        directory("tmp", 0o1777),
        directory("etc"),
        file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001:Ann:/home/ann:/bin/sh\n"),
        file("etc/group", b"root:x:0:\nann:x:1001:\nwheel:x:10:ann\n"),
        file("bin/busybox", Path("/bin/busybox").read_bytes(), mode=0o755),
        *(Entry(a, tar.LINK, target="bin/busybox") for a in applets),
    )
    return put_image(store, data, names=(name,), Env=["PATH=/bin:/usr/bin"], Cmd=["sh"])


_APPLETS = {
    "bin": "sh ls cat echo mkdir rm touch chmod chown ln sleep pwd stat mv cp sed grep ps kill wget nc true false",
    "usr/bin": "find env head tail wc sort tr cut id whoami printf seq expr dirname basename readlink nslookup ip",
}
