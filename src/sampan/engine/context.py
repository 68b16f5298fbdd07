"""What the engine's parts share: where things are, and the helpers they work with."""

from __future__ import annotations

import platform
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.engine.images.store import ImageStore
from sampan.engine.runtime import Runtime
from sampan.engine.spec import OPEN_FILES, Machine
from sampan.host import cgroups
from sampan.machinery.cri import messages
from sampan.network.attachment import Network

# In the order of their numbers, from 0: capabilities(7).
_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
    SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
    AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
    PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES = tuple(f"CAP_{name}" for name in _NAMES.split())


@dataclass(frozen=True, slots=True)
class Logs:
    """How large a container's log grows before it is rotated, in bytes, and how many files are kept."""

    size: int = 10 << 20
    files: int = 5


@dataclass(slots=True, kw_only=True)
class Context:
    """`root` survives a reboot, `run` need not.

    `cgroup` is where pods go whose configuration names no parent.
    """

    root: Path
    run: Path
    cgroup: str
    runtime: Runtime
    shim: Path
    cgroups: cgroups.Cgroups
    machine: Machine
    images: ImageStore
    network: Network
    logs: Logs

    def sandbox_directory(self, name: str) -> Path:
        return self.run / "sandboxes" / name

    def container_directory(self, name: str) -> Path:
        return self.run / "containers" / name


def machine(groups: cgroups.Cgroups) -> Machine:
    """What this process may give to containers."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    bits = int(status["CapEff"], 16) & int(status["CapBnd"], 16)
    held = tuple(name for i, name in enumerate(CAPABILITIES) if bits >> i & 1)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    least = -1000 if "CAP_SYS_RESOURCE" in held else int(Path("/proc/self/oom_score_adj").read_text())
    open_files = OPEN_FILES if hard == resource.RLIM_INFINITY else hard
    return Machine(held, open_files, least, groups.version, platform.machine())


def to_json(message: Any) -> dict[str, Any]:
    """A CRI message for a record."""
    from google.protobuf.json_format import MessageToDict

    found: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, use_integers_for_enums=True
    )
    return found


def from_json(name: str, value: dict[str, Any]) -> Any:
    """The inverse of `to_json`; `name` is the message's type."""
    from google.protobuf.json_format import ParseDict

    return ParseDict(value, getattr(messages, name)(), ignore_unknown_fields=True)
