"""The API server and its store alone, with TLS, RBAC, durable writes and traces: what kube-apiserver with etcd is.

`python -m bench.apiserver STATE` serves on a free port, writes an administrator's credentials below STATE, and prints
the port.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from bench.load import Job
from sampan.config import Config
from sampan.host import memory, service
from sampan.http import server
from sampan.http.tls import server_context
from sampan.lifecycle import credentials

_CORE = "/api/v1/namespaces/default"
_DEFAULT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}


@contextmanager
def serving(state: Path) -> Iterator[tuple[int, Job]]:
    """The server's process id, and a job that reaches it; it ends with the block."""
    words = [sys.executable, "-m", "bench.apiserver", str(state)]
    root = Path(__file__).parent.parent
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=root)
    try:
        assert child.stdout
        url, pki = f"https://127.0.0.1:{int(child.stdout.readline())}", state / "pki"
        yield child.pid, Job(url, str(pki / "ca.crt"), str(pki / "admin.pem"), "GET", "/readyz")
    finally:
        child.terminate()
        child.wait(timeout=60)


async def _serve(state: Path) -> None:
    from sampan.apiserver.server import ApiServer
    from sampan.apiserver.settings import Settings
    from sampan.host import trace
    from sampan.host.pki import Pki
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
    account = {**_DEFAULT, "metadata": {"name": "default", "namespace": "default"}}
    if not await store.get("/core/serviceaccounts/default/default"):
        await api.local("bench", ("system:masters",)).create("serviceaccounts", account)
    tls = server_context(config.pki / "apiserver.pem", client_ca=config.pki / "ca.crt")
    memory.set_aside_survivors()
    await server.serve(api.handler, sockets=[listener], tls=tls)
    exporting = asyncio.create_task(exporter.run())
    stop = service.asked_to_stop()
    print(config.port, flush=True)
    await stop.wait()
    exporting.cancel()
    await api.close()
    await collector.close()
    await store.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Path(sys.argv[1])))
