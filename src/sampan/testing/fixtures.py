"""pytest fixtures: `pytest_plugins = ["sampan.testing.fixtures"]` in a conftest.py brings them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sampan.testing.cluster import Cluster, cluster


@pytest.fixture
def fresh_cluster() -> Iterator[Cluster]:
    """A cluster of this test's own."""
    with cluster() as made:
        yield made


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """One cluster for all tests of a session; each makes its own namespace."""
    with cluster() as made:
        yield made
