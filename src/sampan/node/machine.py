"""What the machine is and how it fares: read from /proc and the file systems, as plain values."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change while this process runs. `memory` and `disk` are bytes."""

    cpus: int
    memory: int
    disk: int
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel: str
    system: str
    architecture: str


@dataclass(frozen=True, slots=True)
class Pressure:
    """What is left: bytes of memory, shares (0 to 1) of disk, inodes and process ids."""

    memory: int
    disk: float
    inodes: float
    pids: float


ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def read(root: Path) -> Machine:
    """`root` lies on the file system that pods' files fill."""
    disk = os.statvfs(root)
    return Machine(
        cpus=os.cpu_count() or 1,
        memory=meminfo()["MemTotal"],
        disk=disk.f_blocks * disk.f_frsize,
        machine_id=_text("/etc/machine-id") or _text("/var/lib/dbus/machine-id"),
        system_uuid=_text("/sys/class/dmi/id/product_uuid") or _text("/etc/machine-id"),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
        system=_system(),
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
    )


def meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        found[name] = int(words[0]) * (1024 if len(words) > 1 else 1)
    return found


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _system() -> str:
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"


def pressure(root: Path) -> Pressure:
    disk = os.statvfs(root)
    threads = int(_text("/proc/loadavg").split()[3].partition("/")[2])
    most = int(_text("/proc/sys/kernel/pid_max") or 32768)
    return Pressure(
        memory=meminfo()["MemAvailable"],
        disk=disk.f_bavail / max(1, disk.f_blocks),
        inodes=disk.f_favail / disk.f_files if disk.f_files else 1.0,
        pids=1 - threads / most,
    )
