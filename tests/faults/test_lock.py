"""The lock of a cluster: one holder at a time, and no file left."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from sampan.lifecycle import lock


def test_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with lock.held("x", directory=tmp_path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 80
    assert os.listdir(tmp_path) == []


def test_who_waits_too_long_is_told(tmp_path: Path) -> None:
    with (
        lock.held("x", directory=tmp_path),
        pytest.raises(lock.Busy, match="another sampan command is at work on cluster 'x'"),
        lock.held("x", directory=tmp_path, deadline=0.1),
    ):
        pass
    with lock.held("x", directory=tmp_path, deadline=0.1):
        pass
