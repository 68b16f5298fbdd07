"""Check what this machine lacks, and what for; --fix installs it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sampan.cli import terminal
from sampan.cli.clusters import become_root
from sampan.cli.problem import Problem


@dataclass(frozen=True, slots=True)
class Program:
    """A system program: what it is for, its package by package manager, and whether a cluster needs it to start."""

    name: str
    purpose: str
    packages: dict[str, str]
    required: bool = True


PROGRAMS = (
    Program(
        "runc",
        "run containers",
        {"apt-get": "runc", "dnf": "runc", "apk": "runc", "pacman": "runc", "zypper": "runc"},
    ),
    Program(
        "nft",
        "Services, NAT and published ports",
        dict.fromkeys(("apt-get", "dnf", "apk", "pacman", "zypper"), "nftables"),
    ),
    Program(
        "cc",
        "compile the container shim, once",
        {
            "apt-get": "gcc libc6-dev",
            "dnf": "gcc glibc-static",
            "apk": "gcc musl-dev",
            "pacman": "gcc",
            "zypper": "gcc glibc-devel-static",
        },
    ),
    Program(
        "debootstrap",
        "make base images where no registry can be reached (sampan demo)",
        dict.fromkeys(("apt-get", "dnf", "apk", "pacman", "zypper"), "debootstrap"),
        required=False,
    ),
    Program(
        "busybox",
        "make the busybox base image where no registry can be reached (sampan demo)",
        {
            "apt-get": "busybox-static",
            "dnf": "busybox",
            "apk": "busybox-static",
            "pacman": "busybox",
            "zypper": "busybox-static",
        },
        required=False,
    ),
    Program(
        "etcd",
        "a store that several API servers share (--store etcd://...), where it is to run on this machine",
        {"apt-get": "etcd-server", "dnf": "etcd", "apk": "etcd", "pacman": "etcd", "zypper": "etcd"},
        required=False,
    ),
)

# How each package manager installs without asking.
INSTALL = {
    "apt-get": ["apt-get", "install", "-y", "--no-install-recommends"],
    "dnf": ["dnf", "install", "-y"],
    "apk": ["apk", "add"],
    "pacman": ["pacman", "-S", "--noconfirm"],
    "zypper": ["zypper", "--non-interactive", "install"],
}


def missing(programs: tuple[Program, ...] = PROGRAMS) -> list[Program]:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [p for p in programs if not shutil.which(p.name, path=path)]


def command(programs: list[Program]) -> list[str]:
    """The one command that installs them here. Raises Problem on a system whose packages we do not know."""
    manager = next((m for m in INSTALL if shutil.which(m)), None)
    if not manager:
        names = ", ".join(p.name for p in programs)
        raise Problem(f"install these with your system's package manager: {names}")
    return [*INSTALL[manager], *(word for p in programs for word in p.packages[manager].split())]


def install(programs: list[Program]) -> None:
    """Install what is missing; refreshes the package lists first where apt needs that."""
    become_root("installing system programs")
    words = command(programs)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if words[0] == "apt-get":
        subprocess.run(
            ["apt-get", "update", "-qq"], check=False, env=environment, stdout=sys.stderr, timeout=300
        )
    done = subprocess.run(words, check=False, env=environment, capture_output=True, text=True, timeout=900)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Problem(f"`{' '.join(words)}` failed: {' '.join(last)}")


def ensure(programs: list[Program]) -> None:
    """Show what is missing and the command that installs it; install on a yes, or where nobody can be asked."""
    if not programs:
        return
    for p in programs:
        terminal.note(f"missing: {p.name}, to {p.purpose}")
    terminal.note(f"to install: {' '.join(command(programs))}")
    if terminal.tty() and not terminal.confirm("    Install now?"):
        raise Problem("not installed; run the command above, or `sampan doctor --fix`")
    with terminal.step(f"install {', '.join(p.name for p in programs)}"):
        install(programs)


@dataclass(frozen=True, slots=True)
class Check:
    """A property of the kernel or the machine: what it is for, whether it holds, and what to do where not."""

    name: str
    purpose: str
    holds: Callable[[], bool]
    fix: str


def _has_filesystem(name: str) -> bool:
    return any(line.split()[-1] == name for line in Path("/proc/filesystems").read_text().splitlines())


def _has_controllers() -> bool:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.exists():
        return {"cpu", "memory", "pids"} <= set(unified.read_text().split())
    return all(Path("/sys/fs/cgroup", c).is_dir() for c in ("cpu", "memory", "pids"))


CHECKS = (
    Check("overlayfs", "container file systems", lambda: _has_filesystem("overlay"), "modprobe overlay"),
    Check(
        "cgroups",
        "container limits",
        _has_controllers,
        "boot with the cpu, memory and pids controllers enabled",
    ),
    Check(
        "network namespaces",
        "pods' own networks",
        lambda: Path("/proc/self/ns/net").exists(),
        "use a kernel with CONFIG_NET_NS",
    ),
    Check(
        "Python 3.11",
        "everything",
        lambda: sys.version_info >= (3, 11),
        "install Python 3.11 or newer",
    ),
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fix", action="store_true", help="install what is missing")


def run(arguments: argparse.Namespace) -> int:
    lacking = missing()
    if arguments.fix and lacking:
        install(lacking)
        lacking = missing()
    rows = [("", "WHAT", "FOR", "FIX")]
    for p in PROGRAMS:
        rows.append(
            ("✗", p.name, p.purpose, " ".join(command([p]))) if p in lacking else ("✓", p.name, p.purpose, "")
        )
    broken = [c for c in CHECKS if not c.holds()]
    rows += [("✗", c.name, c.purpose, c.fix) if c in broken else ("✓", c.name, c.purpose, "") for c in CHECKS]
    print(terminal.table(rows))
    if lacking and not arguments.fix:
        print(f"\n`sampan doctor --fix` runs: {' '.join(command(lacking))}")
    return 1 if broken or any(p.required for p in lacking) else 0
