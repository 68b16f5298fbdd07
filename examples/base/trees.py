"""Make the root filesystems that images begin from, as archives: Debian by debootstrap, and a static busybox."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from apt import KEYRING, Apt

from sampan.engine.build import diff
from sampan.host import process

RELEASE = "bookworm"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
Say = Callable[[str], None]

# What the slim images leave out, now and of packages installed later.
_DPKG = """\
force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/linda/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
"""
_APT = """\
APT::Keep-Downloaded-Packages "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
_UNWANTED = ("usr/share/info", "usr/share/lintian", "usr/share/locale", "usr/share/man")


class MakingFailed(Exception):
    """A tree could not be made; says what to do."""


async def debian(apt: Apt, target: Path, say: Say) -> None:
    """Write the archive of a minimal Debian to `target`."""
    with tempfile.TemporaryDirectory(prefix="sampan-base-") as directory:
        tree = Path(directory) / "tree"
        await _debootstrap(apt, tree, say)
        _configure(tree, apt)
        _slim(tree)
        _pack(tree, target)


async def _debootstrap(apt: Apt, tree: Path, say: Say) -> None:
    if os.geteuid() != 0:
        raise MakingFailed("debootstrap needs root: run this with sudo")
    if not shutil.which("debootstrap"):
        raise MakingFailed("debootstrap is not installed: apt-get install debootstrap")
    words = ["debootstrap", "--variant=minbase", "--merged-usr"]
    if Path(KEYRING).exists():
        words.append(f"--keyring={KEYRING}")
    stages = _Stages(say)
    status = await process.stream(*words, RELEASE, str(tree), apt.mirror, output=stages.feed)
    if status:
        raise MakingFailed(f"debootstrap failed: {stages.last}; the archive is {apt.mirror}, see /etc/apt")


class _Stages:
    """Turns debootstrap's line for each package into a line for each stage."""

    def __init__(self, say: Say):
        self._say, self._rest, self._stage, self.last = say, "", "", ""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data.decode(errors="replace")).split("\n")
        for line in filter(None, lines):
            self.last = line
            match = re.match(r"I: (Retrieving|Extracting|Unpacking|Configuring)", line)
            if match and match[1] != self._stage:
                self._stage = match[1]
                self._say(f"{self._stage.lower()} packages")


def _configure(tree: Path, apt: Apt) -> None:
    """Give it the machine's way to the archive, and the slim images' settings."""
    (tree / "etc/apt/sources.list").unlink(missing_ok=True)
    _write(tree / "etc/apt/sources.list.d/debian.sources", apt.sources)
    _write(tree / "etc/apt/apt.conf.d/90slim", _APT)
    if apt.settings:
        _write(tree / "etc/apt/apt.conf.d/95machine", apt.settings)
    if apt.credentials:
        _write(tree / "etc/apt/auth.conf.d/machine.conf", apt.credentials, 0o600)
    if "https://" in apt.sources and CA_BUNDLE.exists():
        _write(tree / "etc/ssl/certs/ca-certificates.crt", CA_BUNDLE.read_text())
    _write(tree / "etc/dpkg/dpkg.cfg.d/slim", _DPKG)
    # No service is started when its package is installed.
    _write(tree / "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    for name in ("etc/hostname", "etc/resolv.conf"):
        (tree / name).unlink(missing_ok=True)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _slim(tree: Path) -> None:
    for name in _UNWANTED:
        shutil.rmtree(tree / name, ignore_errors=True)
        (tree / name).mkdir()
    for path in (tree / "usr/share/doc").rglob("*"):
        if path.is_file() and path.name != "copyright":
            path.unlink()
    for pattern in (
        "var/cache/apt/archives/*.deb",
        "var/cache/apt/*.bin",
        "var/lib/apt/lists/*",
        "var/log/*",
        "var/cache/ldconfig/*",
    ):
        for path in tree.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _pack(tree: Path, target: Path) -> None:
    with open(target, "wb") as f:
        for piece in diff.archive(tree):
            f.write(piece)


async def busybox(target: Path, say: Say) -> None:
    """Write the archive of a static busybox under all its names."""
    with tempfile.TemporaryDirectory(prefix="sampan-base-") as directory:
        program = await _busybox_program(Path(directory), say)
        listed = (await process.run(program, "--list-full")).stdout.decode().split()
        tree = Path(directory) / "tree"
        for name in (
            "bin",
            "dev",
            "etc",
            "home",
            "proc",
            "root",
            "sbin",
            "sys",
            "tmp",
            "usr/bin",
            "usr/sbin",
            "var/www",
        ):
            (tree / name).mkdir(parents=True)
        (tree / "tmp").chmod(0o1777)
        shutil.copy(program, tree / "bin/busybox")
        for name in listed:
            path = tree / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(tree / "bin/busybox", path)
        _write(
            tree / "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
        )
        _write(tree / "etc/group", "root:x:0:\nnogroup:x:65534:\n")
        _pack(tree, target)


async def _busybox_program(directory: Path, say: Say) -> Path:
    """The one that is installed, if it is static; else the package's."""
    here = Path("/bin/busybox")
    if here.exists():
        linked = await process.run("ldd", here, check=False)
        if linked.status or b"not a dynamic" in linked.stdout + linked.stderr:
            return here
    say("downloading busybox-static")
    await process.run("apt-get", "download", "busybox-static", cwd=directory, timeout=120)
    [package] = directory.glob("busybox-static_*.deb")
    await process.run("dpkg-deb", "-x", package, directory / "package")
    return next(p for p in (directory / "package").rglob("busybox") if p.is_file() and os.access(p, os.X_OK))
