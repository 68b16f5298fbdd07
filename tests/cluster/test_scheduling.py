"""The scheduling features, each told by a scenario file in `scheduling/`, on a real cluster of four nodes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import scenario
from tests.cluster.busybox import archive
from tests.cluster.conftest import SAMPAN, load

from sampan.cli.kubectl import program
from sampan.machinery.objects import Object
from sampan.testing import Cluster, cluster

pytestmark = pytest.mark.root

FILES = sorted((Path(__file__).parent / "scheduling").glob("*.txt"))


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of four nodes with a busybox image."""
    tar = tmp_path_factory.mktemp("images") / "busybox.tar"
    archive(tar, ["busybox:1"])
    with cluster(nodes=4) as made:
        load(made, tar)
        yield made


def nodes(made: Cluster) -> list[Object]:
    found: list[Object] = json.loads(made.kubectl("get", "nodes", "-o", "json"))["items"]
    return found


@pytest.mark.parametrize("file", FILES, ids=[f.stem for f in FILES])
def test_scenario(four: Cluster, file: Path, tmp_path: Path) -> None:
    before = nodes(four)
    names = sorted(node["metadata"]["name"] for node in before)
    shown = {name: f"node-{i}" for i, name in enumerate(names, 1)}
    environment = surroundings(four, tmp_path)
    try:
        scenario.play(file, tmp_path, environment, shown)
    finally:
        for left in tmp_path.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(left.read_text()), signal.SIGKILL)
        restore(four, before)


def surroundings(made: Cluster, directory: Path) -> dict[str, str]:
    """An environment in which `kubectl` and `sampan` mean this cluster."""
    tools = directory / "bin"
    tools.mkdir()
    (tools / "sampan").write_text(f'#!/bin/sh\nexec {" ".join(SAMPAN)} "$@"\n')
    (tools / "sampan").chmod(0o755)
    path = f"{tools}:{Path(program()).parent}:{os.environ['PATH']}"
    return {**made.environment, "PATH": path, "SAMPAN_NAME": made.config.name}


def restore(made: Cluster, before: list[Object]) -> None:
    """Take away what a scenario made, and put the nodes back as they were."""
    kinds = "deployments,replicasets,jobs,pods,podgroups,pdb,events"
    made.kubectl("delete", kinds, "--all", "--force", "--grace-period=0", check=False)
    made.kubectl("delete", "priorityclass", "urgent", "patient", "--ignore-not-found")
    for old, new in zip(before, nodes(made), strict=True):
        labels = {**dict.fromkeys(new["metadata"]["labels"]), **old["metadata"]["labels"]}
        spec = {"unschedulable": None, "taints": old["spec"].get("taints")}
        patch = {"metadata": {"labels": labels}, "spec": spec}
        name = old["metadata"]["name"]
        made.kubectl("patch", "node", name, "--type=merge", "-p", json.dumps(patch))
        gone = {"example.com/seat": None}
        status = {"status": {"capacity": gone, "allocatable": gone}}
        words = ("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
        made.kubectl(*words)


def test_what_is_expected_may_have_gaps() -> None:
    printed = ["NAME   READY", "web    1/1", "", "done"]
    assert scenario.matches(printed, ["NAME*", "...", "done"])
    assert not scenario.matches(printed, ["NAME*", "done"])
    assert scenario.matches(["a [b] c?"], ["a [b] c?"])
    found = scenario.parse("Prose.\n\na.yaml:\n    x: 1\n\n$ kubectl get pods\nNAME *\n\n$! false\n")
    assert found.files == {"a.yaml": "x: 1\n"}
    assert [(s.command, s.expected, s.fails, s.looks) for s in found.steps] == [
        ("kubectl get pods", ["NAME *"], False, True),
        ("false", [], True, False),
    ]
