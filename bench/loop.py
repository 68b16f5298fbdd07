"""The longest callbacks of the control process with 100,000 objects in its store: at its start, and under load.

One callback that runs long holds up all others. The process runs here with asyncio's own loop, whose callbacks can be
timed; what is counted is the CPU time of the loop's thread, so that other processes do not disturb it.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bench.usage
from bench.load import Job, put
from bench.rows import Row
from sampan import app
from sampan.config import Config
from sampan.host import memory
from sampan.host.pki import Pki
from sampan.http import server
from sampan.lifecycle import credentials
from sampan.machinery.encoding import encode
from sampan.store import sqlite

CONFIG_MAPS, PODS, NODES = 90_000, 10_000, 100
BATCH = 1000


def run() -> Sequence[Row]:
    with tempfile.TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp") as directory:
        return asyncio.run(_measure(Path(directory)))


async def _measure(state: Path) -> Sequence[Row]:
    config, listener = _prepare(state)
    await _fill(config.store)
    with _timed() as longest:
        memory.set_aside_survivors()
        begun = time.perf_counter()
        async with _control(config, listener):
            job = _job(config)
            await asyncio.to_thread(put, job)
            ready = time.perf_counter() - begun
            await _quiet()
            settled, starting = time.perf_counter() - begun, longest.take()
            await asyncio.to_thread(_load, job)
            await _quiet()
            loaded = longest.take()
            held = bench.usage.memory(0)
    return [
        Row("start until the API answers", f"{ready:.2f} s"),
        Row("start until controllers rest", f"{settled:.1f} s"),
        Row("longest callback at the start", starting, reach="≤ 20 ms"),
        Row("longest callback under load", loaded, reach="≤ 20 ms"),
        Row("memory, this process and all", f"{held:.0f} MiB"),
    ]


def _prepare(state: Path) -> tuple[Config, Any]:
    listener = server.listen("127.0.0.1", 0)
    config = Config(name="bench", state=state, run=state, port=listener.getsockname()[1], nodes=0)
    config.store.parent.mkdir(exist_ok=True)
    credentials.control(config, Pki(config.pki))
    credentials.administrator(config, Pki(config.pki))
    return config, listener


def _job(config: Config) -> Job:
    url, ca, own = f"https://127.0.0.1:{config.port}", config.pki / "ca.crt", config.pki / "admin.pem"
    return Job(url, str(ca), str(own), "GET", "/readyz", requests=2, connections=1)


def _load(job: Job) -> None:
    """Each kind of request that touches many objects, or is touched by many."""
    pods = "/api/v1/namespaces/default/pods"
    create = (
        f'{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"new-{{n}}"}},"spec":{json.dumps(_SPEC)}}}'
    )
    for method, target, body, count in (
        ("GET", "/api/v1/pods?limit=500", "", 20),
        ("GET", "/api/v1/pods", "", 3),
        ("GET", "/api/v1/configmaps?limit=500", "", 20),
        ("GET", "/api/v1/configmaps", "", 2),
        ("GET", "/api/v1/pods?labelSelector=app%3Dbench", "", 3),
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1", "", 3),
        ("POST", pods, create, 500),
        ("PATCH", f"{pods}/new-{{n}}", '{"metadata":{"labels":{"step":"two"}}}', 500),
        ("DELETE", f"{pods}/new-{{n}}?gracePeriodSeconds=0", "", 500),
    ):
        media = "application/merge-patch+json" if method == "PATCH" else "application/json"
        put(
            Job(job.url, job.ca, job.certificate, method, target, body, 4, requests=count, media=media),
        )


# The objects, as the API server stores them

_CONTAINER = {"name": "main", "image": "busybox:1", "command": ["sleep", "600"]}
_SPEC = {"nodeSelector": {"there": "not"}, "containers": [_CONTAINER]}


def _object(kind: str, name: str, **rest: Any) -> dict[str, Any]:
    made = "2026-01-01T00:00:00Z"
    meta = {"name": name, "namespace": "default", "uid": str(uuid.uuid4()), "creationTimestamp": made}
    return {"apiVersion": "v1", "kind": kind, "metadata": {**meta, "labels": {"app": "bench"}}, **rest}


def _objects() -> Iterator[tuple[str, bytes]]:
    for n in range(CONFIG_MAPS):
        yield f"/core/configmaps/default/c-{n}", encode(_object("ConfigMap", f"c-{n}", data={"key": "value"}))
    running = {"phase": "Running", "podIP": "10.1.2.3", "conditions": [{"type": "Ready", "status": "True"}]}
    for n in range(PODS):
        spec = {"nodeName": f"node-{n % NODES}", "containers": [_CONTAINER], "restartPolicy": "Always"}
        yield f"/core/pods/default/p-{n}", encode(_object("Pod", f"p-{n}", spec=spec, status=running))
    for n in range(NODES):
        ranges = f"10.1.{n}.0/24"
        node = _object("Node", f"node-{n}", spec={"podCIDR": ranges, "podCIDRs": [ranges]}, status={})
        del node["metadata"]["namespace"]
        yield f"/core/nodes/node-{n}", encode(node)


async def _fill(path: Path) -> None:
    store = await sqlite.open(path)
    batch: list[Any] = []
    for key, value in _objects():
        batch.append(store.create(key, value))
        if len(batch) == BATCH:
            await asyncio.gather(*batch)
            batch.clear()
    await asyncio.gather(*batch)
    await store.close()


@asynccontextmanager
async def _control(config: Config, listener: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(app.control(config, [listener]))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=20)


async def _quiet(limit: float = 120.0) -> None:
    """Wait until a second passes in which the process does next to nothing."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        before = time.process_time()
        await asyncio.sleep(1.0)
        if time.process_time() - before < 0.02:
            return


class Longest:
    """The callbacks that took longest, since the last look."""

    def __init__(self) -> None:
        self._found: list[tuple[float, str]] = []

    def note(self, seconds: float, what: Callable[[], str]) -> None:
        if len(self._found) < 3 or seconds > self._found[-1][0]:
            self._found = sorted([*self._found, (seconds, what())], reverse=True)[:3]

    def take(self) -> str:
        found, self._found = self._found, []
        return "; ".join(f"{seconds * 1e3:.0f} ms {what}" for seconds, what in found)


class _timed:
    """Times every callback of asyncio's loops while the block runs."""

    def __enter__(self) -> Longest:
        self._run = asyncio.Handle._run
        run, longest, clock = self._run, Longest(), time.thread_time

        def timed(handle: asyncio.Handle) -> None:
            begun = clock()
            run(handle)
            if (taken := clock() - begun) > 0.002:
                longest.note(taken, lambda: _name(handle))

        asyncio.Handle._run = timed  # type: ignore[method-assign,assignment]
        return longest

    def __exit__(self, *_: object) -> None:
        asyncio.Handle._run = self._run  # type: ignore[method-assign]


def _name(handle: asyncio.Handle) -> str:
    callback = handle._callback  # type: ignore[attr-defined]
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        name, coroutine = owner.get_name(), owner.get_coro()
        return f"({getattr(coroutine, '__qualname__', name) if name.startswith('Task-') else name})"
    return f"({getattr(callback, '__qualname__', callback)})"
