"""Control groups, version 1 and 2, behind one interface.

`detect()` finds what this machine has. A group is named by its path below the root, such as
`/sampan0/kubepods/pod1/abc`; in version 1 the same path stands in every controller's hierarchy. How limits
become files and files become figures are plain functions (`v1_files`, `v2_files`, `v1_usage`, `v2_usage`);
the rest reads and writes. Sources: the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst; for
the conversion of shares to weights, KEP-2254 (cgroup v2).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
# Of version 1; `systemd` and, where both versions are mounted, `unified` only gather processes.
CONTROLLERS = (
    "cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "devices", "freezer", "systemd", "unified",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """Zero or empty leaves a setting alone; -1 takes a limit away. Periods and quotas are microseconds,
    memory is bytes.

    `swap` is memory and swap together, as in version 1 and CRI. `unified` are version 2 files to write as
    they are.
    """

    cpu_shares: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    memory: int = 0
    swap: int = 0
    pids: int = 0
    cpus: str = ""
    mems: str = ""
    unified: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a group and all below it use: CPU in nanoseconds since it was made, memory in bytes, and how many processes.

    `working_set` is the memory that cannot be reclaimed easily: usage without inactive file pages, as the
    kubelet counts it.
    """

    cpu: int = 0
    memory: int = 0
    working_set: int = 0
    rss: int = 0
    memory_limit: int = 0
    swap: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    pids: int = 0


def weight(shares: int) -> int:
    """The version 2 cpu.weight (1 to 10000) for version 1 shares (2 to 262144)."""
    return 1 + ((max(2, min(shares, 262144)) - 2) * 9999) // 262142


def v1_files(limits: Limits) -> dict[str, str]:
    """The files to write for these limits, as `controller/file`, in an order that the kernel takes when
    raising them.
    """
    files: dict[str, str] = {}
    if limits.cpu_shares:
        files["cpu/cpu.shares"] = str(max(2, limits.cpu_shares))
    if limits.cpu_period:
        files["cpu/cpu.cfs_period_us"] = str(limits.cpu_period)
    if limits.cpu_quota:
        files["cpu/cpu.cfs_quota_us"] = str(limits.cpu_quota)
    if limits.swap:
        files["memory/memory.memsw.limit_in_bytes"] = str(limits.swap)
    if limits.memory:
        files["memory/memory.limit_in_bytes"] = str(limits.memory)
    if limits.pids:
        files["pids/pids.max"] = _or_max(limits.pids)
    if limits.cpus:
        files["cpuset/cpuset.cpus"] = limits.cpus
    if limits.mems:
        files["cpuset/cpuset.mems"] = limits.mems
    return files


def v2_files(limits: Limits) -> dict[str, str]:
    """The files to write for these limits; `unified` has the last word."""
    files: dict[str, str] = {}
    if limits.cpu_shares:
        files["cpu.weight"] = str(weight(limits.cpu_shares))
    if limits.cpu_quota or limits.cpu_period:
        files["cpu.max"] = f"{_or_max(limits.cpu_quota or -1)} {limits.cpu_period or 100000}"
    if limits.memory:
        files["memory.max"] = _or_max(limits.memory)
    if limits.swap:
        files["memory.swap.max"] = (
            "max" if limits.swap < 0 else str(max(0, limits.swap - max(0, limits.memory)))
        )
    if limits.pids:
        files["pids.max"] = _or_max(limits.pids)
    if limits.cpus:
        files["cpuset.cpus"] = limits.cpus
    if limits.mems:
        files["cpuset.mems"] = limits.mems
    return {**files, **limits.unified}


def flat(text: str) -> dict[str, int]:
    """A flat keyed file, such as memory.stat; lines that are no numbers (`max`) are left out."""
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[key] = int(value)
    return found


def v1_usage(files: Mapping[str, str]) -> Usage:
    """Usage from the contents of version 1 files, by `controller/file`; a missing one counts as zero."""
    stat = flat(files.get("memory/memory.stat", ""))
    usage = _number(files.get("memory/memory.usage_in_bytes", ""))
    return Usage(
        cpu=_number(files.get("cpuacct/cpuacct.usage", "")),
        memory=usage,
        working_set=max(0, usage - stat.get("total_inactive_file", 0)),
        rss=stat.get("total_rss", 0),
        memory_limit=_limit(stat.get("hierarchical_memory_limit", 0)),
        swap=stat.get("total_swap", 0),
        page_faults=stat.get("total_pgfault", 0),
        major_page_faults=stat.get("total_pgmajfault", 0),
        pids=_number(files.get("pids/pids.current", "")),
    )


def v2_usage(files: Mapping[str, str]) -> Usage:
    """Usage from the contents of version 2 files; a missing one counts as zero."""
    stat = flat(files.get("memory.stat", ""))
    usage = _number(files.get("memory.current", ""))
    return Usage(
        cpu=flat(files.get("cpu.stat", "")).get("usage_usec", 0) * 1000,
        memory=usage,
        working_set=max(0, usage - stat.get("inactive_file", 0)),
        rss=stat.get("anon", 0),
        memory_limit=_number(files.get("memory.max", "")),
        swap=_number(files.get("memory.swap.current", "")),
        page_faults=stat.get("pgfault", 0),
        major_page_faults=stat.get("pgmajfault", 0),
        pids=_number(files.get("pids.current", "")),
    )


V1_READ = (
    "cpuacct/cpuacct.usage",
    "memory/memory.stat",
    "memory/memory.usage_in_bytes",
    "pids/pids.current",
)
V2_READ = ("cpu.stat", "memory.stat", "memory.current", "memory.max", "memory.swap.current", "pids.current")


class Cgroups:
    """The groups of this machine.

    Everything is idempotent; a group that is gone has no processes and no usage.
    """

    def __init__(self, root: Path = ROOT, *, unified: bool):
        self.root = root
        self.version = 2 if unified else 1
        # Some systems mount cpu and cpuacct together, with symbolic links under both names; `resolve` makes
        # them one.
        self._trees = [root] if unified else _trees(root)

    def _places(self, path: str) -> list[Path]:
        return [tree / path.strip("/") for tree in self._trees]

    def _file(self, path: str, name: str) -> Path:
        if self.version == 2:
            return self.root / path.strip("/") / name
        controller, _, rest = name.partition("/")
        return self.root / controller / path.strip("/") / rest

    def create(self, path: str, limits: Limits | None = None) -> None:
        """Make the group, its parents too, and set its limits. Raises OSError."""
        for place in self._places(path):
            _make(place, self.root, self.version)
        if limits:
            self.limit(path, limits)

    def limit(self, path: str, limits: Limits) -> None:
        """Set limits on a group that exists. Raises OSError naming the file that the kernel refused.

        A file that this kernel does not have (swap accounting, mostly) is passed over.
        """
        files = v2_files(limits) if self.version == 2 else v1_files(limits)
        pending = list(files.items())
        # In version 1 memory may not exceed memory with swap, so which of both is written first depends on
        # the direction of the change: what is refused is tried once more after the others.
        for last in (False, True):
            refused = []
            for name, value in pending:
                try:
                    self._file(path, name).write_text(value)
                except FileNotFoundError:
                    continue
                except OSError:
                    if last:
                        raise
                    refused.append((name, value))
            pending = refused

    def usage(self, path: str) -> Usage:
        """What the group uses now."""
        names = V2_READ if self.version == 2 else V1_READ
        files = {}
        for name in names:
            try:
                files[name] = self._file(path, name).read_text()
            except OSError:
                continue
        return v2_usage(files) if self.version == 2 else v1_usage(files)

    def exists(self, path: str) -> bool:
        return any(place.is_dir() for place in self._places(path))

    def oom_file(self, path: str) -> Path:
        """The file whose line `oom_kill N` counts the group's processes that the kernel killed for want of memory."""
        return self._file(path, "memory.events" if self.version == 2 else "memory/memory.oom_control")

    def oom_kills(self, path: str) -> int:
        try:
            return flat(self.oom_file(path).read_text()).get("oom_kill", 0)
        except OSError:
            return 0

    def add(self, path: str, pid: int) -> None:
        """Move a process into the group. Raises OSError, such as ESRCH when it is gone."""
        for place in self._places(path):
            (place / "cgroup.procs").write_text(str(pid))

    def processes(self, path: str) -> set[int]:
        """The processes of the group and of all groups below it."""
        found: set[int] = set()
        for place in self._places(path):
            for directory, _, _ in os.walk(place):
                try:
                    found.update(int(pid) for pid in Path(directory, "cgroup.procs").read_text().split())
                except OSError:
                    continue
        return found

    def kill(self, path: str, *, timeout: float = 5.0) -> bool:
        """Kill every process of the group and those below it, new ones too; False when some live after `timeout` s."""
        deadline = time.monotonic() + timeout
        while True:
            if self.version == 2 and (switch := self._file(path, "cgroup.kill")).exists():
                switch.write_text("1")
            left = self.processes(path)
            if not left:
                return True
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)

    def remove(self, path: str, *, timeout: float = 2.0) -> bool:
        """Remove the group and those below it; False when processes hold one of them still after `timeout` s."""
        deadline = time.monotonic() + timeout
        while True:
            left = [place for place in self._places(path) if not _remove(place)]
            if not left:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)

    def children(self, path: str) -> set[str]:
        """The names of the groups right below this one, in any hierarchy."""
        found: set[str] = set()
        for place in self._places(path):
            try:
                found.update(entry.name for entry in os.scandir(place) if entry.is_dir())
            except OSError:
                continue
        return found


def detect(root: Path = ROOT) -> Cgroups:
    """The groups of this machine: version 2 where the root itself is a version 2 hierarchy, else version 1."""
    return Cgroups(root, unified=(root / "cgroup.controllers").exists())


def _trees(root: Path) -> list[Path]:
    """The hierarchies of version 1, each once."""
    found: dict[Path, None] = {}
    for controller in CONTROLLERS:
        if (root / controller).is_dir():
            found[(root / controller).resolve()] = None
    return list(found)


def _make(place: Path, root: Path, version: int) -> None:
    """Make a group and its parents; each parent hands its controllers down, as either version wants it."""
    missing = []
    while not place.is_dir() and place != root:
        missing.append(place)
        place = place.parent
    for directory in reversed(missing):
        if version == 2:
            _delegate(directory.parent)
        try:
            directory.mkdir()
        except FileExistsError:
            continue
        if version == 1 and (directory / "cpuset.cpus").exists():
            for name in ("cpuset.cpus", "cpuset.mems"):
                (directory / name).write_text((directory.parent / name).read_text())


def _delegate(parent: Path) -> None:
    """Version 2: let groups below `parent` have every controller that it has itself."""
    try:
        available = (parent / "cgroup.controllers").read_text().split()
        (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available))
    except OSError:
        # A parent with processes of its own cannot hand controllers down; its groups then only gather
        # processes.
        return


def _remove(place: Path) -> bool:
    """Remove one group's directories, the innermost first; whether none is left."""
    for directory in _innermost_first(place):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def _innermost_first(place: Path) -> Iterable[str]:
    return (directory for directory, _, _ in os.walk(place, topdown=False))


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else 0


def _limit(value: int) -> int:
    """Version 1 writes no limit as a number near 2^63; zero says that there is none."""
    return 0 if value >= 1 << 60 else value
