"""Pods that cannot start, crash or flood: a clear condition and event, and nothing else is harmed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cluster.busybox import archive
from tests.cluster.conftest import load
from tests.cluster.waiting import eventually
from tests.faults.load import answers, deploy

from sampan.testing import Cluster

pytestmark = pytest.mark.root


def waiting(cluster: Cluster, pod: str) -> dict[str, str]:
    """The reason and message of a pod's one container that waits; empty while it does not."""
    status = json.loads(cluster.kubectl("get", "pod", pod, "-o", "json"))["status"]
    states = [c["state"].get("waiting", {}) for c in status.get("containerStatuses", [])]
    return states[0] if states else {}


def events(cluster: Cluster, pod: str) -> str:
    return cluster.kubectl("events", "--for", f"pod/{pod}")


def test_an_image_that_does_not_exist(broken: Cluster, tmp_path: Path) -> None:
    image = "localhost:1/nowhere/app:1"
    broken.kubectl("run", "box", f"--image={image}", "--", "sleep", "600")
    eventually(lambda: waiting(broken, "box").get("reason") == "ImagePullBackOff")
    assert image in waiting(broken, "box")["message"]
    said = eventually(lambda: (e := events(broken, "box")) and "Back-off pulling image" in e and e)
    assert isinstance(said, str)
    assert f'Failed to pull image "{image}"' in said
    assert "refused" in said  # the cause, not only the effect
    # Once somebody brings the image, the pod starts by itself.
    archive(tmp_path / "image.tar", [image])
    load(broken, tmp_path / "image.tar")
    broken.kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")


def test_a_crash_loop(broken: Cluster) -> None:
    broken.kubectl("run", "box", "--image=busybox:1", "--", "sh", "-c", "echo going down; exit 3")
    eventually(lambda: waiting(broken, "box").get("reason") == "CrashLoopBackOff")
    assert "back-off" in waiting(broken, "box")["message"]
    said = eventually(lambda: (e := events(broken, "box")) and "BackOff" in e and e)
    assert isinstance(said, str)
    assert "Back-off restarting failed container" in said
    status = json.loads(broken.kubectl("get", "pod", "box", "-o", "json"))["status"]
    ended = status["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert broken.kubectl("logs", "box") == "going down\n"


def test_a_flooded_log_is_bounded_on_disk(broken: Cluster) -> None:
    address = deploy(broken)
    line = "x" * 1000
    script = f"yes {line} | head -n 100000; echo the end; exec sleep 600"  # 100 MB
    broken.kubectl("run", "flood", "--image=busybox:1", "--", "sh", "-c", script)
    logs = broken.config.node_state(broken.config.node_names[0]) / "kubelet" / "logs"
    seen = []

    def flooded() -> bool:
        seen.append(sum(_size(path) for path in logs.rglob("*flood*/**/*.log*")))
        return "the end" in broken.kubectl("logs", "flood", "--tail=1", check=False)

    eventually(flooded, 60)
    assert 20 << 20 < max(seen) < 64 << 20  # five files of 10 MiB, and what is being written
    assert answers(address)
    assert broken.kubectl("logs", "flood", "--tail=2").splitlines() == [line, "the end"]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it was rotated away just now
        return 0
