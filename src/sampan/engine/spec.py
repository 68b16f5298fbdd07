"""From CRI's configuration to the OCI runtime's: a plain function, `make`.

What has to be looked up first (the image's configuration, the user's numbers, devices, what this machine
permits) comes in as values, so a spec can be read and tested without a machine. Sources: OCI runtime
specification v1.0 (config.md, config-linux.md); defaults as Docker's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.engine import seccomp
from sampan.engine.users import Identity
from sampan.machinery.cri import messages

Json = dict[str, Any]

DEFAULT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROPAGATION = {0: "rprivate", 1: "rslave", 2: "rshared"}
OPEN_FILES = 1048576


class SpecError(ValueError):
    """The configuration cannot be carried out; says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine permits: the capabilities we may give away, in order of their numbers, the hard limit
    of open files, the least oom_score_adj that we may set, the cgroup version and `uname -m`."""

    capabilities: tuple[str, ...]
    open_files: int = OPEN_FILES
    oom_score_adj: int = -1000
    cgroup_version: int = 2
    name: str = "x86_64"


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device file: its path in the container, `c` or `b`, its numbers and mode; `access` is from `rwm`."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    access: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """All that a container's spec is made from. `config` is CRI's ContainerConfig.

    `namespaces` are paths by the runtime's names (`network`, `ipc`, `uts`, `pid`); an empty path asks for a
    new one, and a missing name means the host's. `files` are host paths by the container path where they show
    unless the configuration mounts something there: /etc/hosts, /etc/resolv.conf, /etc/hostname, /dev/shm.
    `devices` are those asked for, or every one of the host for a privileged container. `profile` is a seccomp
    profile read from a file of the node, for Localhost.
    """

    config: Any
    image: Json
    rootfs: str
    identity: Identity
    machine: Machine
    cgroup: str
    namespaces: Mapping[str, str]
    hostname: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    devices: Sequence[DeviceNode] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    profile: Json | None = None


def make(given: Given) -> tuple[Json, list[str]]:
    """The spec, and warnings about what this machine could not grant. Raises SpecError."""
    warnings: list[str] = []
    security = given.config.linux.security_context
    _refuse_what_we_lack(given.config)
    capabilities = _capabilities(security, given.machine, warnings)
    mounts = _mounts(given)
    spec: Json = {
        "ociVersion": "1.0.2",
        "process": _process(given, capabilities, warnings),
        "root": {"path": given.rootfs, "readonly": security.readonly_rootfs},
        "mounts": mounts,
        "linux": {
            "cgroupsPath": given.cgroup,
            "namespaces": _namespaces(given),
            "resources": resources(given.config, given.devices),
            "devices": [_device(d) for d in given.devices],
            "maskedPaths": [] if security.privileged else list(security.masked_paths),
            "readonlyPaths": [] if security.privileged else list(security.readonly_paths),
        },
    }
    if given.machine.cgroup_version == 1:
        spec["linux"]["resources"].pop("unified", None)
    propagations = {m.propagation for m in given.config.mounts}
    if propagations & {1, 2}:
        spec["linux"]["rootfsPropagation"] = "rshared" if 2 in propagations else "rslave"
    profile = _seccomp(given, capabilities)
    if profile:
        spec["linux"]["seccomp"] = profile
    return spec, warnings


def _refuse_what_we_lack(config: Any) -> None:
    """What would silently be less than was asked for is refused. Raises SpecError."""
    if config.CDI_devices:
        raise SpecError("CDI devices are not supported by this runtime")
    apparmor = config.linux.security_context.apparmor
    if apparmor.profile_type == messages.SecurityProfile.Localhost:
        raise SpecError(
            f"AppArmor profile {apparmor.localhost_ref}: AppArmor is not supported by this runtime"
        )


def arguments(config: Any, image: Json) -> list[str]:
    """The command line: the configuration's command stands in for the entrypoint and drops the image's Cmd.

    Raises SpecError.
    """
    command, args = list(config.command), list(config.args)
    if not command:
        command = list(image.get("Entrypoint") or [])
        args = args or list(image.get("Cmd") or [])
    if not command + args:
        raise SpecError("no command specified")
    return command + args


def environment(given: Given) -> list[str]:
    """The image's variables, overridden by the configuration's; PATH, HOSTNAME, HOME and TERM where nobody says."""
    found: dict[str, str] = {"PATH": PATH}
    if given.hostname:
        found["HOSTNAME"] = given.hostname
    if given.config.tty:
        found["TERM"] = "xterm"
    for word in given.image.get("Env") or []:
        name, _, value = word.partition("=")
        found[name] = value
    for pair in given.config.envs:
        found[pair.key] = pair.value.decode(errors="surrogateescape")
    found.setdefault("HOME", given.identity.home)
    return [f"{name}={value}" for name, value in found.items()]


def _process(given: Given, capabilities: list[str], warnings: list[str]) -> Json:
    security = given.config.linux.security_context
    files = min(OPEN_FILES, given.machine.open_files)
    sets = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    ambient = [_cap(c) for c in security.capabilities.add_ambient_capabilities]
    if ambient:
        granted = [c for c in ambient if c in capabilities]
        sets |= {"inheritable": granted, "ambient": granted}
    wanted_score = given.config.linux.resources.oom_score_adj
    score = max(wanted_score, given.machine.oom_score_adj)
    if score != wanted_score:
        warnings.append(f"oom_score_adj {wanted_score} needs CAP_SYS_RESOURCE; it is {score}")
    identity = given.identity
    return {
        "terminal": given.config.tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": list(identity.groups)},
        "args": arguments(given.config, given.image),
        "env": environment(given),
        "cwd": given.config.working_dir or given.image.get("WorkingDir") or "/",
        "capabilities": sets,
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": files, "soft": files}],
        "noNewPrivileges": security.no_new_privs,
        "oomScoreAdj": score,
    }


def _cap(name: str) -> str:
    name = name.upper()
    return name if name.startswith("CAP_") else f"CAP_{name}"


def _capabilities(security: Any, machine: Machine, warnings: list[str]) -> list[str]:
    """The default ones and those added, without those dropped; ALL may stand in either list."""
    if security.privileged:
        return list(machine.capabilities)
    added = [_cap(c) for c in security.capabilities.add_capabilities]
    dropped = [_cap(c) for c in security.capabilities.drop_capabilities]
    wanted = set(machine.capabilities if "CAP_ALL" in added else DEFAULT_CAPABILITIES)
    if "CAP_ALL" in dropped:
        wanted = set(machine.capabilities) if "CAP_ALL" in added else set()
    wanted |= {c for c in added if c != "CAP_ALL"}
    wanted -= {c for c in dropped if c != "CAP_ALL" and not ("CAP_ALL" in dropped and c in added)}
    refused = sorted(wanted - set(machine.capabilities) - set(DEFAULT_CAPABILITIES))
    if refused:
        warnings.append(f"this machine cannot grant {', '.join(refused)}")
    return [c for c in machine.capabilities if c in wanted]


def _namespaces(given: Given) -> list[Json]:
    found: list[Json] = [{"type": "mount"}]
    if given.machine.cgroup_version == 2:
        found.append({"type": "cgroup"})
    for kind, path in given.namespaces.items():
        found.append({"type": kind, "path": path} if path else {"type": kind})
    return found


def _mount(target: str, source: str, fstype: str, *options: str) -> Json:
    return {"destination": target, "source": source, "type": fstype, "options": list(options)}


def _mounts(given: Given) -> list[Json]:
    """The kernel's own file systems, the pod's files, then what the configuration asks for, parents before children."""
    security = given.config.linux.security_context
    access = "rw" if security.privileged else "ro"
    plain = ("nosuid", "noexec", "nodev")
    found = [
        _mount("/proc", "proc", "proc", *plain),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ),
        _mount("/dev/mqueue", "mqueue", "mqueue", *plain),
        _mount("/sys", "sysfs", "sysfs", *plain, access),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", *plain, "relatime", access),
    ]
    own = [_bind(m, given.sources.get(m.container_path, m.host_path)) for m in given.config.mounts]
    taken = {m["destination"].rstrip("/") for m in own}
    for target, source in given.files.items():
        if target not in taken:
            readonly = security.readonly_rootfs and target.startswith("/etc/")
            found.append(_mount(target, source, "bind", "rbind", "rprivate", "ro" if readonly else "rw"))
    # What the configuration mounts replaces ours at the same place; /dev/shm may be a volume, for one.
    found = [m for m in found if m["destination"] not in taken]
    return found + sorted(own, key=lambda m: m["destination"].rstrip("/").count("/"))


def _bind(mount: Any, source: str) -> Json:
    if not mount.container_path.startswith("/"):
        raise SpecError(f"mount path {mount.container_path!r} is not absolute")
    if mount.recursive_read_only and (not mount.readonly or mount.propagation):
        raise SpecError("recursive_read_only needs a read-only mount with private propagation")
    if mount.uidMappings or mount.gidMappings:
        raise SpecError(f"mount {mount.container_path}: mounts with mapped ids are not supported")
    access = "rro" if mount.recursive_read_only else "ro" if mount.readonly or mount.image.image else "rw"
    options = ["rbind", PROPAGATION[mount.propagation], access, *mount.mount_options]
    return _mount(mount.container_path, source, "bind", *options)


def _device(device: DeviceNode) -> Json:
    return {
        "path": device.path,
        "type": device.kind,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    }


def resources(config: Any, devices: Sequence[DeviceNode] = ()) -> Json:
    """Limits, and which devices may be used; the runtime adds the harmless ones (null, zero, tty and so on) itself."""
    wanted = config.linux.resources
    cpu = {
        "shares": wanted.cpu_shares,
        "quota": wanted.cpu_quota,
        "period": wanted.cpu_period if wanted.cpu_quota else 0,
        "cpus": wanted.cpuset_cpus,
        "mems": wanted.cpuset_mems,
    }
    memory = {"limit": wanted.memory_limit_in_bytes, "swap": wanted.memory_swap_limit_in_bytes}
    allowed: list[Json] = [{"allow": config.linux.security_context.privileged, "access": "rwm"}]
    if not config.linux.security_context.privileged:
        allowed += [
            {"allow": True, "type": d.kind, "major": d.major, "minor": d.minor, "access": d.access}
            for d in devices
        ]
    found: Json = {"devices": allowed}
    if any(cpu.values()):
        found["cpu"] = {k: v for k, v in cpu.items() if v}
    if any(memory.values()):
        found["memory"] = {k: v for k, v in memory.items() if v}
    pages = [{"pageSize": h.page_size, "limit": h.limit} for h in wanted.hugepage_limits]
    if pages:
        found["hugepageLimits"] = pages
    if wanted.unified:
        found["unified"] = dict(wanted.unified)
    return found


def _seccomp(given: Given, capabilities: list[str]) -> Json | None:
    """No profile for a privileged container or when asked for none; a node's file; else the default one."""
    security = given.config.linux.security_context
    types = messages.SecurityProfile
    if security.privileged:
        return None
    if security.HasField("seccomp"):
        if security.seccomp.profile_type == types.Unconfined:
            return None
        if security.seccomp.profile_type == types.Localhost:
            return given.profile
    return seccomp.default(capabilities, given.machine.name)


def limits(wanted: Any) -> Json:
    """CRI's LinuxContainerResources as host.cgroups.Limits takes them, for the fields that are set."""
    found = {
        "cpu_shares": wanted.cpu_shares,
        "cpu_quota": wanted.cpu_quota,
        "cpu_period": wanted.cpu_period,
        "memory": wanted.memory_limit_in_bytes,
        "swap": wanted.memory_swap_limit_in_bytes,
        "cpus": wanted.cpuset_cpus,
        "mems": wanted.cpuset_mems,
        "unified": dict(wanted.unified),
    }
    return {k: v for k, v in found.items() if v}
