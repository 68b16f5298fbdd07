"""The API server and its store alone in a process, under 32 connections with TLS; traces are kept as always.

The client is a process of its own on the same cores; CPU is that of the server's process, for each request. The peer is
kube-apiserver 1.37.2 with etcd 3.7.3, both processes together.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import bench.usage
from bench.apiserver import serving
from bench.load import Job, Outcome, put
from bench.rows import Row
from bench.watchers import watching

PODS, WATCHERS = 1000, 100
_METADATA = '{"name":"bench-{n}","namespace":"default","labels":{"app":"bench"}}'
CONFIG_MAP = f'{{"apiVersion":"v1","kind":"ConfigMap","metadata":{_METADATA},"data":{{"key":"value"}}}}'
_CONTAINER = '{"name":"main","image":"busybox:1","command":["sleep","600"]}'
POD = f'{{"apiVersion":"v1","kind":"Pod","metadata":{_METADATA},"spec":{{"containers":[{_CONTAINER}]}}}}'
PATCH = (
    '{"metadata":{"labels":{"step":"s{n}"}},"spec":{"containers":[{"name":"main","image":"busybox:{n}"}]}}'
)
APPLIED = json.dumps(
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bench-{m}", "namespace": "default", "labels": {"app": "bench"}},
        "spec": {
            "selector": {"matchLabels": {"app": "bench"}},
            "template": {
                "metadata": {"labels": {"app": "bench"}},
                "spec": {
                    "containers": [
                        {
                            "name": "main",
                            "image": "busybox:{n}",
                            "command": ["sleep", "600"],
                            "env": [{"name": "ROUND", "value": "{n}"}],
                            "ports": [{"containerPort": 80}],
                        }
                    ]
                },
            },
        },
    }
)
WATCHED = CONFIG_MAP.replace("bench-{n}", "watched-{n}").replace('"key":"value"', '"t":"{t}"')
_CORE = "/api/v1/namespaces/default"
_DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def run() -> Sequence[Row]:
    with (
        tempfile.TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp") as directory,
        serving(Path(directory)) as (pid, job),
    ):
        return list(_rows(Control(pid, replace(job, connections=32))))


@dataclass(frozen=True, slots=True)
class Control:
    """A server, and a job that reaches it."""

    pid: int
    job: Job

    def put(self, method: str, target: str, **how: object) -> tuple[Outcome, float]:
        """Load, and the CPU microseconds that a request took in the process."""
        before = bench.usage.cpu(self.pid)
        outcome = put(replace(self.job, method=method, target=target, **how))  # type: ignore[arg-type]
        self.settle()
        return outcome, (bench.usage.cpu(self.pid) - before) / outcome.requests * 1e6

    def settle(self) -> None:
        """Wait until what follows is done."""
        for _ in range(100):
            before = bench.usage.cpu(self.pid)
            time.sleep(0.2)
            if bench.usage.cpu(self.pid) - before < 0.02:
                return


def _rows(server: Control) -> Iterator[Row]:
    server.put("GET", "/readyz", seconds=1.0)
    yield row("GET /readyz", server.put("GET", "/readyz"))
    maps = server.put("POST", f"{_CORE}/configmaps", body=CONFIG_MAP, requests=5000)
    yield row("create ConfigMap", maps, "755 µs, 2,370/s", "≤ 250 µs")
    read = server.put("GET", f"{_CORE}/configmaps/bench-1")
    yield row("GET ConfigMap", read, "288 µs, 5,860/s", "≤ 70 µs")
    pods = server.put("POST", f"{_CORE}/pods", body=POD, requests=PODS)
    yield row("create Pod", pods, "1,440 µs, 1,290/s", "≤ 500 µs")
    listed = server.put("GET", f"{_CORE}/pods", connections=4)
    yield row("list 1,000 Pods", listed, "29,000 µs, 55/s", "≤ 3,000 µs")
    how = {"modulo": PODS, "requests": 3 * PODS, "media": "application/strategic-merge-patch+json"}
    patched = server.put("PATCH", f"{_CORE}/pods/bench-{{m}}", body=PATCH, **how)
    yield row("strategic merge patch of a Pod", patched, "2,660 µs, 715/s", "≤ 600 µs")
    how = {"modulo": 100, "requests": 2000, "media": "application/apply-patch+yaml"}
    applied = server.put("PATCH", f"{_DEPLOYMENTS}/bench-{{m}}?fieldManager=bench", body=APPLIED, **how)
    yield row("server-side apply of a Deployment", applied, "4,050 µs, 475/s", "≤ 1,200 µs")
    yield watched(server, WATCHERS, "44 µs, p50 4.2 ms, p99 12 ms", "≤ 15 µs, p99 ≤ 12 ms")
    yield Row(
        "memory after all that", f"{bench.usage.memory(server.pid):.0f} MiB", "", "1,013 MiB", "≤ 250 MiB"
    )


def watched(server: Control, count: int, peer: str = "", reach: str = "") -> Row:
    """Writes one after the other as fast as they are answered, while many watch; CPU includes that of the writes."""
    watch = replace(server.job, target=f"{_CORE}/configmaps?watch=1&resourceVersion={revision(server)}")
    with watching(watch, count) as watchers:
        server.settle()
        before = bench.usage.cpu(server.pid)
        put(replace(server.job, method="POST", target=f"{_CORE}/configmaps", body=WATCHED, connections=1))
        server.settle()
        cpu = bench.usage.cpu(server.pid) - before
        seen = watchers.stop()
    what = f"one event to each of {count:,} watchers"
    value = f"{seen.requests / seen.seconds:,.0f}/s, p50 {seen.p50:.1f} ms, p99 {seen.p99:.1f} ms"
    shown = f"{cpu / seen.requests * 1e6:.1f} µs an event"
    return Row(what, value, shown, peer, reach)


def revision(server: Control) -> int:
    """The latest revision: what a list of something small says."""
    import asyncio

    from sampan.client.http import connect

    async def ask() -> int:
        job = server.job
        client = connect(job.url, ca=Path(job.ca), cert=Path(job.certificate))
        listing = await client.list("namespaces")
        await client.close()
        return int(listing.revision)

    return asyncio.run(ask())


def row(what: str, found: tuple[Outcome, float], peer: str = "", reach: str = "") -> Row:
    outcome, cpu = found
    rate = f"{outcome.requests / outcome.seconds:,.0f}/s, p50 {outcome.p50:.1f} ms, p99 {outcome.p99:.1f} ms"
    return Row(what, rate, f"{cpu:,.0f} µs a request", peer, reach)
