"""The supervisor with real processes: restarts, readiness, adoption by a second supervisor, an unprivileged user."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.supervisor import client
from sampan.supervisor.spec import Listen, Spec, dump

# A server that says it is ready and then answers every connection with its pid and capabilities.
SERVER = """
import os, socket
n = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
n.connect(os.environ["NOTIFY_SOCKET"])
n.send(b"READY=1\\nSTATUS=serving")
listener = socket.socket(fileno=3)
caps = [l for l in open("/proc/self/status") if l.startswith(("CapEff", "Uid", "NoNewPrivs"))]
while True:
    c, _ = listener.accept(); c.sendall(f"{os.getpid()}|{caps}".encode()); c.close()
"""


class Supervisor:
    def __init__(self, run: Path):
        self.run = run
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "SECRET_OF_A_SHELL": "x"}
        words = [sys.executable, "-m", "sampan.supervisor.loop", str(self.run)]
        self.child = subprocess.Popen(words, env=environment)

    def ask(self, request: str) -> dict[str, Any]:
        return client.ask(self.run, request)

    def process(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("status")["processes"][0]
        return found

    def ready(self) -> bool:
        return (self.run / "supervisor.sock").exists() and self.process()["state"] == "ready"


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        found: int = s.getsockname()[1]
        return found


@pytest.fixture
def supervisor(tmp_path: Path, port: int, request: pytest.FixtureRequest) -> Iterator[Supervisor]:
    uid = getattr(request, "param", 0)
    tmp_path.chmod(0o755)
    spec = Spec(
        name="server",
        argv=(sys.executable, "-c", SERVER),
        log=str(tmp_path / "server.log"),
        listen=(Listen("127.0.0.1", port),),
        uid=uid,
        gid=uid,
        reach=(sys.prefix, sys.base_prefix, str(tmp_path)),
    )
    (tmp_path / "processes.json").write_text(dump([spec]))
    made = Supervisor(tmp_path)
    eventually(made.ready)
    yield made
    pid = made.process()["pid"]
    made.ask("stop")
    made.child.wait(20)
    assert dead(pid)
    assert not (tmp_path / "supervisor.sock").exists()


def dead(pid: int) -> bool:
    """Gone, or a zombie whose parent has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_secrets_of_the_shell_that_started_it_stay_there(supervisor: Supervisor) -> None:
    seen = Path(f"/proc/{supervisor.process()['pid']}/environ").read_bytes()
    assert b"PATH=" in seen
    assert b"SECRET_OF_A_SHELL" not in seen


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: dead(pid))


def talk(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        return connection.makefile().read()


def test_a_killed_process_comes_back_and_no_connection_is_refused(supervisor: Supervisor, port: int) -> None:
    first = int(talk(port).split("|")[0])
    kill(first)
    second = int(talk(port).split("|")[0])  # waits in the socket's queue until the new one serves
    assert second != first
    eventually(supervisor.ready)
    assert supervisor.process()["restarts"] == 1
    assert supervisor.process()["status"] == "serving"


def test_a_new_supervisor_adopts_what_the_killed_one_left(supervisor: Supervisor, port: int) -> None:
    before = supervisor.process()["pid"]
    supervisor.child.kill()
    supervisor.child.wait()
    assert int(talk(port).split("|")[0]) == before  # it serves on meanwhile
    supervisor.start()
    eventually(lambda: bool(supervisor.process()["pid"] == before))
    kill(before)
    assert int(talk(port).split("|")[0]) != before  # on the same socket, taken back from the process


@pytest.mark.root
@pytest.mark.parametrize("supervisor", [61999], indirect=True)
def test_an_unprivileged_process_has_no_capability_even_where_its_program_is_below_a_closed_directory(
    supervisor: Supervisor, port: int
) -> None:
    told = talk(port)
    assert "CapEff:\\t0000000000000000" in told
    assert "Uid:\\t61999\\t61999\\t61999\\t61999" in told
    assert "NoNewPrivs:\\t1" in told
