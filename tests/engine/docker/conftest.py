from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.engine.images.image_making import busybox_image

from sampan.engine.docker.face import Face
from sampan.engine.docker.server import serve
from sampan.engine.images.store import ImageStore
from sampan.host import mounts, process
from sampan.host.process import Completed


@dataclass
class Daemon:
    """An engine's socket with `busybox` in its store, and the unmodified docker client to use it with."""

    store: ImageStore
    socket: Path
    home: Path

    async def docker(self, *words: str, input: bytes = b"", check: bool = True) -> Completed:
        env = {
            **os.environ,
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_BUILDKIT": "0",
            "HOME": str(self.home),
        }
        return await process.run("docker", *words, input=input, check=check, env=env, timeout=60)

    async def lines(self, *words: str) -> list[str]:
        return (await self.docker(*words)).stdout.decode().splitlines()


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    store = ImageStore(tmp_path / "images")
    busybox_image(store)
    server = await serve(Face(store), tmp_path / "docker.sock")
    yield Daemon(store, tmp_path / "docker.sock", tmp_path)
    await server.close(1)
    mounts.unmount_below(tmp_path)
    store.close()
