"""`sampan up` and `sampan down`: two at once, and killed at any moment."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest
from tests.cluster.conftest import SAMPAN
from tests.cluster.waiting import eventually
from tests.faults.killer import chances
from tests.faults.load import deploy, kill, options, process

from sampan.lifecycle import cluster as lifecycle
from sampan.testing import Cluster, leftovers

pytestmark = pytest.mark.root


@pytest.fixture
def words(broken: Cluster) -> tuple[str, ...]:
    """What names the cluster to a command."""
    return ("--name", broken.config.name, "--state", str(broken.config.state))


def begin(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*SAMPAN, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_that_start_the_same_cluster_at_once_both_succeed(
    broken: Cluster, words: tuple[str, ...]
) -> None:
    lifecycle.stop(broken.config, grace=0)
    both = [begin("up", *words) for _ in range(2)]
    for each in both:
        said, _ = each.communicate(timeout=120)
        assert each.returncode == 0, said
        assert "Sampan is up" in said
    assert sum("supervisor" in line for line in leftovers(broken.config) if line.startswith("process")) == 1


def test_one_that_stops_a_cluster_while_it_starts_waits(broken: Cluster, words: tuple[str, ...]) -> None:
    lifecycle.stop(broken.config, grace=0)
    up = begin("up", *words)
    time.sleep(0.4)
    down = begin("down", *words[:2])
    for each in (up, down):
        said, _ = each.communicate(timeout=120)
        assert each.returncode == 0 or "no cluster" in said, said


@pytest.mark.campaign
def test_commands_killed_at_any_moment(broken: Cluster, words: tuple[str, ...]) -> None:
    chance = chances()
    deploy(broken)
    for _ in range(8):
        interrupted(chance, "down", *words[:2])
        lifecycle.stop(broken.config, grace=0)
        assert leftovers(broken.config) == []
        interrupted(chance, "up", *words)
        lifecycle.start(options(broken))
    broken.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


@pytest.mark.campaign
def test_loads_of_images_killed_at_any_moment(broken: Cluster, busybox: Path) -> None:
    """The node too: what is half loaded is loaded again, and no half of anything stays."""
    chance, node = chances(), broken.config.node_names[0]
    for _ in range(8):
        subprocess.run(
            [*SAMPAN, "image", "rm", "--name", broken.config.name, "busybox:1"], capture_output=True
        )
        load = begin("image", "load", "--name", broken.config.name, "-i", str(busybox))
        time.sleep(chance.uniform(0.1, 0.5))
        kill(pid := process(broken, node))
        load.communicate(timeout=60)
        # Ready may still be said of the one that was killed.
        eventually(lambda: process(broken, node) not in (0, pid))
        lifecycle.wait_ready(broken.config, node)
    done = begin("image", "load", "--name", broken.config.name, "-i", str(busybox))
    said, _ = done.communicate(timeout=60)
    assert done.returncode == 0, said
    broken.kubectl("run", "box", "--image=busybox:1", "--restart=Never", "--", "true")
    broken.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/box", "--timeout=60s")
    images = broken.config.images
    assert len({path.stem for path in (images / "layers").iterdir()}) == 1
    assert len(list((images / "tmp").iterdir())) <= 1


def interrupted(chance: random.Random, *words: str) -> None:
    """A command that is killed after up to a second, unless it has ended."""
    child = begin(*words)
    time.sleep(chance.uniform(0.0, 1.0))
    child.kill()
    child.communicate()
