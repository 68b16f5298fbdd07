"""API server, store and scheduler in one process, as in the control process, with nodes that nobody runs.

`python -m bench.bound STATE NODES PODS` makes the nodes, writes an administrator's credentials below STATE and prints
the port; once so many pods are bound it prints the seconds and the CPU seconds since the first came, and ends.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from bench import clusters, load, usage
from sampan.config import Config
from sampan.host import memory
from sampan.http import server
from sampan.http.tls import server_context
from sampan.lifecycle import credentials

_ACCOUNT = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "default", "namespace": "default"},
}


def measure(nodes: int, pods: int) -> dict[str, float]:
    """Create so many pods over 32 connections while they are scheduled: seconds until all are bound, CPU seconds."""
    with tempfile.TemporaryDirectory(prefix="sampan-bench-", dir="/var/tmp") as state:
        words = [sys.executable, "-m", "bench.bound", state, str(nodes), str(pods)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
        try:
            assert child.stdout
            url, pki = f"https://127.0.0.1:{int(child.stdout.readline())}", Path(state, "pki")
            template = json.dumps(clusters.pod("pod-{n}") | {"status": {}})
            path = "/api/v1/namespaces/default/pods"
            load.put(
                load.Job(
                    url, str(pki / "ca.crt"), str(pki / "admin.pem"), "POST", path, template, requests=pods
                )
            )
            found: dict[str, float] = json.loads(child.stdout.readline())
            return found
        finally:
            child.terminate()
            child.wait(timeout=60)


async def _serve(state: Path, nodes: int, pods: int) -> None:
    from sampan.apiserver.server import ApiServer
    from sampan.apiserver.settings import Settings
    from sampan.client.informer import Informers
    from sampan.host import trace
    from sampan.host.pki import Pki
    from sampan.scheduler import loop as scheduler
    from sampan.store import sqlite
    from sampan.tracing.collector import Collector
    from sampan.tracing.exporter import Exporter

    listener = server.listen("127.0.0.1", 0)
    config = Config(name="bench", state=state, run=state, port=listener.getsockname()[1], nodes=0)
    config.store.parent.mkdir(exist_ok=True, parents=True)
    credentials.control(config, Pki(config.pki))
    credentials.administrator(config, Pki(config.pki))
    store = await sqlite.open(config.store)
    collector = Collector(config.store.with_name("traces.db"))
    exporter = Exporter(collector.add)
    trace.export_to(exporter.add)
    api = ApiServer(store, Settings(service_account_key=(config.pki / "sa.key").read_bytes()))
    await api.start()
    client = api.local("bench", ("system:masters",))
    await client.create("serviceaccounts", _ACCOUNT)
    for batch in range(0, nodes, 100):
        await asyncio.gather(*(_node(client, n) for n in range(batch, min(nodes, batch + 100))))
    tls = server_context(config.pki / "apiserver.pem", client_ca=config.pki / "ca.crt")
    await server.serve(api.handler, sockets=[listener], tls=tls)
    informers, ready = Informers(client), asyncio.Event()
    count = _Count(pods)
    informers.subscribe("pods", count.see)
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(exporter.run()),
            tasks.create_task(informers.run()),
            tasks.create_task(scheduler.run(api.local("system:kube-scheduler"), informers, ready=ready)),
        ]
        await ready.wait()
        memory.set_aside_survivors()
        print(config.port, flush=True)
        seconds, cpu = await count.done()
        print(json.dumps({"seconds": seconds, "cpu": cpu}), flush=True)
        for task in running:
            task.cancel()
    await api.close()
    await collector.close()
    await store.close()


async def _node(client: Any, number: int) -> None:
    """A node that says it is ready; nobody looks whether it stays so, or takes the taint of new nodes off."""
    node = clusters.node(number)
    status = node.pop("status") | {"conditions": [{"type": "Ready", "status": "True", "reason": "Simulated"}]}
    await client.create("nodes", node)
    name = node["metadata"]["name"]
    await client.patch("nodes", name, "", {"spec": {"taints": None}})
    await client.patch("nodes", name, "", {"status": status}, subresource="status")


class _Count:
    """Counts pods that are bound, from the first that comes on."""

    def __init__(self, pods: int) -> None:
        self._left, self._bound = pods, asyncio.Event()
        self._begun: tuple[float, float] | None = None

    def see(self, change: Any, old: Any) -> None:
        if self._begun is None:
            self._begun = time.perf_counter(), usage.own()
        if change.object["spec"].get("nodeName") and not (old and old["spec"].get("nodeName")):
            self._left -= 1
            if not self._left:
                self._bound.set()

    async def done(self) -> tuple[float, float]:
        """Seconds and CPU seconds from the first pod until the last is bound."""
        await self._bound.wait()
        assert self._begun
        return time.perf_counter() - self._begun[0], usage.own() - self._begun[1]


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
