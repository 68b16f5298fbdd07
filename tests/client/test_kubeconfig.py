"""Kubeconfigs: written, read back, merged into a user's own without losing anything of it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.apiserver.conftest import ADMIN, Cluster

from sampan.client import kubeconfig
from sampan.client.kubeconfig import KubeconfigError
from sampan.host.pki import Pair

THEIRS = """
apiVersion: v1
kind: Config
current-context: work
preferences: {colors: true}
clusters:
- name: work
  cluster: {server: "https://work.example.com", insecure-skip-tls-verify: true}
users:
- name: me
  user:
    token: secret  # not ours to touch
contexts:
- name: work
  context: {cluster: work, user: me, namespace: team}
"""


def written(cluster: Cluster, path: Path) -> Path:
    pair = Pair.parse(cluster.pki.client("admin", *ADMIN).read_bytes())
    ca = cluster.pki.ca.read_bytes()
    kubeconfig.write(
        path, name="sampan", server=cluster.url, ca=ca, certificate=pair.certificate, key=pair.key
    )
    return path


async def test_what_is_written_reaches_the_server(cluster: Cluster, tmp_path: Path) -> None:
    path = written(cluster, tmp_path / "config")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with kubeconfig.load(path) as client:
        assert (await client.get("namespaces", "default"))["metadata"]["name"] == "default"
        assert await client.raw("GET", "/livez") == b"ok"


async def test_merging_keeps_what_was_there_and_a_copy(cluster: Cluster, tmp_path: Path) -> None:
    ours, theirs = written(cluster, tmp_path / "ours"), tmp_path / "theirs"
    theirs.write_text(THEIRS)
    kubeconfig.merge(ours, theirs)
    kubeconfig.merge(ours, theirs)
    assert kubeconfig.read(theirs).server == cluster.url
    work = kubeconfig.read(theirs, "work")
    assert (work.server, work.token, work.insecure) == ("https://work.example.com", "secret", True)
    assert (tmp_path / "theirs.before-sampan").read_text() == THEIRS
    ran = await cluster.kubectl("config", "get-contexts", "-o", "name", "--kubeconfig", str(theirs))
    assert ran.out.split() == ["sampan", "work"]


def test_merging_into_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "home" / ".kube" / "config"
    source.write_text(THEIRS)
    kubeconfig.merge(source, target)
    assert kubeconfig.read(target).server == "https://work.example.com"


@pytest.mark.parametrize("text", ["", "- a", "a: [", "current-context: none\ncontexts: []\n"])
def test_what_is_no_kubeconfig(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KubeconfigError, match="config"):
        kubeconfig.read(path)
