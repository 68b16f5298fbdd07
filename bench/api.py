"""The API server under 32 connections, alone in its process with controllers and scheduler, which react as always.

The client is a process of its own on the same cores; CPU is that of the control process, for each request.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import bench.usage
from bench.load import Job, Outcome, put
from bench.rows import Row

PODS = 1000
_METADATA = '{"name":"bench-{n}","namespace":"default","labels":{"app":"bench"}}'
CONFIG_MAP = f'{{"apiVersion":"v1","kind":"ConfigMap","metadata":{_METADATA},"data":{{"key":"value"}}}}'
_CONTAINER = '{"name":"main","image":"busybox:1","command":["sleep","600"]}'
# A node that is not there, so that the scheduler decides and waits.
_SPEC = f'{{"nodeSelector":{{"there":"not"}},"containers":[{_CONTAINER}]}}'
POD = f'{{"apiVersion":"v1","kind":"Pod","metadata":{_METADATA},"spec":{_SPEC}}}'
_CORE = "/api/v1/namespaces/default"


def run() -> Sequence[Row]:
    with (
        tempfile.TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp") as directory,
        _control(Path(directory)) as server,
    ):
        return list(_rows(server))


@dataclass(frozen=True, slots=True)
class Control:
    """A control process, and a job that reaches it."""

    pid: int
    job: Job

    def put(self, method: str, target: str, **how: object) -> tuple[Outcome, float]:
        """Load, and the CPU microseconds that a request took in the process."""
        before = bench.usage.cpu(self.pid)
        outcome = put(replace(self.job, method=method, target=target, **how))  # type: ignore[arg-type]
        self.settle()
        return outcome, (bench.usage.cpu(self.pid) - before) / outcome.requests * 1e6

    def settle(self) -> None:
        """Wait until the controllers have done what follows."""
        for _ in range(100):
            before = bench.usage.cpu(self.pid)
            time.sleep(0.2)
            if bench.usage.cpu(self.pid) - before < 0.02:
                return


def _rows(server: Control) -> Iterator[Row]:
    server.put("GET", "/readyz", seconds=1.0)
    yield _row("GET /readyz", *server.put("GET", "/readyz"))
    yield _row(
        "create ConfigMap, durable",
        *server.put("POST", f"{_CORE}/configmaps", body=CONFIG_MAP, requests=3000),
    )
    yield _row("GET ConfigMap", *server.put("GET", f"{_CORE}/configmaps/bench-1"))
    yield _row("create Pod, durable", *server.put("POST", f"{_CORE}/pods", body=POD, requests=PODS))
    yield _row("list 1,000 Pods", *server.put("GET", f"{_CORE}/pods", connections=4))


def _row(what: str, found: Outcome, cpu: float) -> Row:
    value = f"{found.requests / found.seconds:,.0f}/s, p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms"
    return Row(what, value, f"{cpu:,.0f} µs a request")


@contextmanager
def _control(state: Path) -> Iterator[Control]:
    words = ["run", "control", "--state", str(state), "--listen", "127.0.0.1:0"]
    kubeconfig = state / "admin.kubeconfig"
    child = subprocess.Popen(
        [sys.executable, "-m", "sampan.cli", *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        url = _url(kubeconfig)
        pki = state / "pki"
        job = Job(
            url, str(pki / "ca.crt"), str(pki / "admin.pem"), "GET", "/readyz", requests=3, connections=1
        )
        _until_ready(job)
        server = Control(child.pid, replace(job, requests=0, connections=32))
        server.settle()
        yield server
    finally:
        child.terminate()
        child.wait(timeout=20)


def _url(kubeconfig: Path) -> str:
    from sampan.client.kubeconfig import read

    for _ in range(500):
        if kubeconfig.exists():
            return read(kubeconfig).server
        time.sleep(0.02)
    raise RuntimeError(f"the control process wrote no {kubeconfig}")


def _until_ready(job: Job) -> None:
    for _ in range(50):
        try:
            put(job)
            return
        except RuntimeError:
            time.sleep(0.1)
    raise RuntimeError("the control process does not become ready")
