"""Names, images, layers and what a container gets of them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from tests.engine.images.image_making import archive, directory, file, put_image

from sampan.engine.images import snapshots
from sampan.engine.images.content import DigestMismatch
from sampan.engine.images.model import ImageInUse, ImageNotFound
from sampan.engine.images.store import ImageStore
from sampan.host import mounts

BASE = archive(directory("", 0o711), directory("etc"), file("etc/a", b"1"), file("etc/b", b"2"))
ABOVE = archive(file("etc/.wh.a"), file("etc/c", b"3"))


def test_a_container_gets_the_layers_and_a_place_to_write(store: ImageStore) -> None:
    image = put_image(store, BASE, ABOVE, names=("docker.io/library/x:1",))
    root = snapshots.prepare(store, "c1", image)
    assert sorted(os.listdir(root / "etc")) == ["b", "c"]
    assert root.stat().st_mode & 0o7777 == 0o711  # as the lowest layer says
    (root / "etc" / "b").write_text("changed")
    assert snapshots.prepare(store, "c1", image) == root  # again, as after a crash: nothing is lost
    assert (root / "etc" / "b").read_text() == "changed"
    other = snapshots.prepare(store, "c2", image)
    assert (other / "etc" / "b").read_text() == "2"
    assert snapshots.usage(store, "c1")[0] > 0
    assert snapshots.image_users(store, image.id) == ["c1", "c2"]
    for name in ("c1", "c2", "c2"):
        snapshots.remove(store, name)
    assert not mounts.below(store.root)
    assert snapshots.containers(store) == []


def test_an_image_may_have_more_layers_than_mount_options_have_room_for(store: ImageStore) -> None:
    layers = [archive(file(f"f{n}", b"1")) for n in range(100)]
    root = snapshots.prepare(store, "many", put_image(store, *layers))
    assert len(os.listdir(root)) == 100
    snapshots.remove(store, "many")


def test_an_image_is_found_by_name_id_and_beginning_of_id(store: ImageStore) -> None:
    image = put_image(store, BASE, names=("docker.io/library/x:latest",))
    for name in (
        "x",
        "x:latest",
        "library/x",
        "docker.io/library/x:latest",
        image.id,
        image.id[7:],
        image.id[7:19],
    ):
        assert store.find(name).id == image.id
    with pytest.raises(ImageNotFound, match="No such image: y:latest"):
        store.find("y")


def test_the_last_name_takes_the_image_its_content_and_layers_along(store: ImageStore) -> None:
    image = put_image(store, BASE, names=("docker.io/library/x:1",))
    store.unpack(image)
    store.tag("x:1", "y:2")
    assert store.remove("x:1").deleted == ()
    assert store.find("y:2").id == image.id
    assert store.remove("y:2").deleted == (image.id,)
    assert list(store.blobs) == list(store.layers) == []


def test_layers_stay_while_a_container_stands_on_them(store: ImageStore) -> None:
    image = put_image(store, BASE, names=("docker.io/library/x:1",))
    root = snapshots.prepare(store, "c", image)
    store.remove("x:1")
    assert (root / "etc/a").read_text() == "1"
    assert snapshots.restore(store, "c") == root
    snapshots.remove(store, "c")
    store.collect()
    assert list(store.layers) == []


def test_an_image_in_use_is_not_removed(store: ImageStore) -> None:
    image = put_image(store, BASE, names=("docker.io/library/x:1",))
    with pytest.raises(ImageInUse, match=r"container c is using its referenced image"):
        store.remove("x:1", used_by=lambda _: "c")
    with pytest.raises(ImageInUse, match=r"cannot be forced"):
        store.remove(image.id, used_by=lambda _: "c", force=True)
    assert store.has("x:1")


def test_a_moved_name_leaves_an_image_that_prune_removes(store: ImageStore) -> None:
    old = put_image(store, BASE, names=("docker.io/library/x:1",))
    new = put_image(store, ABOVE, names=("docker.io/library/x:1",))
    assert {i.id for i in store.all()} == {old.id, new.id}
    assert store.prune()[0] == (old.id,)
    assert [i.id for i in store.all()] == [new.id]


def test_the_collector_waits_for_whoever_adds(store: ImageStore) -> None:
    with store.adding():
        blob = store.blobs.put(b"not referred to yet")
        assert store.collect() == 0
        assert store.blobs.has(blob.digest)
    assert not store.blobs.has(blob.digest)  # collected as the adding ended


def test_two_processes_share_a_store_and_clean_up_after_a_dead_one(store: ImageStore) -> None:
    other = ImageStore(store.root)
    put_image(other, BASE, names=("docker.io/library/x:1",))
    assert store.has("x:1")
    alive = other.scratch.new()
    alive.write_text("in progress")
    store.clean()
    assert alive.exists()
    pid = os.fork()
    if pid == 0:  # dies in the middle of its work
        left = ImageStore(store.root)
        left.scratch.new().write_text("torn")
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert len(os.listdir(store.root / "tmp")) == 3
    store.clean()
    assert len(os.listdir(store.root / "tmp")) == 2
    other.close()


def test_the_same_layer_unpacked_by_many_at_once_is_whole(store: ImageStore) -> None:
    data = archive(*(file(f"d/{n}", bytes(100)) for n in range(300)))
    image = put_image(store, data)
    threads = [threading.Thread(target=store.unpack, args=(image,)) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(os.listdir(store.layers.path(image.chain[0]) / "d")) == 300
    assert os.listdir(store.scratch.path) == []


def test_content_that_is_not_what_it_claims_is_refused(store: ImageStore) -> None:
    with pytest.raises(DigestMismatch):
        store.blobs.put_from([b"x"], "sha256:" + "0" * 64)
    digest = store.blobs.put(b"whole").digest
    store.blobs.path(digest).write_bytes(b"torn")
    with pytest.raises(ImageNotFound, match="damaged on disk"):
        store.blobs.read(digest)
    assert not store.blobs.has(digest)  # so that a pull or load brings it again
    assert os.listdir(store.scratch.path) == []


def test_a_layer_that_does_not_unpack_leaves_nothing(store: ImageStore, tmp_path: Path) -> None:
    image = put_image(store, BASE[:700])
    with pytest.raises(Exception, match="ends in the middle"):
        store.unpack(image)
    assert os.listdir(store.scratch.path) == []
    assert list(store.layers) == []


def test_a_damaged_record_keeps_the_collector_from_deleting_what_it_needs(store: ImageStore) -> None:
    image = put_image(store, BASE, names=("docker.io/library/x:1",))
    snapshots.prepare(store, "c", image)
    store.remove("x:1")
    (snapshots.directory(store, "c") / "snapshot.json").write_text("{torn")
    assert store.collect() == 0
    assert store.layers.has(image.chain[0])
    snapshots.remove(store, "c")
    store.collect()
    assert not store.layers.has(image.chain[0])


def test_pulls_and_removals_at_once_never_lose_what_is_named(store: ImageStore) -> None:
    """Threads add, name and remove the same few images while the collector runs."""
    layers = [archive(file(f"f{n}", bytes(1000))) for n in range(3)]
    problems: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for turn in range(15):
                n = (seed + turn) % 3
                name = f"docker.io/library/x:{seed}"
                image = put_image(store, BASE, layers[n], names=(name,))
                assert all(p.is_dir() for p in store.unpack(store.find(name)))
                assert store.find(name).id == image.id
                store.remove(name)
        except BaseException as e:
            problems.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert problems == []
    store.collect()
    assert list(store.blobs) == list(store.layers) == []
