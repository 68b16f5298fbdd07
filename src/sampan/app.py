"""The only place that composes components into processes.

`control` is the API server with controllers and scheduler; `node` is kubelet, engine and pod network of one node.
The supervisor starts them as `python -m sampan.app CLUSTER.json control` and `... node NAME`; `sampan run` starts the
same functions alone (`alone`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import uuid
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.config import Config, load
from sampan.host import memory, service, trace
from sampan.store.api import StoreError

if TYPE_CHECKING:
    from sampan.apiserver.audit.step import Audit
    from sampan.apiserver.server import ApiServer
    from sampan.apiserver.settings import Settings
    from sampan.client.http import HttpApiClient
    from sampan.engine.engine import Engine
    from sampan.host.certificate_requests import Signer
    from sampan.network.addresses import NodeNetwork
    from sampan.network.agent import Agent
    from sampan.node.kubelet import Kubelet
    from sampan.store.encryption import Encryption
    from sampan.store.etcd import Etcd
    from sampan.store.sqlite import Sqlite
    from sampan.tracing.exporter import Exporter

log = logging.getLogger(__name__)

KUBELET_PORT, DNS_PORT = 10250, 53
# How often the encryption's keys are looked at.
RELOAD_SECONDS = 5.0
# The lease of controllers and scheduler, where several processes could run them.
COMPONENTS = "kube-controller-manager"
# Who makes the addons, and who watches for the controllers.
ADDONS = ("system:addon-manager", ("system:masters",))
INFORMERS = ("system:kube-controller-manager", ("system:masters",))


# The control process


async def control(config: Config, sockets: Sequence[socket.socket]) -> None:
    """Serve the API on `sockets` and run controllers and scheduler, until cancelled."""
    from sampan import addons
    from sampan.apiserver.server import ApiServer
    from sampan.http import server
    from sampan.http.tls import server_context
    from sampan.tracing.collector import Collector
    from sampan.tracing.exporter import Exporter
    from sampan.tracing.face import Face

    store = await _store(config)
    audit = _audit(config)
    collector = Collector(config.store.with_name("traces.db"))
    exporter = Exporter(collector.add)
    trace.export_to(exporter.add)
    api = ApiServer(store, replace(_settings(config, Face(collector)), audit=audit))
    await api.start()
    tls = server_context(config.pki / "apiserver.pem", client_ca=config.pki / "ca.crt")
    listener = await server.serve(api.handler, sockets=sockets, tls=tls)
    service.notify(ready=True, status=f"serving https on port {config.port}")
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exporter.run(), name="spans")
            tasks.create_task(_keep_encrypted(config, store), name="encryption")
            if not config.replay:
                tasks.create_task(addons.create(api.local(*ADDONS), config), name="addons")
                tasks.create_task(_components(config, api), name="components")
    finally:
        await listener.close(grace=1.0)
        await api.close()
        await exporter.flush()
        await collector.close()
        await store.close()
        if audit:
            await audit.file.close()


def _audit(config: Config) -> Audit | None:
    if not config.audit_policy:
        return None
    from sampan.apiserver.audit import policy
    from sampan.apiserver.audit.file import LogFile
    from sampan.apiserver.audit.step import Audit

    size, backups = config.audit_log_maxsize << 20, config.audit_log_maxbackup
    return Audit(policy.load(config.audit_policy_file), LogFile(config.audit_log, size=size, backups=backups))


def _encryption(config: Config) -> Encryption:
    from sampan.store import encryption

    return encryption.load(config.encryption_file) if config.encryption else encryption.NONE


async def _keep_encrypted(config: Config, store: Sqlite | Etcd) -> None:
    """Encrypt what is stored as is configured, also when the keys change while this runs."""
    if not config.encryption:
        return
    seen = 0.0
    while True:
        changed = config.encryption_file.stat().st_mtime
        if changed != seen:
            seen = changed
            try:
                await store.encrypt(_encryption(config))
                log.info("all that is stored is encrypted as %s says", config.encryption)
            except (ValueError, StoreError) as e:
                log.error("what is stored stays encrypted as it was: %s", e)
        await asyncio.sleep(RELOAD_SECONDS)


async def _store(config: Config) -> Sqlite | Etcd:
    if not config.store_url:
        from sampan.store import sqlite

        return await sqlite.open(config.store, _encryption(config))
    from sampan.http.tls import client_context
    from sampan.store import etcd

    authority = config.store_authority if config.store_ca else None
    pair = config.store_pair if config.store_cert else None
    tls = None
    if authority or pair:
        tls = client_context(ca=authority, pair=pair)
        tls.set_alpn_protocols(["h2"])
    return await etcd.open(etcd.parse(config.store_url), tls, _encryption(config))


def _settings(config: Config, face: Any) -> Settings:
    from sampan.apiserver.settings import Kubelets, Settings
    from sampan.tracing import face as traces

    return Settings(
        service_account_key=(config.pki / "sa.key").read_bytes(),
        issuer=f"https://kubernetes.default.svc.{config.domain}",
        services=config.ranges.services,
        node_ports=config.node_ports,
        address=_reachable(config),
        port=config.port,
        kubelets=Kubelets(
            authority=config.pki / "ca.crt",
            certificate=config.pki / "kubelet-client.pem",
            key=config.pki / "kubelet-client.pem",
        ),
        extensions={traces.COLLECT: face.handle, "/sampan/": face.handle},
        origins=face.origins,
        frozen=config.replay,
        authentication=config.authentication_file if config.authentication else None,
    )


def _reachable(config: Config) -> str:
    """Where pods reach the API: on the pods' side of this machine, else where it listens beside loopback."""
    from sampan.network.addresses import host_address

    if config.nodes:
        return host_address(config.ranges)
    return next((a for a in config.listen if not a.startswith(("127.", "::1"))), "")


async def _components(config: Config, api: ApiServer) -> None:
    """Controllers and scheduler, each under its own name, over informers that they share; in one process at a time."""
    if not api.store.shared:
        await _work(config, api)
        return
    from sampan.reconcile import lease

    identity = f"{os.uname().nodename}_{uuid.uuid4()}"
    while True:
        try:
            await lease.lead(
                api.local(*INFORMERS), "kube-system", COMPONENTS, identity, lambda: _work(config, api)
            )
        except lease.Lost as e:
            log.warning("%s; standing by", e)


async def _work(config: Config, api: ApiServer) -> None:
    from sampan import controllers
    from sampan.client.informer import Informers
    from sampan.reconcile import loop
    from sampan.scheduler import loop as scheduler

    token = api.tokens.legacy if api.tokens.able else None
    ca = (config.pki / "ca.crt").read_text()
    settings = controllers.Settings(config, ca, _signer(config), token)

    def client_for(name: str) -> Any:
        return api.local(f"system:serviceaccount:kube-system:{name}")

    informers = Informers(api.local(*INFORMERS))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(informers.run(), name="informers")
        tasks.create_task(loop.run(controllers.build(settings), client_for, informers), name="controllers")
        tasks.create_task(scheduler.run(api.local("system:kube-scheduler"), informers), name="scheduler")


def _signer(config: Config) -> Signer | None:
    """What signs certificates with the cluster's authority, where this process may read its key."""
    from sampan.host import certificate_requests
    from sampan.host.pki import Pair

    path = config.pki / "ca.pem"
    if not os.access(path, os.R_OK):
        return None

    def sign(pem: bytes, usages: Collection[str], begins: float, ends: float) -> bytes:
        return certificate_requests.sign(Pair.parse(path.read_bytes()), pem, usages, begins, ends)

    return sign


# A node process


def engine(config: Config, network: NodeNetwork) -> Engine:
    """The container engine of a node: the same for its process, and for whoever stops its containers."""
    from sampan.engine.engine import Engine
    from sampan.engine.images.store import ImageStore
    from sampan.network.pods import PodNetwork

    return Engine(
        root=config.node_state(network.name) / "engine",
        run=config.node_run(network.name),
        images=ImageStore(config.images),
        network=PodNetwork(network),
        cgroup=f"{config.ranges.cgroup}/{network.name}",
    )


async def node(config: Config, name: str, sockets: Sequence[socket.socket] = ()) -> None:
    """Run the pods of one of the cluster's nodes until cancelled; they run on after that."""
    from sampan.network.addresses import layout

    network = next(n for n in layout(config) if n.name == name)
    await run_node(config, network, _node_client(config, name), sockets)


async def run_node(
    config: Config, network: NodeNetwork, client: HttpApiClient, sockets: Sequence[socket.socket] = ()
) -> None:
    """Run the pods of a node until cancelled, for the cluster that `client` reaches.

    `sockets`, if someone holds them over restarts, are those of the kubelet's API and of the DNS, over UDP and TCP.
    """
    exporter = _export(client)
    runtime = engine(config, network)
    await runtime.context.network.start()
    await runtime.start()
    kubelet = _kubelet(config, network, client, runtime, sockets[:1])
    images = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exporter.run(), name="spans")
            tasks.create_task(runtime.serve(), name="CRI socket")
            tasks.create_task(_serve_images(config, network, runtime, images), name="images' socket")
            tasks.create_task(_agent(config, network, client, sockets[1:]).run(), name="services and DNS")
            tasks.create_task(kubelet.run(), name="kubelet")
            tasks.create_task(_tell_ready(kubelet, images), name="readiness")
    finally:
        await runtime.close()
        await client.close()


async def _serve_images(
    config: Config, network: NodeNetwork, runtime: Engine, listening: asyncio.Event
) -> None:
    """Serve images and builds, with the Docker Engine API's paths, until cancelled; tells when it listens."""
    from sampan.engine.docker import server
    from sampan.engine.docker.face import Face

    listener = await server.serve(
        Face(runtime.context.images), config.node_run(network.name) / "engine.sock", 0o600
    )
    listening.set()
    try:
        await asyncio.Event().wait()
    finally:
        await listener.close(grace=1.0)


def _node_client(config: Config, name: str) -> HttpApiClient:
    from sampan.client import http
    from sampan.network.addresses import host_address

    url = f"https://{host_address(config.ranges)}:{config.port}"
    return http.connect(url, ca=config.pki / "ca.crt", cert=config.pki / f"{name}.pem")


def _export(client: HttpApiClient) -> Exporter:
    """Send this process's spans to the collector behind the API server."""
    import orjson

    from sampan.tracing import otlp
    from sampan.tracing.exporter import Exporter
    from sampan.tracing.face import COLLECT

    async def send(spans: list[trace.Span]) -> None:
        await client.raw("POST", COLLECT, body=orjson.dumps(otlp.encode(spans)))

    exporter = Exporter(send)
    trace.export_to(exporter.add)
    return exporter


def _agent(
    config: Config, network: NodeNetwork, client: HttpApiClient, sockets: Sequence[socket.socket]
) -> Agent:
    from sampan.network.agent import Agent
    from sampan.network.dns.server import Sockets
    from sampan.network.nodes import host_namespace

    leads = network.name == config.node_names[0]
    host = host_namespace(config) if network.netns else None
    held = Sockets(*sockets) if sockets else None
    return Agent(client, network, domain=config.domain, host=host, leads=leads, sockets=held)


def _kubelet(
    config: Config,
    network: NodeNetwork,
    client: HttpApiClient,
    runtime: Engine,
    sockets: Sequence[socket.socket],
) -> Kubelet:
    from sampan.host import cgroups
    from sampan.http import server
    from sampan.http.tls import server_context
    from sampan.node.kubelet import Kubelet

    state = config.node_state(network.name)
    return Kubelet(
        name=network.name,
        client=client,
        cri=runtime,
        root=state / "kubelet",
        volumes=state / "volumes",
        address=network.address,
        tls=server_context(config.pki / f"{network.name}-serving.pem", client_ca=config.pki / "ca.crt"),
        sockets=sockets or [server.listen(network.address, KUBELET_PORT)],
        cluster_dns=config.ranges.dns,
        cluster_domain=config.domain,
        pod_cidr=network.pod_cidr,
        cgroup=f"{config.ranges.cgroup}/{network.name}",
        cgroups=cgroups.detect(),
        streams=runtime,
    )


async def _tell_ready(kubelet: Kubelet, images: asyncio.Event) -> None:
    """Ready is a node that is Ready in the cluster and whose images' socket answers (CRI's does before both)."""
    await kubelet.registration.ready.wait()
    await images.wait()
    service.notify(ready=True, status="the node is Ready")


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
        return node(config, words[1], service.listening_sockets())
    raise SystemExit(f"sampan.app: there is no process {' '.join(words)!r}")


async def _until_asked(work: Coroutine[Any, Any, None]) -> None:
    stop = service.asked_to_stop()
    task = asyncio.create_task(work, name="process")
    memory.set_aside_survivors()
    await service.until(stop, task)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
