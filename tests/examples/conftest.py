from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "examples" / "base"))

from sampan.engine.docker.client import EngineClient
from sampan.engine.docker.face import Face
from sampan.engine.docker.server import serve
from sampan.engine.images.store import ImageStore
from sampan.host import mounts

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EngineClient]:
    """A client of an engine with an empty store."""
    store = ImageStore(tmp_path / "images")
    server = await serve(Face(store), tmp_path / "engine.sock")
    async with EngineClient(tmp_path / "engine.sock") as client:
        yield client
    await server.close(1)
    mounts.unmount_below(tmp_path)
    store.close()


@pytest.fixture
def examples() -> Path:
    return EXAMPLES
