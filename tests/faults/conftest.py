"""Clusters that are broken on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.busybox import archive
from tests.cluster.conftest import load

from sampan.testing import Cluster, cluster


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the image busybox:1."""
    tar = tmp_path_factory.mktemp("images") / "busybox.tar"
    archive(tar, ["busybox:1"])
    return tar


@pytest.fixture
def broken(busybox: Path) -> Iterator[Cluster]:
    """A fresh cluster with a busybox image, to break."""
    with cluster() as made:
        load(made, busybox)
        yield made
