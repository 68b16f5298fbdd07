from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.engine.images.store import ImageStore
from sampan.host import mounts


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    """An empty image store; mounts that a failed test left are taken away."""
    made = ImageStore(tmp_path / "images")
    yield made
    mounts.unmount_below(tmp_path)
    made.close()
