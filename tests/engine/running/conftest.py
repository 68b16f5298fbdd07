"""A real engine with runc, busybox and a network of loopbacks, and a short way to run containers in it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.engine.running.running_pods import Pods, busybox

from sampan.engine.images.store import ImageStore
from sampan.host import cgroups, mounts


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A directory for the engine's files; whatever a failed test left mounted there is taken away."""
    yield tmp_path
    mounts.unmount_below(tmp_path)


@pytest.fixture
def cgroup() -> Iterator[str]:
    """A cgroup of the test's own; nothing may be left in it."""
    name = f"sampan-test-{secrets.token_hex(4)}"
    yield name
    groups = cgroups.detect()
    groups.kill(name)
    groups.remove(name)


@pytest.fixture
async def pods(home: Path, cgroup: str) -> AsyncIterator[Pods]:
    """An engine that has started, with an image `busybox`, and helpers; everything is stopped at the end."""
    store = ImageStore(home / "images")
    busybox(store)
    pods = Pods(home, cgroup, store)
    await pods.start()
    yield pods
    await pods.engine.stop_all(grace=0)
    await pods.engine.close()
    store.close()
