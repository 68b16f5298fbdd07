"""Tests against a real cluster: one for each worker process, a namespace for each test."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.busybox import archive

from sampan.machinery.objects import Object
from sampan.testing import Cluster, cluster


class Space:
    """One test's own namespace on the shared cluster."""

    def __init__(self, cluster: Cluster, name: str):
        self.cluster, self.name = cluster, name

    def kubectl(self, *words: str, input: str = "", timeout: float = 60.0, check: bool = True) -> str:
        return self.cluster.kubectl("-n", self.name, *words, input=input, timeout=timeout, check=check)

    def apply(self, *manifests: str) -> None:
        self.kubectl("apply", "-f", "-", input="\n---\n".join(manifests))

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def list(self, kind: str, *words: str) -> list[Object]:
        found: list[Object] = json.loads(self.kubectl("get", kind, *words, "-o", "json"))["items"]
        return found

    def ready(self, pod: str) -> None:
        """Wait until a pod is Ready."""
        self.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=60s")

    def ended(self, pod: str, phase: str = "Succeeded") -> str:
        """Wait until a pod has ended in this phase; returns its log."""
        self.kubectl("wait", f"--for=jsonpath={{.status.phase}}={phase}", f"pod/{pod}", "--timeout=60s")
        return self.kubectl("logs", pod)

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """A kubectl that goes on while the test does something else."""
        from sampan.cli.kubectl import program

        return subprocess.Popen(
            [program(), "-n", self.name, *words],
            env=self.cluster.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with a busybox image, for all tests of this worker that do not break it."""
    tar = tmp_path_factory.mktemp("images") / "busybox.tar"
    archive(tar, ["busybox:1", "busybox:2"])
    with cluster() as made:
        load(made, tar)
        yield made


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two nodes with a busybox image, as `shared`."""
    tar = tmp_path_factory.mktemp("images") / "busybox.tar"
    archive(tar, ["busybox:1", "busybox:2"])
    with cluster(nodes=2) as made:
        load(made, tar)
        yield made


def load(made: Cluster, tar: Path) -> None:
    """`sampan image load`."""
    words = ["image", "load", "--name", made.config.name, "-i", str(tar)]
    done = subprocess.run([*SAMPAN, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


SAMPAN = [os.sys.executable, "-m", "sampan.cli"]  # type: ignore[attr-defined]


@pytest.fixture
def space(shared: Cluster) -> Iterator[Space]:
    yield from _space(shared)


@pytest.fixture
def wide(pair: Cluster) -> Iterator[Space]:
    """A test's own namespace on the cluster of two nodes."""
    yield from _space(pair)


def _space(cluster: Cluster) -> Iterator[Space]:
    name = f"t-{os.urandom(4).hex()}"
    cluster.kubectl("create", "namespace", name)
    yield Space(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
