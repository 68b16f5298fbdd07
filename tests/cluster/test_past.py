"""The past on the command line: kubectl as of then, history, undo, and a recording opened as a cluster of its own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.conftest import SAMPAN

from sampan.testing import Cluster, cluster

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def small() -> Iterator[Cluster]:
    """A cluster with some history."""
    with cluster() as made:
        made.kubectl("create", "configmap", "settings", "--from-literal=colour=blue")
        made.kubectl("create", "secret", "generic", "key", "--from-literal=password=hunter22")
        made.kubectl("patch", "configmap", "settings", "-p", '{"data":{"colour":"red"}}')
        yield made


def sampan(command: str, name: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*SAMPAN, command, "--name", name, *words],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert not (check and done.returncode), done.stderr + done.stdout
    return done


def revisions(told: str) -> list[str]:
    return re.findall(r"^ +(\d+)  ", told, re.M)


def test_history_names_the_user_and_the_command(small: Cluster) -> None:
    told = sampan("history", small.config.name, "cm/settings").stdout
    assert "created by kubernetes-admin, in: kubectl create configmap" in told
    assert "changed by kubernetes-admin, in: kubectl patch" in told
    assert "data.colour: blue -> red" in told
    assert len(revisions(told)) == 2
    missing = sampan("history", small.config.name, "cm/none", check=False)
    assert missing.returncode == 1
    assert 'configmaps "none" not found' in missing.stderr


def test_kubectl_as_of_a_revision(small: Cluster) -> None:
    first = revisions(sampan("history", small.config.name, "cm/settings").stdout)[0]
    words = ("--as-of", first, "get", "configmap", "settings", "-o", "jsonpath={.data.colour}")
    assert sampan("kubectl", small.config.name, *words).stdout == "blue"
    refused = sampan("kubectl", small.config.name, "--as-of", "yesterday", "get", "pods", check=False)
    assert "is no moment: give a revision" in refused.stderr


def test_undo_asks_first(small: Cluster) -> None:
    small.kubectl("create", "configmap", "other", "--from-literal=a=1")
    small.kubectl("patch", "configmap", "other", "-p", '{"data":{"a":"2"}}')
    unasked = sampan("undo", small.config.name, "configmap/other", check=False)
    assert unasked.returncode == 1
    assert "data.a: 2 -> 1" in unasked.stdout
    assert "nobody can be asked here, so give --yes" in unasked.stderr
    assert small.kubectl("get", "configmap", "other", "-o", "jsonpath={.data.a}") == "2"
    assert sampan("undo", small.config.name, "configmap/other", "-y").stdout.endswith("done\n")
    assert small.kubectl("get", "configmap", "other", "-o", "jsonpath={.data.a}") == "1"
    small.kubectl("delete", "configmap", "other")
    assert sampan("undo", small.config.name, "configmap/other", "-y").stdout.endswith("created again\n")
    assert small.kubectl("get", "configmap", "other", "-o", "jsonpath={.data.a}") == "1"


def test_custom_objects_have_a_past_too(small: Cluster) -> None:
    crd = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, shortNames: [bt]}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
    small.kubectl("apply", "-f", "-", input=crd)
    small.kubectl("wait", "--for=condition=Established", "crd/boats.example.com", "--timeout=20s")
    boat = "apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: one}\nspec: {sails: %d}\n"
    for sails in (1, 2):
        small.kubectl("apply", "-f", "-", input=boat % sails)
    assert "spec.sails: 1 -> 2" in sampan("history", small.config.name, "bt/one").stdout
    sampan("undo", small.config.name, "boat/one", "-y")
    assert small.kubectl("get", "boat", "one", "-o", "jsonpath={.spec.sails}") == "1"


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The name and state of a cluster to open a recording in."""
    name = f"replay-{os.urandom(3).hex()}"
    yield name, tmp_path / "replay"
    sampan("down", name, "--delete", "--yes", check=False)


def test_a_recording_is_a_cluster_that_can_only_be_read(
    small: Cluster, tmp_path: Path, replay: tuple[str, Path]
) -> None:
    small.kubectl("create", "deployment", "web", "--image=none")
    file = tmp_path / "incident.sampan"
    sampan("record", small.config.name, str(file))
    created, *_ = revisions(sampan("history", small.config.name, "cm/settings").stdout)
    name, state = replay
    options = ("--state", str(state), "--port", "0", "--replay", str(file))
    assert "it cannot be changed" in sampan("up", name, *options).stdout

    def colour(*when: str) -> str:
        words = (*when, "get", "configmap", "settings", "-o", "jsonpath={.data.colour}")
        return sampan("kubectl", name, *words).stdout

    assert (colour(), colour("--as-of", created)) == ("red", "blue")
    assert "web" in sampan("kubectl", name, "get", "deploy,pods,nodes").stdout
    assert "data.colour: blue -> red" in sampan("history", name, "cm/settings").stdout
    assert "hunter22" not in sampan("kubectl", name, "get", "secret", "key", "-o", "yaml").stdout
    for words in (
        ("delete", "cm", "settings"),
        ("create", "ns", "x"),
        ("logs", "deploy/web"),
        ("exec", "deploy/web", "--", "ls"),
    ):
        refused = sampan("kubectl", name, *words, check=False)
        assert refused.returncode == 1
        assert f"this is a recording ({file.name}) as of" in refused.stderr, refused.stderr
    # Another moment of the same recording.
    sampan("down", name)
    sampan("up", name, *options, "--at", created)
    assert colour() == "blue"
    assert "No resources" in sampan("kubectl", name, "get", "deploy").stderr


def test_no_recording_takes_the_place_of_a_cluster(tmp_path: Path, replay: tuple[str, Path]) -> None:
    file = tmp_path / "any"
    file.write_bytes(b"")
    name, state = replay
    options = ("--state", str(state), "--port", "0", "--nodes", "0")
    sampan("up", name, *options)
    for _ in ("running", "stopped"):
        refused = sampan("up", name, *options, "--replay", str(file), check=False)
        assert refused.returncode == 1
        assert "runs; " in refused.stderr or "is no recording; give another --name" in refused.stderr
        sampan("down", name, "--state", str(state))
    sampan("up", name, *options)
    assert "default" in sampan("kubectl", name, "get", "namespaces").stdout


def test_what_is_no_recording_is_told(tmp_path: Path, replay: tuple[str, Path]) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("hello")
    name, state = replay
    refused = sampan("up", name, "--state", str(state), "--port", "0", "--replay", str(wrong), check=False)
    assert refused.returncode == 1
    assert "is no whole recording" in refused.stderr
    assert "Traceback" not in refused.stderr
