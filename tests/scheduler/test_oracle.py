"""Every verdict and every score as kube-scheduler 1.37.2 itself gives them, on cases that its own code has judged.

`data/kube-scheduler-1.37.2.jsonl.gz` are the 500 cases that the project was given; `data/plugins.jsonl.gz` are
more, of other shapes (see oracle/README.md).
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.scheduler.oracle.cases import TOPICS
from tests.scheduler.oracle.compare import differences

from sampan.scheduler.evaluate import evaluate
from sampan.scheduler.plugins import default_profile

DATA = Path(__file__).parent / "data"


@cache
def rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name, "rt") as lines:
        return [json.loads(line) for line in lines]


def test_the_given_cases_agree_to_the_word_and_the_point() -> None:
    profile = default_profile()
    given = rows("kube-scheduler-1.37.2.jsonl.gz")
    assert len(given) == 500
    assert not [row["case"]["id"] for row in given if evaluate(profile, row["case"]) != row["result"]]


@pytest.mark.parametrize("topic", [*TOPICS, "preemption", "devices"])
def test_cases_of_other_shapes_agree(topic: str) -> None:
    """Resizes, pod-level requests, volumes, default constraints, nominated pods, configurations, preemption."""
    kept = [row for row in rows("plugins.jsonl.gz") if row["case"]["id"].startswith(f"{topic}-")]
    assert len(kept) >= 40
    assert not {
        row["case"]["id"]: found for row in kept if (found := differences(row["case"], row["result"]))
    }


def test_each_plugin_has_something_to_say_in_them() -> None:
    refused: Counter[str] = Counter()
    scored: Counter[str] = Counter()
    for row in rows("plugins.jsonl.gz"):
        for verdict in row["result"]["nodes"].values():
            refused[verdict.get("plugin", "")] += 1
            scored.update({plugin for plugin, score in verdict.get("scores", {}).items() if score})
    assert {"NodeVolumeLimits", "VolumeBinding", "VolumeRestrictions", "VolumeZone", "NodeDeclaredFeatures",
            "NodeName", "NodeUnschedulable", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit",
            "PodTopologySpread", "InterPodAffinity"} <= refused.keys()  # fmt: skip
    assert {
        "ImageLocality",
        "VolumeBinding",
        "InterPodAffinity",
        "PodTopologySpread",
        "NodeAffinity",
    } <= scored.keys()
