"""`sampan scheduler evaluate`: one line in, one line out, in order, whatever the lines are."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sampan.cli import main
from sampan.scheduler.evaluate import evaluate
from sampan.scheduler.plugins import default_profile

CASE: dict[str, Any] = {
    "id": "one",
    "nodes": [
        {
            "metadata": {"name": "small"},
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}},
        },
        {
            "metadata": {"name": "large"},
            "status": {"allocatable": {"cpu": "9", "memory": "9Gi", "pods": "10"}},
        },
    ],
    "pods": [],
    "namespaces": [{"metadata": {"name": "default"}}],
    "pod": {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}]},
    },
}


def test_a_case_tells_why_not_and_how_good() -> None:
    result = evaluate(default_profile(), CASE)
    assert result["nodes"]["small"] == {
        "ok": False, "plugin": "NodeResourcesFit", "code": "UnschedulableAndUnresolvable",
        "reasons": ["Insufficient cpu"], "total": 0,
    }  # fmt: skip
    large = result["nodes"]["large"]
    assert large["ok"]
    assert large["total"] == sum(large["scores"].values())
    assert result["best"] == ["large"]


def run(
    monkeypatch: pytest.MonkeyPatch, words: list[str], lines: list[str]
) -> tuple[int, list[dict[str, Any]]]:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, write_through=True))
    status = main(["scheduler", "evaluate", *words])
    return status, [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_that_cannot_be_read_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps(CASE), "{", "", "[]", '{"pod": {}}', '{"pod": {"metadata": {"name": "p"}}, "nodes": 3}',
             json.dumps({"case": {**CASE, "id": "two"}})]  # fmt: skip
    status, results = run(monkeypatch, [], lines)
    assert status == 1
    assert [r.get("id", r.get("line")) for r in results] == ["one", 2, 4, 5, 6, "two"]
    assert results[1]["error"].startswith("not JSON: ")
    assert [r["error"] for r in results[2:5]] == [
        "expected an object", "pod: metadata.name is required", "nodes: expected a list"
    ]  # fmt: skip


def test_a_configuration_changes_the_scores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "scheduler.yaml"
    config.write_text(
        """
        apiVersion: kubescheduler.config.k8s.io/v1
        kind: KubeSchedulerConfiguration
        leaderElection: {leaderElect: false}
        profiles:
          - pluginConfig:
              - name: NodeResourcesFit
                args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu}]}}
        """
    )
    status, (result,) = run(monkeypatch, ["--config", str(config)], [json.dumps(CASE)])
    assert status == 0
    # Two of nine cores, taken rather than free.
    assert result["nodes"]["large"]["raw"]["NodeResourcesFit"] == 22


def test_a_wrong_configuration_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "scheduler.yaml"
    config.write_text(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofile: []\n"
    )
    status, results = run(monkeypatch, ["--config", str(config)], [])
    assert status == 1
    assert not results
    assert 'unknown field "profile"' in capsys.readouterr().err
