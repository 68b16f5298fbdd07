"""The administrator's kubeconfig, written by root for the user who asked sudo for the cluster."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sampan.config import Config
from sampan.host.pki import Pki
from sampan.lifecycle import credentials

USER = 61200


@pytest.mark.root
def test_it_is_the_users_own_and_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / "x.kubeconfig"
    config = Config(name="t", state=tmp_path, run=tmp_path, owner=USER, kubeconfig_file=str(path))
    credentials.administrator(config, Pki(tmp_path / "pki"))
    found = path.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (USER, 0o600)
    assert path.parent.stat().st_uid == USER


@pytest.mark.root
def test_a_link_of_the_users_does_not_lead_root_elsewhere(tmp_path: Path) -> None:
    roots, path = tmp_path / "shadow", tmp_path / "x.kubeconfig"
    roots.write_text("root's")
    path.symlink_to(roots)
    config = Config(name="t", state=tmp_path, run=tmp_path, owner=USER, kubeconfig_file=str(path))
    credentials.administrator(config, Pki(tmp_path / "pki"))
    assert (roots.read_text(), roots.stat().st_uid) == ("root's", 0)
    assert not path.is_symlink()
    assert path.stat().st_uid == USER
