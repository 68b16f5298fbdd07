"""One component alone, in the foreground: what `sampan run` starts.

`control` serves the API without nodes; `node` joins this machine to a cluster, ours or a real one; `cri` is the engine
for anyone's kubelet; `scheduler` places pods in any cluster, `descheduler` evicts those that would be placed better.
Each keeps everything below its state directory (the last two keep nothing), and none needs the supervisor.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.config import Config
from sampan.host import memory, service
from sampan.lifecycle.configure import Options, Unusable, with_policies, with_store

if TYPE_CHECKING:
    from sampan.client.http import HttpApiClient

DEFAULT_PORT = 6443
SCHEDULER_PORT = 10259


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """What `sampan run` was told.

    `pki` is a directory of keys that several API servers share, and `share_port` lets them listen on one address;
    `store` are the options that name a store; `config` is a KubeSchedulerConfiguration. For the descheduler:
    `policy` is a DeschedulerPolicy, `every` the seconds between two looks; with `dry_run` it only tells.
    """

    state: Path | None
    listen: str = ""
    kubeconfig: Path | None = None
    node_name: str = ""
    pki: Path | None = None
    share_port: bool = False
    store: Options = field(default_factory=Options)
    config: Path | None = None
    policy: Path | None = None
    every: float = 300.0
    dry_run: bool = False


def run(component: str, told: Alone) -> int:
    """Run a component until it is interrupted. Raises Unusable."""
    import uvloop

    kubeconfig, listen, node_name = told.kubeconfig, told.listen, told.node_name
    if told.state is None and component not in ("scheduler", "descheduler"):
        raise Unusable(f"{component} keeps state: give it a directory with --state")
    state = told.state or Path()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    work = {
        "control": lambda: control(told, state),
        "node": lambda: node(state, kubeconfig, node_name),
        "cri": lambda: cri(state, listen),
        "scheduler": lambda: scheduler(kubeconfig, told.config, listen),
        "descheduler": lambda: descheduler(told),
    }[component]()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_asked(work))
    return 0


async def _until_asked(work: Coroutine[Any, Any, None]) -> None:
    stop = service.asked_to_stop()
    memory.set_aside_survivors()
    await service.until(stop, asyncio.create_task(work, name="component"))


def _address(listen: str, default: int = DEFAULT_PORT) -> tuple[str, int]:
    host, _, port = (listen or f"127.0.0.1:{default}").rpartition(":")
    if not port.isdigit():
        raise Unusable(f"--listen {listen} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


async def control(told: Alone, state: Path) -> None:
    """The API server with controllers and scheduler; writes its administrator's kubeconfig."""
    from sampan import app
    from sampan.http import server
    from sampan.store.api import StoreError

    host, port = _address(told.listen)
    try:
        listener = server.listen(host, port, share=told.share_port)
    except OSError as e:
        raise Unusable(str(e)) from e
    config = Config(
        name="alone",
        state=state,
        run=state,
        port=listener.getsockname()[1],
        nodes=0,
        listen=(host,),
        kubeconfig_file=str(told.kubeconfig.absolute()) if told.kubeconfig else "",
        pki_directory=str(told.pki.absolute()) if told.pki else "",
    )
    config = with_policies(with_store(config, told.store), told.store)
    config.store.parent.mkdir(exist_ok=True)
    _credentials(config, host)
    print(
        f"serving https://{host}:{config.port}; KUBECONFIG={config.kubeconfig}", file=sys.stderr, flush=True
    )
    try:
        await app.control(config, [listener])
    except StoreError as e:
        raise Unusable(str(e)) from e


def _credentials(config: Config, host: str) -> None:
    """What is missing is made; by one server at a time, where several share their keys."""
    from sampan.host.pki import Pki
    from sampan.lifecycle import credentials

    config.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory = os.open(config.pki, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        pki = Pki(config.pki)
        credentials.control(config, pki)
        credentials.administrator(config, pki, host)
    finally:
        os.close(directory)


async def cri(state: Path, listen: str) -> None:
    """The container engine with a pod network of its own, serving CRI v1 on a unix socket."""
    from sampan.engine import cri_grpc
    from sampan.engine.engine import Engine
    from sampan.engine.images.store import ImageStore
    from sampan.network import addresses
    from sampan.network.pods import PodNetwork

    path = Path(listen.removeprefix("unix://") or state / "cri.sock").absolute()
    name = f"alone-{os.path.basename(state)}"
    network = PodNetwork(addresses.single(name, addresses.lease(name)))
    await network.start()
    engine = Engine(
        root=state / "engine", run=state / "run", images=ImageStore(state / "images"), network=network
    )
    await engine.start()
    print(f"serving CRI v1 on unix://{path}", file=sys.stderr, flush=True)
    try:
        await cri_grpc.serve(engine, path)
    finally:
        await engine.close()


async def node(state: Path, kubeconfig: Path | None, name: str) -> None:
    """The kubelet with our engine and network, for the cluster that a kubeconfig names."""
    from sampan import app
    from sampan.host.pki import Pki
    from sampan.lifecycle import credentials
    from sampan.lifecycle.configure import RUN
    from sampan.network import addresses, nodes

    client = _client("a node", kubeconfig)
    lease = f"alone-{name}"
    config = Config(name=lease, state=state, run=RUN / lease, ranges=addresses.lease(lease))
    config.run.mkdir(parents=True, exist_ok=True)
    await nodes.setup(config)
    network = addresses.single(name, config.ranges)
    Pki(config.pki).server(f"{name}-serving", credentials.serving_names(network))
    await app.run_node(config, network, client)


def _client(who: str, kubeconfig: Path | None) -> HttpApiClient:
    from sampan.client import kubeconfig as kubeconfigs

    if not kubeconfig:
        raise Unusable(f"{who} needs --kubeconfig, to know its cluster and who it is")
    try:
        return kubeconfigs.load(kubeconfig)
    except kubeconfigs.KubeconfigError as e:
        raise Unusable(str(e)) from e


async def scheduler(kubeconfig: Path | None, config: Path | None, listen: str) -> None:
    """A scheduler for the cluster that a kubeconfig names, with its health and metrics over HTTP."""
    from sampan.http import server
    from sampan.scheduler import configuration
    from sampan.scheduler.standalone import Standalone

    try:
        text = config.read_bytes() if config else configuration.EMPTY
        chosen = configuration.load(text)
        client = _client(
            "a scheduler", kubeconfig or (Path(chosen.kubeconfig) if chosen.kubeconfig else None)
        )
        process = Standalone(client, chosen)
        listener = server.listen(*_address(listen, SCHEDULER_PORT))
    except (configuration.ConfigurationError, OSError) as e:
        raise Unusable(str(e)) from e
    face = await server.serve(process.handle, sockets=[listener])
    host, port = listener.getsockname()[:2]
    print(f"scheduling; health and metrics on http://{host}:{port}", file=sys.stderr, flush=True)
    try:
        await process.run()
    finally:
        await face.close(grace=1.0)
        await client.close()


async def descheduler(told: Alone) -> None:
    """Evicts, again and again, what would be placed better, in the cluster that a kubeconfig names."""
    from sampan.scheduler import configuration
    from sampan.scheduler.configuration import build
    from sampan.scheduler.descheduler import policy, process

    try:
        text = told.config.read_bytes() if told.config else configuration.EMPTY
        profiles = build.profiles(configuration.load(text))
        chosen = policy.load(told.policy.read_bytes()) if told.policy else policy.default()
    except (configuration.ConfigurationError, policy.PolicyError, OSError) as e:
        raise Unusable(str(e)) from e
    client = _client("a descheduler", told.kubeconfig)
    print(f"descheduling every {told.every:g} s", file=sys.stderr, flush=True)
    try:
        await process.run(client, profiles, chosen, told.every, dry=told.dry_run)
    finally:
        await client.close()
