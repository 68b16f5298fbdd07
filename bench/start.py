"""From nothing to a Ready node: `sampan up` of a new cluster, its keys and its store made anew.

CPU is user and system time: until /readyz of the command, the supervisor and the control process, in the end of the
node's process too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.rows import Row, spread
from bench.usage import cpu, pids, seconds
from sampan.lifecycle import cluster
from sampan.lifecycle.configure import Options

ROUNDS = 7
SAMPAN = (sys.executable, "-m", "sampan.cli")
# How the command says that the control process serves.
SERVES = b"start the API server"


@dataclass(frozen=True, slots=True)
class Start:
    """One start; all in milliseconds."""

    serves: float
    serves_cpu: float
    ready: float
    ready_cpu: float
    status: float


def run() -> Sequence[Row]:
    rounds = [_round() for _ in range(ROUNDS)]

    def shown(figure: str) -> str:
        return spread([getattr(r, figure) for r in rounds], "ms")

    peer = "2,100 to 3,200 ms, 1,900 to 2,300 CPU ms (kube-apiserver and etcd)"
    reach = "≤ 500 ms, ≤ 500 CPU ms"
    return [
        Row("start to /readyz", shown("serves"), shown("serves_cpu"), peer, reach),
        Row("start to node Ready", shown("ready"), shown("ready_cpu"), reach="≤ 1,000 ms"),
        Row("sampan status", shown("status"), reach="≤ 100 ms"),
    ]


def _round() -> Start:
    with _names() as options:
        words = ["up", "--name", options.name, "--state", str(options.state), "--port", "0"]
        begun = time.perf_counter()
        up = subprocess.Popen([*SAMPAN, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert up.stderr
        _until(up, SERVES)
        serves = time.perf_counter() - begun
        config = cluster.find(options)
        assert config
        found = pids(config)
        serves_cpu = cpu(up.pid) + cpu(found["supervisor"]) + cpu(found["control"])
        up.stderr.read()
        _, state, used = os.wait4(up.pid, 0)
        up.returncode = os.waitstatus_to_exitcode(state)
        ready = time.perf_counter() - begun
        if up.returncode:
            raise RuntimeError("sampan up failed")
        ready_cpu = seconds(config) + used.ru_utime + used.ru_stime
        status = _status(options.name)
    return Start(*(x * 1e3 for x in (serves, serves_cpu, ready, ready_cpu, status)))


def _until(up: subprocess.Popen[bytes], step: bytes) -> None:
    assert up.stderr
    said = b""
    for line in up.stderr:
        said += line
        if step in line:
            return
    raise RuntimeError(f"sampan up failed: {said.decode()}")


@contextmanager
def _names() -> Iterator[Options]:
    with tempfile.TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp") as directory:
        name = f"b{os.urandom(4).hex()}"
        try:
            yield Options(name=name, state=Path(directory) / "state")
        finally:
            down = ["down", "--name", name, "--delete", "--yes"]
            subprocess.run([*SAMPAN, *down], capture_output=True)


def _status(name: str) -> float:
    begun = time.perf_counter()
    subprocess.run([*SAMPAN, "status", "--name", name], check=True, capture_output=True)
    return time.perf_counter() - begun
