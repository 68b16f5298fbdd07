"""Names of kernel parameters: how they may be written, and to which namespace of a pod they belong.

Sources: sysctl.d(5) on separators; the namespaces' manual pages; the Kubernetes documentation's page on sysctls.
"""

from __future__ import annotations

import re

MOST = 253
_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
PATTERN = rf"({_SEGMENT}[\./])*{_SEGMENT}"
_VALID = re.compile(PATTERN)
_IPC = frozenset({
    "kernel.sem", "kernel.shm", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
    "kernel.msg", "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni",
})  # fmt: skip
_PREFIXES = (("net.", "Net"), ("fs.mqueue.", "IPC"), ("user.", "User"))
# Those that one pod cannot harm others with, which a node allows without being told to.
SAFE = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat",
})  # fmt: skip


def valid(name: str) -> bool:
    return len(name) <= MOST and _VALID.fullmatch(name) is not None


def dotted(name: str) -> str:
    """The name with dots as separators: where a slash comes first, slashes separate and dots are part of a segment."""
    slash, dot = name.find("/"), name.find(".")
    if slash < 0 or 0 <= dot < slash:
        return name
    return name.translate({ord("/"): ".", ord("."): "/"})


def namespace(name: str) -> str:
    """`Net`, `IPC`, `User` or `UTS`; empty where it is the whole machine's."""
    name = dotted(name)
    if name in _IPC:
        return "IPC"
    if name == "kernel.domainname":
        return "UTS"
    return next((found for prefix, found in _PREFIXES if name.startswith(prefix)), "")
