"""The supervisor's loop: it waits for exits, notifications, requests and deadlines, and asks `table` what follows.

Requests come as one JSON line on `supervisor.sock` and are answered with one: `{"do": "status"}`, `{"do": "stop"}`, and
`{"do": "wait", "after": N}`, which is answered as soon as more than N changes have happened.
Run as `python -m sampan.supervisor.loop RUN_DIR`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.supervisor import spawn
from sampan.supervisor.spec import Spec, load
from sampan.supervisor.table import Happening, Life, step

# A process that ignores SIGTERM is killed after this many seconds.
GRACE = 8.0
LOG_LIMIT = 16 << 20


@dataclass(slots=True)
class Supervised:
    spec: Spec
    life: Life = field(default_factory=Life)
    pid: int = 0
    pidfd: int = -1
    status: str = ""
    been_ready: bool = False
    asked: float = 0.0
    sockets: list[socket.socket] = field(default_factory=list)


class Supervisor:
    def __init__(self, run: Path) -> None:
        self.run = run
        self._lock = _only_one(run)
        self.selector = selectors.DefaultSelector()
        self.notify = self._datagrams(run / "notify.sock")
        self.requests = self._stream(run / "supervisor.sock")
        self.stopping = False
        # How often a process changed its state, and who waits to hear of the next time.
        self.changes = 0
        self.waiting: list[socket.socket] = []
        self._wakers: tuple[socket.socket, ...] = ()
        self.processes = {spec.name: Supervised(spec) for spec in load(run / "processes.json")}
        self._watch(self.notify, self._notified)
        self._watch(self.requests, self._requested)
        self._adopt()
        self._bind()

    def serve(self) -> None:
        """Run until asked to stop and all processes have stopped."""
        while not (self.stopping and all(p.life.state == "stopped" for p in self.processes.values())):
            self._start_due()
            for key, _ in self.selector.select(self._patience()):
                key.data()
        for name in ("supervisor.sock", "notify.sock", "pids.json", "supervisor.lock"):
            (self.run / name).unlink(missing_ok=True)

    def stop_on(self, *signals: signal.Signals) -> None:
        """Take these signals for a request to stop; each wakes the loop."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno())
        self._wakers = (ours, theirs)
        self._watch(ours, lambda: self._signalled(ours))
        for number in signals:
            signal.signal(number, lambda *_: None)

    # Sockets

    def _datagrams(self, path: Path) -> socket.socket:
        path.unlink(missing_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        receiver.bind(str(path))
        path.chmod(0o666)  # the control process is unprivileged; the sender is told by the kernel
        return receiver

    def _stream(self, path: Path) -> socket.socket:
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(str(path))
        path.chmod(0o600)
        owner = os.environ.get("SUDO_UID", "")
        if owner.isdigit():
            os.chown(path, int(owner), -1)
        listener.listen(16)
        return listener

    def _watch(self, source: socket.socket | int, callback: Callable[[], None]) -> None:
        self.selector.register(source, selectors.EVENT_READ, callback)

    # The past: processes that outlived an earlier supervisor

    def _adopt(self) -> None:
        try:
            known = json.loads((self.run / "pids.json").read_text())
        except (OSError, ValueError):
            return
        for name, (pid, born) in known.items():
            process = self.processes.get(name)
            if process and birth(pid) == born:
                try:
                    process.sockets = spawn.adopt_sockets(pid, len(process.spec.listen))
                except OSError:
                    continue  # it is just dying, and is started anew
                process.life = Life(state="ready", since=time.monotonic())
                process.been_ready = True
                self._follow(process, pid)

    def _bind(self) -> None:
        for process in self.processes.values():
            if not process.sockets:
                process.sockets = spawn.bind_all(process.spec)

    # What happens

    def _happen(self, process: Supervised, happening: Happening) -> None:
        process.life, action = step(process.life, happening, time.monotonic())
        if action == "spawn":
            _rotate(Path(process.spec.log))
            self._follow(process, spawn.spawn(process.spec, process.sockets, str(self.run / "notify.sock")))
        elif action == "terminate":
            process.asked = time.monotonic()
            _kill(process.pid, signal.SIGTERM)
        self._changed()

    def _changed(self) -> None:
        self.changes += 1
        waiting, self.waiting = self.waiting, []
        for connection in waiting:
            self._reply(connection)

    def _follow(self, process: Supervised, pid: int) -> None:
        process.pid, process.pidfd = pid, os.pidfd_open(pid)
        self._watch(process.pidfd, lambda: self._exited(process))
        self._remember()

    def _exited(self, process: Supervised) -> None:
        self.selector.unregister(process.pidfd)
        os.close(process.pidfd)
        try:
            os.waitpid(process.pid, os.WNOHANG)
        except ChildProcessError:
            pass  # adopted: it has another parent, which reaps it
        process.pid, process.pidfd, process.status = 0, -1, ""
        self._happen(process, "exited")
        self._remember()

    def _notified(self) -> None:
        """Take one readiness message; only the process itself may speak for it."""
        message, ancillary, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(12))
        sender = int.from_bytes(ancillary[0][2][:4], sys.byteorder) if ancillary else 0
        process = next((p for p in self.processes.values() if p.pid == sender), None)
        if process is None:
            return
        said = dict(line.split("=", 1) for line in message.decode().splitlines() if "=" in line)
        process.status = said.get("STATUS", process.status)
        if said.get("READY") == "1":
            process.been_ready = True
            self._happen(process, "notified")

    def _start_due(self) -> None:
        now = time.monotonic()
        for process in self.processes.values():
            first = self.processes.get(process.spec.after)
            if (
                process.life.state == "waiting"
                and process.life.due <= now
                and (not first or first.been_ready)
            ):
                self._happen(process, "due")
            if process.life.state == "stopping" and now - process.asked >= GRACE:
                _kill(process.pid, signal.SIGKILL)

    def _patience(self) -> float | None:
        """Seconds until something is due; None when there is nothing but to wait."""
        now = time.monotonic()
        dues = [
            p.life.due for p in self.processes.values() if p.life.state == "waiting" and not self._held(p)
        ]
        dues += [p.asked + GRACE for p in self.processes.values() if p.life.state == "stopping"]
        return max(0.0, min(dues) - now) + 0.001 if dues else None

    def _held(self, process: Supervised) -> bool:
        first = self.processes.get(process.spec.after)
        return bool(first and not first.been_ready)

    def _remember(self) -> None:
        known = {name: (p.pid, birth(p.pid)) for name, p in self.processes.items() if p.pid}
        temporary = self.run / "pids.json.new"
        temporary.write_text(json.dumps(known))
        temporary.rename(self.run / "pids.json")

    # Requests

    def _signalled(self, waker: socket.socket) -> None:
        waker.recv(64)
        self._stop()

    def _requested(self) -> None:
        connection, _ = self.requests.accept()
        connection.settimeout(1.0)
        try:
            request = json.loads(connection.makefile("rb").readline() or b"{}")
        except (OSError, ValueError):
            connection.close()  # a client that went away or spoke nonsense harms nobody
            return
        if request.get("do") == "wait" and request.get("after") == self.changes:
            self.waiting.append(connection)
            return
        if request.get("do") == "stop":
            self._stop()
        self._reply(connection)

    def _reply(self, connection: socket.socket) -> None:
        processes = [self._describe(p) for p in self.processes.values()]
        answer = {"pid": os.getpid(), "changes": self.changes, "processes": processes}
        with connection, contextlib.suppress(OSError):
            connection.sendall(json.dumps(answer).encode() + b"\n")

    def _describe(self, process: Supervised) -> dict[str, Any]:
        return {
            "name": process.spec.name,
            "state": process.life.state,
            "pid": process.pid or None,  # not 0: a kill of that would be of the killer's own process group
            "restarts": process.life.restarts,
            "seconds": round(time.monotonic() - process.life.since, 1) if process.pid else 0,
            "status": process.status,
        }

    def _stop(self) -> None:
        self.stopping = True
        for process in reversed(self.processes.values()):
            self._happen(process, "asked to stop")


def _only_one(run: Path) -> int:
    """The lock that a cluster's supervisor holds as long as it lives. Exits where another one has it."""
    fd = os.open(run / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"another supervisor is at work in {run}") from None
    return fd


def birth(pid: int) -> int:
    """When a process started, in clock ticks since boot: with the pid it names one process for good. 0: none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _rotate(log: Path) -> None:
    """Keep one earlier log of a process that has written much."""
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.rename(log.with_suffix(".log.1"))


def main() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    supervisor = Supervisor(Path(sys.argv[1]))
    supervisor.stop_on(signal.SIGTERM, signal.SIGINT)
    supervisor.serve()


if __name__ == "__main__":
    main()
