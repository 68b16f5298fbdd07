"""Clusters for tests: there within the block, and nothing of them after it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sampan.config import load
from sampan.testing import cluster
from sampan.testing.leftovers import leftovers

pytestmark = pytest.mark.root

# A test that takes a cluster and then hangs; it says where the cluster is.
HANGS = """
import sys, time
from sampan.testing import cluster
with cluster() as c:
    print(c.config.file, flush=True)
    time.sleep(600)
"""


def test_a_cluster_answers_within_its_block_and_is_gone_after_it() -> None:
    with cluster() as c:
        assert " Ready " in c.kubectl("get", "nodes")
    assert leftovers(c.config) == []
    assert not c.config.state.exists()


def test_a_cluster_of_a_killed_test_goes_too() -> None:
    test = subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, text=True)
    assert test.stdout
    config = load(Path(test.stdout.readline().strip()).read_text())
    test.send_signal(signal.SIGKILL)
    test.communicate()
    deadline = time.monotonic() + 60
    while config.state.exists() or config.run.exists() or leftovers(config):
        assert time.monotonic() < deadline, leftovers(config)
        time.sleep(0.1)
