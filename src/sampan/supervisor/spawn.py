"""Starting a process: its network namespace, its sockets, its log, its user.

Sockets are handed over as systemd does (sd_listen_fds(3): LISTEN_FDS, from descriptor 3), readiness is told as
systemd is told (sd_notify(3): a datagram to NOTIFY_SOCKET).
"""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path

from sampan.supervisor.spec import Spec

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_PR_SET_NO_NEW_PRIVS = 38
_SYS_PIDFD_GETFD = 438
_IP_FREEBIND = 15
# What a process gets of the environment in which the cluster was started: no secrets that a shell may hold.
INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_DATAGRAMS = 1 << 20  # bytes of datagrams that may wait


def bind(address: str, port: int, protocol: str = "tcp") -> socket.socket:
    """A listening or receiving socket, on an address that may not be there yet."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM)
    if family == socket.AF_INET:
        made.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
    if protocol == "udp":
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DATAGRAMS)
        made.bind((address, port))
        return made
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    made.listen(1024)
    return made


def bind_all(spec: Spec) -> list[socket.socket]:
    """The sockets of a process, in its network namespace."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if spec.netns:
            _enter(spec.netns)
        return [bind(x.address, x.port, x.protocol) for x in spec.listen]
    finally:
        if spec.netns:
            _check(_libc.setns(home, _CLONE_NEWNET), "return to the own network namespace")
        os.close(home)


def spawn(spec: Spec, sockets: list[socket.socket], notify: str) -> int:
    """Start the process and return its pid. What goes wrong in the child is in its log, and it exits with 127."""
    pid = os.fork()
    if pid:
        return pid
    try:
        _become(spec, sockets, notify)
    except BaseException as e:
        os.write(2, f"{spec.name}: cannot start: {e}\n".encode())
    finally:
        os._exit(127)


def _become(spec: Spec, sockets: list[socket.socket], notify: str) -> None:
    os.setsid()
    log = os.open(spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    null = os.open("/dev/null", os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    _hand_over([s.fileno() for s in sockets])
    if spec.netns:
        _enter(spec.netns)
    if spec.uid:
        _drop(spec)
    environment = {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        **spec.environment,
        "NOTIFY_SOCKET": notify,
        "LISTEN_FDS": str(len(sockets)),
        "LISTEN_PID": str(os.getpid()),
    }
    os.execve(spec.argv[0], spec.argv, environment)


def _hand_over(descriptors: list[int]) -> None:
    """Put the descriptors at 3, 4 and so on, and close all others."""
    high = [os.dup2(fd, 100 + i, inheritable=False) for i, fd in enumerate(descriptors)]
    for i, fd in enumerate(high):
        os.dup2(fd, 3 + i, inheritable=True)
    os.closerange(3 + len(high), 1 << 16)


def _enter(netns: str) -> None:
    fd = os.open(netns, os.O_RDONLY)
    _check(_libc.setns(fd, _CLONE_NEWNET), f"enter {netns}")
    os.close(fd)


def _drop(spec: Spec) -> None:
    """Become an ordinary user for good; leaving uid 0 clears every capability."""
    _open_way(list(spec.reach))
    os.setgroups([])
    os.setresgid(spec.gid, spec.gid, spec.gid)
    os.setresuid(spec.uid, spec.uid, spec.uid)
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up new privileges")


def _open_way(paths: list[str]) -> None:
    """In a mount namespace of our own, make `paths` reachable where an ancestor is closed to others.

    Each such ancestor is covered by an empty directory in which only the wanted paths are, so nothing else opens.
    """
    closed: dict[str, list[str]] = {}
    for path in paths:
        ancestor = _closed_ancestor(Path(path).resolve())
        if ancestor:
            closed.setdefault(ancestor, []).append(str(Path(path).resolve()))
    if not closed:
        return
    _check(_libc.unshare(_CLONE_NEWNS), "unshare mounts")
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE, "")
    for ancestor, wanted in closed.items():
        held = [(path, os.open(path, os.O_PATH)) for path in wanted]
        _mount("tmpfs", ancestor, "tmpfs", 0, "mode=755,size=1m")
        for path, fd in held:
            if os.path.isdir(f"/proc/self/fd/{fd}"):
                os.makedirs(path, 0o755, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
                Path(path).touch()
            _mount(f"/proc/self/fd/{fd}", path, "", _MS_BIND | _MS_REC, "")
            os.close(fd)


def _closed_ancestor(path: Path) -> str:
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & 0o001:
            return str(parent)
    return ""


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    done = _libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode())
    _check(done, f"mount {source} on {target}")


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"cannot {what}: {os.strerror(ctypes.get_errno())}")


def adopt_sockets(pid: int, count: int) -> list[socket.socket]:
    """The listening sockets that a living process was handed, taken back through its pidfd (pidfd_getfd(2))."""
    pidfd = os.pidfd_open(pid)
    try:
        return [socket.socket(fileno=_getfd(pidfd, 3 + i)) for i in range(count)]
    finally:
        os.close(pidfd)


def _getfd(pidfd: int, fd: int) -> int:
    taken = int(_libc.syscall(_SYS_PIDFD_GETFD, pidfd, fd, 0))
    _check(taken, "take a socket over")
    return taken
