"""Kubeconfigs: what is written is what kubectl and we read; a merge keeps what a user had."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sampan.cli.kubectl import program
from sampan.client import kubeconfig
from sampan.client.kubeconfig import KubeconfigError

OWN = """
apiVersion: v1
kind: Config
clusters: [{name: work, cluster: {server: "https://work.example:6443"}}]
users: [{name: me, user: {token: abc}}]
contexts: [{name: work, context: {cluster: work, user: me}}]
current-context: work
"""


def written(path: Path) -> Path:
    kubeconfig.write(
        path,
        name="sampan-x",
        server="https://127.0.0.1:6443",
        ca=b"authority",
        certificate=b"cert",
        key=b"key",
    )
    return path


def view(path: Path, *words: str) -> str:
    done = subprocess.run(
        [program(), "config", *words], env={"KUBECONFIG": str(path)}, capture_output=True, text=True
    )
    return done.stdout


def test_what_is_written_is_read_back_and_is_closed_to_others(tmp_path: Path) -> None:
    path = written(tmp_path / "config")
    access = kubeconfig.read(path)
    assert (access.server, access.ca, access.pair) == ("https://127.0.0.1:6443", b"authority", b"certkey")
    assert path.stat().st_mode & 0o777 == 0o600
    assert view(path, "current-context") == "sampan-x\n"


def test_a_merge_keeps_the_users_contexts_and_a_backup(tmp_path: Path) -> None:
    target = tmp_path / "own"
    target.write_text(OWN)
    for _ in range(2):  # again is the same
        kubeconfig.merge(written(tmp_path / "config"), target)
    assert view(target, "get-contexts", "-o", "name").split() == ["sampan-x", "work"]
    assert view(target, "current-context") == "sampan-x\n"
    assert kubeconfig.read(target, "work").token == "abc"
    assert (tmp_path / "own.before-sampan").exists()


def test_a_merge_into_nothing_makes_the_file(tmp_path: Path) -> None:
    kubeconfig.merge(written(tmp_path / "config"), tmp_path / "home" / ".kube" / "config")
    assert view(tmp_path / "home" / ".kube" / "config", "current-context") == "sampan-x\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "is not a kubeconfig"),
        ("[]", "is not a kubeconfig"),
        ("current-context: x", "has no 'x' among its contexts"),
        (OWN.replace("user: me}", "user: you}"), "has no 'you' among its users"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KubeconfigError, match=says):
        kubeconfig.read(path)
