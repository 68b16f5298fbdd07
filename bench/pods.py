"""From creating a Pod to Running, with its image present: one at a time, and 50 at once until all are Ready.

The client watches, as a user's does; CPU is that of all our processes, children such as runc included.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.cluster.busybox import archive

from bench.rows import Row
from bench.usage import seconds
from sampan.client import kubeconfig
from sampan.client.api import Change, Client
from sampan.config import Config
from sampan.machinery.objects import Object
from sampan.testing import Cluster
from sampan.testing import cluster as fresh

ONE_BY_ONE, AT_ONCE = 40, 50
DEADLINE = 60.0


def run() -> Sequence[Row]:
    with fresh() as c:
        load_image(c)
        return asyncio.run(_measure(c))


def load_image(c: Cluster) -> None:
    """Load busybox, as `busybox:1`."""
    with tempfile.TemporaryDirectory() as directory:
        tar = Path(directory) / "busybox.tar"
        archive(tar, ["busybox:1"])
        words = [sys.executable, "-m", "sampan.cli", "image", "load", "--name", c.config.name, "-i", str(tar)]
        subprocess.run(words, check=True, capture_output=True)


async def _measure(c: Cluster) -> Sequence[Row]:
    async with kubeconfig.load(c.kubeconfig) as client, _watched(client) as pods:
        await _service_account(client)
        await _one_by_one(client, pods, 5, c.config)  # warm up
        times, cpu = await _one_by_one(client, pods, ONE_BY_ONE, c.config)
        total, total_cpu = await _at_once(client, pods, c.config)
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100, method="inclusive")[98]
    return [
        Row(
            "create Pod to Running, p50",
            f"{p50:.0f} ms",
            f"{cpu * 1e3:.0f} ms a Pod",
            "132 ms over CRI alone",
            "≤ 150 ms",
        ),
        Row("create Pod to Running, p99", f"{p99:.0f} ms"),
        Row(
            f"{AT_ONCE} Pods at once, all Ready",
            f"{total:.2f} s",
            f"{total_cpu / AT_ONCE * 1e3:.0f} ms a Pod",
            reach="≤ 4 s",
        ),
    ]


class Pods:
    """What a watch says of the pods; `until` waits for it."""

    def __init__(self) -> None:
        self.known: dict[str, Object] = {}
        self._changed = asyncio.Condition()

    async def take(self, changes: AsyncIterator[Change]) -> None:
        async for change in changes:
            if change.type == "BOOKMARK":
                continue
            name = change.object["metadata"]["name"]
            async with self._changed:
                self.known[name] = change.object
                if change.type == "DELETED":
                    del self.known[name]
                self._changed.notify_all()

    async def until(self, names: Iterable[str], good: Callable[[Object | None], bool]) -> None:
        async with asyncio.timeout(DEADLINE), self._changed:
            await self._changed.wait_for(lambda: all(good(self.known.get(n)) for n in names))


@asynccontextmanager
async def _watched(client: Client) -> AsyncIterator[Pods]:
    pods = Pods()
    task = asyncio.create_task(pods.take(client.watch("pods", "default")))
    try:
        yield pods
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _service_account(client: Client) -> None:
    """Pods are refused until the namespace has its service account."""
    async with asyncio.timeout(DEADLINE):
        async for change in client.watch("serviceaccounts", "default"):
            if change.type == "ADDED" and change.object["metadata"]["name"] == "default":
                return


async def _one_by_one(client: Client, pods: Pods, count: int, config: Config) -> tuple[list[float], float]:
    """Milliseconds for each, and CPU seconds for each until it was Running."""
    times, cpu = [], 0.0
    for number in range(count):
        name = f"one-{number}"
        spent, begun = seconds(config), time.perf_counter()
        await client.create("pods", _pod(name))
        await pods.until([name], _running)
        times.append((time.perf_counter() - begun) * 1e3)
        cpu += seconds(config) - spent
        await _delete(client, pods, [name])
    return times, cpu / count


async def _at_once(client: Client, pods: Pods, config: Config) -> tuple[float, float]:
    names = [f"many-{n}" for n in range(AT_ONCE)]
    spent, begun = seconds(config), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(client.create("pods", _pod(name)))
    await pods.until(names, _ready)
    total, cpu = time.perf_counter() - begun, seconds(config) - spent
    await _delete(client, pods, names)
    return total, cpu


async def _delete(client: Client, pods: Pods, names: Sequence[str]) -> None:
    for name in names:
        await client.delete("pods", name, "default")
    await pods.until(names, lambda pod: pod is None)


def _pod(name: str) -> Object:
    # It ends when asked, so that a pod is gone from its node, and costs nothing any more, before the next one comes.
    command = ["sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"]
    container = {"name": "main", "image": "busybox:1", "command": command}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container]},
    }


def _running(pod: Object | None) -> bool:
    return pod is not None and pod["status"].get("phase") == "Running"


def _ready(pod: Object | None) -> bool:
    conditions = (pod or {}).get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
