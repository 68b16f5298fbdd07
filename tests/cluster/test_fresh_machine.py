"""A machine that lacks what we need: this one, seen through an overlay from which the programs are removed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.host import mounts

pytestmark = [pytest.mark.root, pytest.mark.campaign]

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = ("runc", "nft", "debootstrap")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    """The root of a copy of this machine; whatever is changed in it is gone afterwards."""
    layers, root = tmp_path / "layers", tmp_path / "root"
    for directory in (layers, root):
        directory.mkdir()
    mounts.mount("tmpfs", layers, "tmpfs")
    for directory in (layers / "upper", layers / "work"):
        directory.mkdir()
    data = f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work"
    mounts.mount("overlay", root, "overlay", data=data)
    for special in ("proc", "sys", "dev"):
        mounts.bind(f"/{special}", root / special)
    yield root
    mounts.unmount_below(root)
    mounts.unmount_below(layers)


def inside(machine: Path, command: str) -> subprocess.CompletedProcess[str]:
    words = ["chroot", str(machine), "bash", "-c", command]
    return subprocess.run(words, capture_output=True, text=True, timeout=600)


def test_a_fresh_clone_installs_what_the_machine_lacks(machine: Path) -> None:
    gone = inside(machine, "DEBIAN_FRONTEND=noninteractive apt-get remove -y -qq runc nftables debootstrap")
    assert gone.returncode == 0, gone.stderr
    clone = inside(
        machine,
        f"git clone -q --no-hardlinks {ROOT} /fresh && cd /fresh && env -u PYTHONPATH ./dev sampan doctor",
    )
    assert clone.returncode == 1, clone.stderr
    for program in PROGRAMS:
        assert f"✗   {program}" in clone.stdout
    assert "`sampan doctor --fix` runs: apt-get install" in clone.stdout
    fixed = inside(machine, "cd /fresh && env -u PYTHONPATH ./dev sampan doctor --fix")
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr
    assert "✗" not in fixed.stdout
    for program in PROGRAMS:
        assert inside(machine, f"PATH=$PATH:/usr/sbin command -v {program}").returncode == 0
