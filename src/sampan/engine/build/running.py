"""RUN: a process in a step's root filesystem, by the OCI runtime, with its output as it comes.

It gets the default capabilities and seccomp profile, namespaces of its own, and the host's network, so that package
managers reach what this machine reaches.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sampan.engine import seccomp
from sampan.engine.spec import DEFAULT_CAPABILITIES
from sampan.engine.users import Identity
from sampan.host import mounts, process, trace

_FILES = ("/etc/resolv.conf", "/etc/hosts")
SCRIPT = "/.script"
_PLACES = (SCRIPT.strip("/"), "proc", "sys", "dev", *(f.strip("/") for f in _FILES))
_MASKED = (
    "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def spec(
    rootfs: Path,
    argv: Sequence[str],
    env: Mapping[str, str],
    workdir: str,
    identity: Identity,
    *,
    name: str,
    network: bool,
    script: Path | None = None,
) -> dict[str, Any]:
    """The OCI runtime configuration of a step. `network` off gives it an empty network namespace.

    `script` is a file to show at /.script, for here-documents that name their interpreter.
    """
    plain = ["nosuid", "noexec", "nodev"]
    table = [
        ("/proc", "proc", "proc", plain),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        (
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        ("/dev/shm", "tmpfs", "shm", [*plain, "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", plain),
        ("/sys", "sysfs", "sysfs", [*plain, "ro"]),
        *((f, "bind", f, ["bind", "rprivate", "ro"]) for f in _FILES if Path(f).exists()),
    ]
    if script:
        table.append((SCRIPT, "bind", str(script), ["bind", "rprivate", "ro"]))
    kinds = ["pid", "ipc", "uts", "mount", *([] if network else ["network"])]
    capabilities = list(DEFAULT_CAPABILITIES)
    sets = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": list(identity.groups)},
            "args": list(argv),
            "env": [f"{k}={v}" for k, v in {"HOME": identity.home, **env}.items()],
            "cwd": workdir,
            "capabilities": sets,
            "noNewPrivileges": False,
        },
        "root": {"path": str(rootfs)},
        "hostname": name[:12],
        "mounts": [{"destination": d, "type": t, "source": s, "options": o} for d, t, s, o in table],
        "linux": {
            "cgroupsPath": f"/sampan-{name}",
            "namespaces": [{"type": kind} for kind in kinds],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READONLY),
            "seccomp": seccomp.default(capabilities, platform.machine()),
        },
    }


async def run(home: Path, name: str, config: dict[str, Any], output: Callable[[bytes], None]) -> int:
    """Run a step whose root filesystem is mounted at `home/rootfs`; returns the exit status.

    Whatever ends this, the processes are gone afterwards. Raises ProcessError where the runtime cannot be started.
    """
    (home / "config.json").write_text(json.dumps(config))
    runc = ["runc", "--root", str(home / "runc")]
    with _places(home), trace.span("runc run", "builder", attributes={"step": name}):
        try:
            return await process.stream(*runc, "run", "--bundle", str(home), name, output=output)
        finally:
            if (home / "runc" / name).exists():
                await asyncio.shield(process.run(*runc, "delete", "--force", name, check=False))


@contextmanager
def _places(home: Path) -> Iterator[None]:
    """Take away again the mount points that the runtime makes in the root filesystem and the step has left empty."""
    rootfs = home / "rootfs"
    absent = [rootfs / place for place in _PLACES if not os.path.lexists(rootfs / place)]
    no_etc = not os.path.lexists(rootfs / "etc")
    try:
        yield
    finally:
        for path in absent:
            _remove_empty(path)
        if no_etc:
            _remove_empty(rootfs / "etc")


def _remove_empty(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif path.is_file() and not path.is_symlink() and path.stat().st_size == 0:
            path.unlink()
    except OSError:
        pass  # the step has put something there


def abandon(scratch: Path) -> None:
    """End what a builder that was killed has left running under its directory, and unmount what it has mounted.

    For `ImageStore.clean`; call it in a thread.
    """
    for state in scratch.glob("*/runc/*"):
        words = ["runc", "--root", str(state.parent), "delete", "--force", state.name]
        asyncio.run(process.run(*words, check=False))
    mounts.unmount_below(scratch)
