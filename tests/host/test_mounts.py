"""Mounts by system call, and what /proc says of them; a pod's namespaces; files that nobody leads astray."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.host import files, mounts, namespaces

MOUNTINFO = """\
22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw
36 22 0:30 /sub /with\\040blank ro - ext4 /dev/vda rw,errors=continue
"""


def test_mountinfo_is_parsed_with_its_escapes() -> None:
    first, second = mounts.parse(MOUNTINFO)
    assert (first.target, first.fstype, first.propagation) == ("/proc", "proc", "shared:5")
    assert (second.target, second.root, second.source, second.options) == (
        "/with blank",
        "/sub",
        "/dev/vda",
        "ro",
    )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    mounts.unmount_below(tmp_path)


@pytest.mark.root
def test_mounts_are_made_found_and_taken_away(place: Path) -> None:
    (place / "a b").mkdir()
    mounts.mount("none", place / "a b", "tmpfs", mounts.NOSUID, "size=64k")
    (place / "a b" / "inner").mkdir()
    (place / "seen").mkdir()
    mounts.bind(place / "a b", place / "seen", readonly=True)
    assert [m.target for m in mounts.below(place)] == [str(place / "a b"), str(place / "seen")]
    with pytest.raises(OSError, match="Read-only"):
        (place / "seen" / "x").touch()
    assert mounts.unmount(place / "seen")
    assert not mounts.unmount(place / "seen")
    assert not mounts.unmount(place / "missing")
    with open(place / "a b" / "busy", "w"), pytest.raises(OSError, match="busy"):
        mounts.unmount(place / "a b")
    assert mounts.unmount_below(place) == [str(place / "a b")]
    assert not mounts.mounted(place / "a b")


@pytest.mark.root
def test_namespaces_are_kept_without_a_process(place: Path) -> None:
    pins = {kind: place / kind for kind in ("net", "ipc", "uts")}
    namespaces.make(pins, hostname="inside", sysctls={"net.ipv4.ip_unprivileged_port_start": "80"})
    assert all(namespaces.held(path) for path in pins.values())
    enter = ["nsenter", f"--net={place}/net", f"--uts={place}/uts"]
    script = "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
    seen = subprocess.run([*enter, "sh", "-c", script], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == ["inside", "80"]
    assert os.uname().nodename != "inside"
    for path in pins.values():
        namespaces.release(path)
        namespaces.release(path)
    assert not namespaces.held(place / "net")
    assert list(place.iterdir()) == []


@pytest.mark.root
def test_links_in_a_foreign_tree_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "secret").write_text("no")
    (root / "etc" / "passwd").symlink_to("/etc/real")
    (root / "etc" / "real").write_text("yes")
    (root / "out").symlink_to("../secret")
    os.mkfifo(root / "fifo")
    assert files.read_inside(root, "etc/passwd") == "yes"
    assert (
        files.read_inside(root, "out")
        == files.read_inside(root, "fifo")
        == files.read_inside(root, "none")
        == ""
    )
