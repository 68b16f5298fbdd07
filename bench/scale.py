"""The API server and its store alone: 100,000 objects of several kinds, 1,000 watchers, the leases of 5,000 nodes.

The objects are in the store before the server starts; lists go by pages of 500, as kubectl's and client-go's do.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bench.usage
from bench.api import Control, row, watched
from bench.apiserver import serving
from bench.load import Job
from bench.rows import Row
from sampan.client.http import HttpApiClient, connect
from sampan.machinery.encoding import encode
from sampan.store import sqlite

# How many of each kind, and what each holds.
KINDS: dict[str, tuple[int, str, dict[str, Any]]] = {
    "configmaps": (40_000, "ConfigMap", {"data": {"key": "value"}}),
    "secrets": (30_000, "Secret", {"type": "Opaque", "data": {"key": "dmFsdWU="}}),
    "pods": (
        20_000,
        "Pod",
        {
            "spec": {"nodeName": "n", "containers": [{"name": "main", "image": "busybox:1"}]},
            "status": {"phase": "Running", "podIP": "10.1.2.3"},
        },
    ),
    "services": (10_000, "Service", {"spec": {"clusterIP": "None", "ports": [{"port": 80}]}}),
}
PAGE, BATCH, BACK, NODES, WATCHERS = 500, 1000, 10_000, 5000, 1000
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_TIME = '"2026-01-01T00:00:00.{n}Z"'
LEASE = (
    '{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"node-{m}","namespace":"kube-node-lease"},'
    f'"spec":{{"holderIdentity":"node-{{m}}","leaseDurationSeconds":40,"renewTime":{_TIME}}}}}'
)


def run() -> Sequence[Row]:
    with tempfile.TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp") as directory:
        state = Path(directory)
        asyncio.run(_fill(state / "control" / "store.db"))
        begun = time.perf_counter()
        with serving(state) as (pid, job):
            return list(_rows(Control(pid, replace(job, connections=32)), time.perf_counter() - begun))


def _rows(server: Control, started: float) -> Iterator[Row]:
    count = sum(count for count, _, _ in KINDS.values())
    memory = f"{bench.usage.memory(server.pid):.0f} MiB"
    yield Row(
        f"start with {count:,} objects", f"{started:.2f} s", f"{bench.usage.cpu(server.pid):.2f} s", memory
    )
    yield from asyncio.run(_listed(server))
    yield watched(server, WATCHERS)
    job = {"body": LEASE, "modulo": NODES}
    server.put("POST", LEASES, requests=NODES, **job)
    renewed = server.put("PUT", f"{LEASES}/node-{{m}}", requests=3 * NODES, first=100_000, **job)
    yield row(f"renewals of {NODES:,} nodes' leases, as fast as they go", renewed)
    share = renewed[1] * NODES / 10 / 1e6 * 100
    yield Row(f"{NODES:,} nodes that renew every 10 s", "", f"{share:.0f} % of a core")
    yield Row("memory after all that", f"{bench.usage.memory(server.pid):.0f} MiB")


async def _listed(server: Control) -> list[Row]:
    client = _client(server.job)
    rows = []
    for kind, (count, _, _) in KINDS.items():
        before, begun, more, seen = bench.usage.cpu(server.pid), time.perf_counter(), "", 0
        while True:
            page = await client.list(kind, "default", limit=PAGE, more=more)
            seen, more = seen + len(page.items), page.more
            if not more:
                break
        taken, cpu = time.perf_counter() - begun, bench.usage.cpu(server.pid) - before
        assert seen >= count, f"{seen} of {count} {kind}"
        what = f"list of {count:,} {kind} by pages of {PAGE}"
        rows.append(
            Row(
                what, f"{taken:.2f} s, the client's decoding included", f"{cpu * 1e6 / seen:.1f} µs an object"
            )
        )
    rows.append(await _caught_up(server, client))
    await client.close()
    return rows


async def _caught_up(server: Control, client: HttpApiClient) -> Row:
    """A watch from a revision that lies many writes back, until they have come."""
    revision = int((await client.list("namespaces")).revision)
    since, before, begun, seen = revision - BACK, bench.usage.cpu(server.pid), time.perf_counter(), 0
    async for change in client.watch("services", since=str(since)):
        seen += change.type != "BOOKMARK"
        if seen >= BACK * 0.9:  # the rest is what every cluster gets at its start
            break
    taken, cpu = time.perf_counter() - begun, bench.usage.cpu(server.pid) - before
    shown = f"{cpu * 1e6 / seen:.1f} µs an event"
    return Row(
        f"watch that catches up {seen:,} events", f"{taken:.2f} s, the client's decoding included", shown
    )


def _client(job: Job) -> HttpApiClient:
    return connect(job.url, ca=Path(job.ca), cert=Path(job.certificate))


async def _fill(path: Path) -> None:
    path.parent.mkdir(parents=True)
    store = await sqlite.open(path)
    batch: list[Any] = []
    for plural, (count, kind, rest) in KINDS.items():
        for n in range(count):
            meta = {
                "name": f"x-{n}",
                "namespace": "default",
                "uid": f"{plural}-{n}",
                "labels": {"app": "bench"},
            }
            obj = {"apiVersion": "v1", "kind": kind, "metadata": meta, **rest}
            batch.append(store.create(f"/core/{plural}/default/x-{n}", encode(obj)))
            if len(batch) == BATCH:
                await asyncio.gather(*batch)
                batch.clear()
    await asyncio.gather(*batch)
    await store.close()
