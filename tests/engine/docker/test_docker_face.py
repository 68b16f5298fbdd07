"""The unmodified docker client, and our own, on the engine's socket."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.engine.images.registry_server import Registry

from sampan.engine.docker.client import EngineClient, Screen
from sampan.engine.images.model import ImageError
from sampan.engine.images.store import ImageStore
from sampan.http.client import HttpClient

if TYPE_CHECKING:
    from tests.engine.docker.conftest import Daemon

pytestmark = pytest.mark.root


async def test_docker_build_images_inspect_history_tag_and_rmi(daemon: Daemon, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM busybox\nARG WHO\nRUN echo hello $WHO\nCOPY f /f\nENV A=1\n")
    (context / "f").write_text("x" * 1000)
    (context / "big.log").write_text("x")
    (context / ".dockerignore").write_text("*.log\n")
    said = (
        await daemon.docker("build", "--build-arg", "WHO=you", "-t", "app:1", str(context))
    ).stdout.decode()
    assert "Step 3/5 : RUN echo hello $WHO\n" in said
    assert "hello you\n" in said
    assert said.endswith("Successfully tagged app:1\n")
    again = (await daemon.docker("build", "-q", "--build-arg", "WHO=you", str(context))).stdout.decode()
    assert again.startswith("sha256:")
    assert sorted(await daemon.lines("images", "--format", "{{.Repository}}:{{.Tag}}")) == [
        "app:1",
        "busybox:latest",
    ]
    [found] = json.loads((await daemon.docker("image", "inspect", "app:1")).stdout)
    assert found["Id"] == again.strip()
    assert "A=1" in found["Config"]["Env"]
    history = await daemon.lines("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Size}}", "app:1")
    assert history[:3] == ["ENV A=1|0B", "COPY f /f|1kB", "RUN /bin/sh -c echo hello $WHO|0B"]
    await daemon.docker("tag", "app:1", "other:2")
    gone = await daemon.lines("rmi", "app:1", "other:2")
    assert gone[:2] == ["Untagged: app:1", "Untagged: other:2"]
    assert gone[2] == f"Deleted: {found['Id']}"


async def test_docker_save_and_load(daemon: Daemon, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    await daemon.docker("save", "-o", str(saved), "busybox")
    image = daemon.store.find("busybox")
    await daemon.docker("rmi", "busybox")
    assert await daemon.lines("load", "-i", str(saved)) == ["Loaded image: busybox:latest"]
    assert daemon.store.find("busybox").id == image.id
    assert daemon.store.find("busybox").manifest_digest == image.manifest_digest
    failed = await daemon.docker("load", input=b"no archive" * 100, check=False)
    assert failed.status == 1
    assert b"tar" in failed.stderr


async def test_docker_import_and_prune(daemon: Daemon, tmp_path: Path) -> None:
    saved = tmp_path / "rootfs.tar"
    saved.write_bytes(daemon.store.blobs.open(daemon.store.find("busybox").manifest.layers[0].digest).read())
    [identity] = await daemon.lines("import", str(saved), "imported:1")
    assert daemon.store.find("imported:1").id == identity
    await daemon.docker("import", str(saved))
    assert len(daemon.store.all()) == 3
    assert "Total reclaimed space" in (await daemon.docker("image", "prune", "-f")).stdout.decode()
    assert len(daemon.store.all()) == 2


async def test_docker_push_and_pull(daemon: Daemon) -> None:
    registry = Registry().serve()
    try:
        name = f"{registry.host}/team/bb:1"
        await daemon.docker("tag", "busybox", name)
        pushed = (await daemon.docker("push", name)).stdout.decode()
        assert "1: digest: sha256:" in pushed
        await daemon.docker("rmi", name)
        pulled = (await daemon.docker("pull", name)).stdout.decode()
        assert f"Status: Downloaded newer image for {name}" in pulled
        missing = await daemon.docker("pull", f"{registry.host}/team/bb:2", check=False)
        assert b"manifest for" in missing.stderr
        assert b"not found: manifest unknown" in missing.stderr
    finally:
        registry.stop()


async def test_errors_are_docker_s(daemon: Daemon, tmp_path: Path) -> None:
    assert b"No such image: nothing:latest" in (await daemon.docker("rmi", "nothing", check=False)).stderr
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN exit 7\n")
    failed = await daemon.docker("build", str(tmp_path), check=False)
    assert b"returned a non-zero code: 7" in failed.stderr
    assert failed.status == 7
    assert b"page not found" in (await daemon.docker("ps", check=False)).stderr
    http = HttpClient(f"unix://{daemon.socket}")
    response = await http.request("GET", "/v1.99/version")
    assert response.status == 400
    assert "too new" in json.loads(await response.read())["message"]
    await http.close()


async def test_our_own_client(daemon: Daemon, tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "sub").mkdir(parents=True)
    (context / "sub" / "Dockerfile").write_text("FROM busybox\nCOPY . /all/\n")
    (context / "a").write_text("1")
    (context / "link").symlink_to("a")
    (context / "skip").write_text("1")
    (context / ".dockerignore").write_text("skip\n")
    async with EngineClient(daemon.socket) as client:
        screen = Screen(open(os.devnull, "w"))  # noqa: SIM115
        async for document in client.build(context, names=["mine:1"], dockerfile="sub/Dockerfile"):
            screen.show(document)
        image = daemon.store.find("mine:1")
        top = daemon.store.layers.path(image.chain[-1]) / "all"
        assert sorted(os.listdir(top)) == [".dockerignore", "a", "link", "sub"]
        await client.save(["mine:1"], tmp_path / "mine.tar")
        assert [r for r in await client.remove("mine:1") if "Deleted" in r] == [{"Deleted": image.id}]
        said = [d async for d in client.load(tmp_path / "mine.tar")]
        assert said[-1] == {"stream": "Loaded image: mine:1\n"}
        assert {t for i in await client.images() for t in i["RepoTags"]} == {"busybox:latest", "mine:1"}
        with pytest.raises(ImageError, match="No such image: nope:latest"):
            await client.remove("nope")
        with pytest.raises(ImageError, match="cannot reach registry localhost:1"):
            assert [d async for d in client.pull("localhost:1/x")] == []
    async with EngineClient(tmp_path / "nowhere.sock") as client:
        with pytest.raises(ImageError, match=r"cannot reach the engine at .*nowhere.sock"):
            await client.images()


async def test_two_engines_on_one_store(daemon: Daemon) -> None:
    other = ImageStore(daemon.store.root)
    await daemon.docker("tag", "busybox", "seen:1")
    assert other.has("seen:1")
    other.close()
