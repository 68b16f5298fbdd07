"""Pod sandboxes: namespaces kept by bind mounts, the pod's files, its cgroup, its place in the network.

No process holds a sandbox, except where its containers share a PID namespace: that needs a first process
(`shim pause`). Each step can be repeated and undone, so a sandbox that was being made or taken down when we
were killed is taken down again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from sampan.engine import shims
from sampan.engine.context import Context, from_json, to_json
from sampan.engine.records import READY, STOPPED, Records, Sandbox
from sampan.engine.runtime import SERVICE
from sampan.engine.spec import limits
from sampan.host import cgroups, mounts, namespaces, trace
from sampan.machinery.cri import messages
from sampan.network.attachment import PortMapping

# What a sysctl reaches only the pod's own namespaces with; anything else would change the whole machine.
NAMESPACED = re.compile(r"net\.[\w./*-]+|kernel\.(shm[\w]*|msg[\w]*|sem)|fs\.mqueue\.[\w]+")
SHM_SIZE = 64 << 20
# A pod's network is its own: every user in it may bind low ports and send pings, as with other runtimes.
SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


class SandboxError(ValueError):
    """The configuration of a sandbox cannot be carried out."""


def wanted_namespaces(config: Any) -> set[str]:
    """The namespaces that the pod has of its own: of net, ipc, uts and pid. Raises SandboxError."""
    options = config.linux.security_context.namespace_options
    if options.HasField("userns_options") and options.userns_options.mode == messages.POD:
        raise SandboxError("user namespaces are not supported by this runtime")
    found = set()
    if options.network != messages.NODE:
        found |= {"net", "uts"}
    if options.ipc != messages.NODE:
        found.add("ipc")
    if options.pid == messages.POD:
        found.add("pid")
    return found


def check_sysctls(sysctls: dict[str, str], owned: set[str]) -> None:
    """Raises SandboxError for one that would reach beyond the pod."""
    for name in sysctls:
        space = "net" if name.startswith("net.") else "ipc"
        if not NAMESPACED.fullmatch(name) or ".." in name:
            raise SandboxError(f'sysctl "{name}" is not namespaced: it would change the whole node')
        if space not in owned:
            raise SandboxError(f'sysctl "{name}" is not allowed: the pod uses the node\'s {space} namespace')


def resolv_conf(dns: Any) -> str:
    """The file's text for a CRI DNSConfig; empty where it says nothing."""
    lines = [f"nameserver {server}" for server in dns.servers]
    if dns.searches:
        lines.append("search " + " ".join(dns.searches))
    if dns.options:
        lines.append("options " + " ".join(dns.options))
    return "\n".join(lines) + "\n" if lines else ""


def hosts(hostname: str, addresses: list[str]) -> str:
    """The pod's /etc/hosts, where the kubelet mounts none."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    return "\n".join(lines + [f"{address}\t{hostname}" for address in addresses if hostname]) + "\n"


class Sandboxes:
    """The sandboxes of this engine; the caller sees to it that calls for one sandbox do not overlap."""

    def __init__(self, context: Context):
        self._context = context
        self.records = Records(context.root / "sandboxes", Sandbox)
        self._configs: dict[str, Any] = {}

    def config(self, record: Sandbox) -> Any:
        """The sandbox's PodSandboxConfig, shared: not to be changed."""
        found = self._configs.get(record.id)
        if found is None:
            found = from_json("PodSandboxConfig", record.config)
            if record.id in self.records:
                self._configs[record.id] = found
        return found

    async def create(self, name: str, config: Any, handler: str) -> Sandbox:
        """Make a sandbox and attach it to the network; nothing is left of it where that fails."""
        owned = wanted_namespaces(config)
        check_sysctls(dict(config.linux.sysctls), owned)
        parent = config.linux.cgroup_parent or f"/{self._context.cgroup.strip('/')}/{name}"
        record = Sandbox(name, to_json(config), time.time_ns(), handler, cgroup=parent)
        self.records.save(record)
        try:
            with trace.span("make namespaces", SERVICE):
                await asyncio.to_thread(self._prepare, record, config, owned)
            if "net" in owned:
                await self._attach(record, config)
            self._write(name, "hosts", hosts(config.hostname, record.addresses))
            self.records.advance(record, "attached")
        except BaseException:
            await asyncio.shield(self.discard(record))
            raise
        return record

    async def _attach(self, record: Sandbox, config: Any) -> None:
        ports = [
            PortMapping(p.container_port, p.host_port, messages.Protocol.Name(p.protocol), p.host_ip)
            for p in config.port_mappings
            if p.host_port
        ]
        meta = config.metadata
        with trace.span("network attach", SERVICE, peer="network"):
            found = await self._context.network.attach(
                record.id,
                self._file(record.id, "net"),
                namespace=meta.namespace,
                name=meta.name,
                uid=meta.uid,
                port_mappings=ports,
            )
        record.addresses = list(found.addresses)

    def _file(self, name: str, file: str) -> Path:
        return self._context.sandbox_directory(name) / file

    def _write(self, name: str, file: str, text: str) -> None:
        """A file that every user of the pod may read."""
        path = self._file(name, file)
        path.write_text(text)
        path.chmod(0o644)

    def _prepare(self, record: Sandbox, config: Any, owned: set[str]) -> None:
        home = self._context.sandbox_directory(record.id)
        home.mkdir(parents=True, exist_ok=True)
        home.parent.chmod(0o711)
        pins: dict[str, Path] = {kind: home / kind for kind in ("net", "ipc", "uts") if kind in owned}
        if pins:
            defaults = SYSCTLS if "net" in owned else {}
            namespaces.make(pins, hostname=config.hostname, sysctls={**defaults, **config.linux.sysctls})
        if "ipc" in owned:
            (home / "shm").mkdir(exist_ok=True)
            flags = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
            mounts.mount("shm", home / "shm", "tmpfs", flags, f"mode=1777,size={SHM_SIZE}")
        own = resolv_conf(config.dns_config)
        self._write(record.id, "resolv.conf", own or Path("/etc/resolv.conf").read_text())
        self._write(record.id, "hostname", (config.hostname or os.uname().nodename) + "\n")
        groups = self._context.cgroups
        groups.create(record.cgroup, cgroups.Limits(**limits(config.linux.resources)))
        if "pid" in owned:
            record.pause = shims.pause(self._context.shim, home)
            self.records.save(record)
            (home / "pid").touch()
            mounts.mount(f"/proc/{record.pause}/ns/pid", home / "pid", flags=mounts.BIND)
            groups.create(f"{record.cgroup}/pause")
            groups.add(f"{record.cgroup}/pause", record.pause)

    def alive(self, record: Sandbox) -> bool:
        """Whether what a ready sandbox needs is there still."""
        owned = wanted_namespaces(self.config(record))
        if not all(namespaces.held(self._file(record.id, kind)) for kind in owned):
            return False
        return "pid" not in owned or self._is_pause(record)

    def _is_pause(self, record: Sandbox) -> bool:
        """Whether the number is still that of our pause: it has the very namespace that we keep."""
        try:
            theirs = os.stat(f"/proc/{record.pause}/ns/pid")
            return record.pause > 0 and theirs.st_ino == os.stat(self._file(record.id, "pid")).st_ino
        except OSError:
            return False

    def paths(self, record: Sandbox) -> dict[str, str]:
        """The paths of the sandbox's own namespaces, by the runtime's names for them."""
        names = {"net": "network", "ipc": "ipc", "uts": "uts", "pid": "pid"}
        owned = wanted_namespaces(self.config(record))
        return {names[kind]: str(self._file(record.id, kind)) for kind in sorted(owned)}

    def files(self, record: Sandbox) -> dict[str, str]:
        """The pod's files, by where they show in containers."""
        home = self._context.sandbox_directory(record.id)
        found = {f"/etc/{name}": str(home / name) for name in ("hosts", "resolv.conf", "hostname")}
        shm = home / "shm"
        return {**found, "/dev/shm": str(shm) if shm.is_dir() else "/dev/shm"}

    async def stop(self, record: Sandbox) -> None:
        """Take the sandbox off the network and let go of its namespaces.

        Its containers must have ended. Idempotent.
        """
        with trace.span("network detach", SERVICE, peer="network"):
            await self._context.network.detach(record.id, self._file(record.id, "net"))
        await asyncio.to_thread(self._release, record)
        if record.state != STOPPED:
            self.records.note(record, "stop")

    def _release(self, record: Sandbox) -> None:
        home = self._context.sandbox_directory(record.id)
        if record.pause and self._is_pause(record):
            with contextlib.suppress(ProcessLookupError):
                os.kill(record.pause, signal.SIGKILL)
        for kind in ("net", "ipc", "uts", "pid"):
            namespaces.release(home / kind)
        mounts.unmount(home / "shm", lazy=True)

    async def remove(self, record: Sandbox) -> None:
        """Forget a stopped sandbox and what it left. Idempotent."""
        self.records.note(record, "remove")
        await asyncio.to_thread(self._delete, record)
        self.records.forget(record.id)
        self._configs.pop(record.id, None)

    def _delete(self, record: Sandbox) -> None:
        home = self._context.sandbox_directory(record.id)
        mounts.unmount_below(home)
        shutil.rmtree(home, ignore_errors=True)
        groups = self._context.cgroups
        groups.kill(f"{record.cgroup}/pause")
        groups.remove(f"{record.cgroup}/pause")
        # The pod's own group belongs to the kubelet where it named it: we take it away only if nothing is in
        # it.
        if not groups.children(record.cgroup) and not groups.processes(record.cgroup):
            groups.remove(record.cgroup, timeout=0)

    async def discard(self, record: Sandbox) -> None:
        """Undo a sandbox, however far it came."""
        await self.stop(record)
        await self.remove(record)

    def ready(self, record: Sandbox) -> bool:
        return record.state == READY
