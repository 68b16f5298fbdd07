"""Pods and containers of a real engine: they run, log, end, and leave nothing behind."""

from __future__ import annotations

import pytest
from running_pods import Pods

from sampan.machinery.cri import messages

pytestmark = pytest.mark.root


async def test_a_container_runs_and_its_output_is_logged_in_the_cri_format(pods: Pods) -> None:
    container = await pods.run("sh", "-c", "echo one; echo two >&2; exit 3")
    ended = await pods.ended(container)
    assert (ended.exit_code, ended.reason) == (3, "Error")
    assert ended.created_at < ended.started_at <= ended.finished_at
    lines = pods.log()
    assert sorted(line[1:] for line in lines) == [["stderr", "F", "two"], ["stdout", "F", "one"]]
    assert all(line[0].endswith("Z") and len(line[0]) == len("2026-01-02T03:04:05.000000000Z") for line in lines)
