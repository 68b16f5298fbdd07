"""The only place that composes components into processes.

`control` is the API server with controllers and scheduler; `node` is kubelet, engine and pod network of one node.
The supervisor starts them as `python -m sampan.app CLUSTER.json control` and `... node NAME`; `sampan run` starts the
same functions alone (`alone`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.config import Config, load
from sampan.host import service, trace

if TYPE_CHECKING:
    from sampan.apiserver.settings import Settings
    from sampan.engine.engine import Engine
    from sampan.network.addresses import NodeNetwork

log = logging.getLogger(__name__)


# The control process


async def control(config: Config, sockets: Sequence[socket.socket]) -> None:
    """Serve the API on `sockets` and run controllers and scheduler, until cancelled."""
    from sampan.apiserver.server import ApiServer
    from sampan.http import server
    from sampan.http.tls import server_context
    from sampan.store import sqlite
    from sampan.tracing.collector import Collector
    from sampan.tracing.exporter import Exporter
    from sampan.tracing.face import Face

    store = await sqlite.open(config.store)
    collector = Collector(config.store.with_name("traces.db"))
    exporter = Exporter(collector.add)
    trace.export_to(exporter.add)
    api = ApiServer(store, _settings(config, Face(collector)))
    await api.start()
    tls = server_context(config.pki / "apiserver.pem", client_ca=config.pki / "ca.crt")
    listener = await server.serve(api.handler, sockets=sockets, tls=tls)
    service.notify(ready=True, status=f"serving https on port {config.port}")
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exporter.run(), name="spans")
            tasks.create_task(_components(config, api), name="components")
    finally:
        await listener.close(grace=1.0)
        await api.close()
        await exporter.flush()
        await collector.close()
        await store.close()


def _settings(config: Config, face: Any) -> Settings:
    from sampan.apiserver.settings import Kubelets, Settings
    from sampan.network.addresses import host_address
    from sampan.tracing import face as traces

    return Settings(
        service_account_key=(config.pki / "sa.key").read_bytes(),
        issuer=f"https://kubernetes.default.svc.{config.domain}",
        services=config.ranges.services,
        node_ports=config.node_ports,
        address=host_address(config.ranges) if config.nodes else "",
        port=config.port,
        kubelets=Kubelets(
            authority=config.pki / "ca.crt",
            certificate=config.pki / "kubelet-client.pem",
            key=config.pki / "kubelet-client.pem",
        ),
        extensions={traces.COLLECT: face.handle, "/sampan/": face.handle},
    )


async def _components(config: Config, api: Any) -> None:
    """Controllers and scheduler, each under its own name, over informers that they share."""
    from sampan import controllers, scheduler
    from sampan.client.informer import Informers
    from sampan.reconcile import loop

    def client_for(name: str) -> Any:
        return api.local(f"system:serviceaccount:kube-system:{name}")

    informers = Informers(api.local("system:kube-controller-manager", ("system:masters",)))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(informers.run(), name="informers")
        tasks.create_task(loop.run(controllers.ALL, client_for, informers), name="controllers")
        tasks.create_task(scheduler.loop.run(api.local("system:kube-scheduler"), informers), name="scheduler")


# A node process


def engine(config: Config, network: NodeNetwork) -> Engine:
    """The container engine of a node: the same for its process, and for whoever stops its containers."""
    from sampan.engine.engine import Engine
    from sampan.network.pods import PodNetwork

    return Engine(
        root=config.node_state(network.name) / "engine",
        run=config.node_run(network.name),
        images=config.images,
        network=PodNetwork(network),
        cgroup=f"{config.ranges.cgroup}/{network.name}",
    )


# Starting a process


def main(argv: list[str]) -> int:
    """Run one process of a cluster until SIGTERM; its log is its standard error."""
    import uvloop

    config = load(Path(argv[0]).read_text())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_asked(_process(config, argv[1:])))
    return 0


def _process(config: Config, words: list[str]) -> Coroutine[Any, Any, None]:
    if words == ["control"]:
        return control(config, service.listening_sockets())
    if len(words) == 2 and words[0] == "node":
        from sampan import nodes

        return nodes.node(config, words[1])
    raise SystemExit(f"sampan.app: there is no process {' '.join(words)!r}")


async def _until_asked(work: Coroutine[Any, Any, None]) -> None:
    stop = service.asked_to_stop()
    task = asyncio.create_task(work, name="process")
    gc.freeze()
    await service.until(stop, task)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
