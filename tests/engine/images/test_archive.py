"""Archives of images, in every form they come in."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
from pathlib import Path

import pytest
from tests.engine.images.image_making import Member, directory, file, put_image, symlink
from tests.engine.images.image_making import archive as tar_of

from sampan.engine.images import archive
from sampan.engine.images.compression import gzipped
from sampan.engine.images.model import ImageError, digest_of
from sampan.engine.images.store import ImageStore
from sampan.host import mounts

# Larger than what is kept in memory, and not to be compressed, so that it is unpacked ahead.
LARGE = random.Random(1).randbytes(2_000_000)
BOTTOM = tar_of(directory("", 0o711), directory("d", 0o700), file("d/large", LARGE))
TOP = tar_of(file("d/second", LARGE[::-1]), file("d/.wh.large"))  # leaves the directory d out


def loaded(store: ImageStore, data: bytes) -> archive.Loaded:
    [found] = archive.load(store, io.BytesIO(data))
    assert os.listdir(store.scratch.path) == []
    return found


def docker_archive(*layers: bytes, links: bool = False) -> bytes:
    """As Docker before 25 wrote it: a directory for each layer."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["x"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(x) for x in layers]},
        }
    ).encode()
    members: list[Member] = []
    for n, layer in enumerate(layers):
        members += [directory(f"{n}/"), file(f"{n}/VERSION", b"1.0"), file(f"{n}/layer.tar", layer)]
    paths = [f"{n}/layer.tar" for n in range(len(layers))]
    if links:
        members += [directory("again/"), symlink("again/layer.tar", "../0/layer.tar")]
        paths[0] = "again/layer.tar"
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": ["old:1"], "Layers": paths}]).encode()
    members += [file(name, config), file("manifest.json", manifest)]
    return tar_of(*members)


@pytest.mark.parametrize("links", [False, True])
def test_an_archive_of_an_older_docker(store: ImageStore, links: bool) -> None:
    found = loaded(store, docker_archive(BOTTOM, TOP, links=links))
    assert found.names == ("old:1",)
    lower, upper = (store.layers.path(c) for c in found.image.chain)
    assert (lower / "d/large").read_bytes() == LARGE
    assert (upper / "d/second").read_bytes() == LARGE[::-1]
    # The directory that the upper layer leaves out looks as it does below, and so does the root.
    assert (upper / "d").stat().st_mode & 0o777 == 0o700
    assert upper.stat().st_mode & 0o777 == 0o711


def test_a_compressed_archive_of_compressed_layers(store: ImageStore, tmp_path: Path) -> None:
    source = ImageStore(tmp_path / "source")
    image = put_image(source, BOTTOM, TOP, names=("docker.io/library/a:1", "docker.io/library/b:2"))
    data = b"".join(archive.save(source, ["a:1", image.id, "b"]))
    again = loaded(store, b"".join(gzipped([data])))
    assert again.image.id == image.id
    assert again.names == ("a:1", "b:2")
    source.close()


def test_a_bare_oci_layout(store: ImageStore, tmp_path: Path) -> None:
    squeezed = b"".join(gzipped([BOTTOM]))
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest_of(BOTTOM)]},
        }
    ).encode()

    def described(kind: str, data: bytes) -> dict[str, object]:
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": digest_of(data),
            "size": len(data),
        }

    parts = {"schemaVersion": 2, "config": described("config.v1+json", config)}
    manifest = json.dumps({**parts, "layers": [described("layer.v1.tar+gzip", squeezed)]}).encode()
    entry = described("manifest.v1+json", manifest)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "registry.example/x:1"}
    blobs = [file(f"blobs/sha256/{digest_of(b)[7:]}", b) for b in (squeezed, config, manifest)]
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    found = loaded(store, tar_of(file("oci-layout", b"{}"), *blobs, file("index.json", index)))
    assert found.names == ("registry.example/x:1",)
    assert found.image.manifest_digest == digest_of(manifest)
    assert (store.layers.path(found.image.chain[0]) / "d/large").read_bytes() == LARGE


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (tar_of(file("a", b"1")), "no manifest.json"),
        (docker_archive(BOTTOM)[:900_000], "ends in the middle"),
        (b"not a tar archive" * 100, "checksum|not a number"),
        (docker_archive(BOTTOM).replace(b"d/large", b"d/LARGE", 1), "checksum"),
        (tar_of(file("manifest.json", b'[{"Config": "x.json", "Layers": []}]')), "it has no x.json"),
    ],
)
def test_damaged_archives_leave_nothing(store: ImageStore, data: bytes, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        archive.load(store, io.BytesIO(data))
    assert os.listdir(store.scratch.path) == []
    assert store.all() == []
    store.collect()
    assert list(store.blobs) == []


@pytest.mark.root
def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    root = tmp_path / "full"
    root.mkdir()
    mounts.mount("tmpfs", root, "tmpfs", 0, "size=4m")
    try:
        store = ImageStore(root)
        small = put_image(store, tar_of(file("f", b"1")), names=("docker.io/library/small:1",))
        with pytest.raises(OSError, match="No space left"):
            archive.load(store, io.BytesIO(docker_archive(BOTTOM, TOP)))
        assert os.listdir(store.scratch.path) == []
        assert [i.id for i in store.all()] == [small.id]
        store.collect()
        assert store.unpack(store.find("small:1"))
        store.close()
    finally:
        mounts.unmount(root, lazy=True)
