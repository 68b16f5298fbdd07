from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine.images.image_making import busybox_image

from sampan.engine.build.builder import Options, build
from sampan.engine.images.model import ImageNotFound, Platform
from sampan.engine.images.store import Image, ImageStore
from sampan.host import mounts
from sampan.machinery.images import Reference


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    """A store that has `busybox`."""
    made = ImageStore(tmp_path / "images")
    busybox_image(made)
    yield made
    left = mounts.below(tmp_path)
    mounts.unmount_below(tmp_path)
    made.close()
    assert not left


class Bench:
    """A context to build in; `said` is what a person would have read."""

    def __init__(self, store: ImageStore, context: Path):
        self.store, self.context = store, context
        self.said = ""
        self._waiting: dict[str, asyncio.Event] = {}
        context.mkdir()

    async def heard(self, text: str) -> None:
        """Wait until exactly that was said in one piece."""
        event = self._waiting.setdefault(text, asyncio.Event())
        async with asyncio.timeout(20):
            await event.wait()

    def write(self, name: str, text: str = "", mode: int = 0o644) -> Path:
        path = self.context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    async def build(self, dockerfile: str, **options: object) -> Image:
        self.said = ""
        self.write("Dockerfile", dockerfile)

        def output(text: str) -> None:
            self.said += text
            if text in self._waiting:
                self._waiting[text].set()

        return await build(self.store, self.context, Options(**options), output, self.pull)  # type: ignore[arg-type]

    async def pull(self, reference: Reference, platform: Platform) -> Image:
        raise ImageNotFound(f"cannot reach registry {reference.registry}")

    def read(self, image: Image, path: str) -> str:
        """A file of an image, from its topmost layer that has it."""
        return self.file(image, path).read_text()

    def file(self, image: Image, path: str) -> Path:
        for chain in reversed(image.chain):
            found = self.store.layers.path(chain) / path
            if found.exists():
                return found
        raise FileNotFoundError(path)


@pytest.fixture
def bench(store: ImageStore, tmp_path: Path) -> Bench:
    return Bench(store, tmp_path / "context")
