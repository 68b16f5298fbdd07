"""Which processes a cluster has, and how the supervisor starts them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sampan.app import DNS_PORT, KUBELET_PORT
from sampan.config import Config
from sampan.network.addresses import NodeNetwork, host_address
from sampan.supervisor.spec import Listen, Spec


def processes(config: Config, nodes: Sequence[NodeNetwork]) -> list[Spec]:
    """The control process, then one process for each node."""
    return [control(config), *(node(config, n) for n in nodes)]


def control(config: Config) -> Spec:
    """The API server with controllers and scheduler, as a user without privileges."""
    addresses = ("127.0.0.1", host_address(config.ranges), *config.listen)
    return Spec(
        name="control",
        argv=_argv(config, "control"),
        log=str(config.logs / "control.log"),
        uid=config.uid,
        gid=config.gid,
        reach=(*_program(), *map(str, (config.store.parent, config.pki, config.file, config.run))),
        listen=tuple(Listen(a, config.port) for a in dict.fromkeys(addresses)),
        environment=_environment(),
    )


def node(config: Config, network: NodeNetwork) -> Spec:
    """The kubelet, engine and pod network of one node, as root in the node's network namespace.

    Its sockets, in the order that `app.run_node` takes them: the kubelet's API, the DNS over UDP and TCP.
    """
    dns = config.ranges.dns
    return Spec(
        name=network.name,
        argv=_argv(config, "node", network.name),
        log=str(config.logs / f"{network.name}.log"),
        netns=str(network.netns) if network.netns else "",
        listen=(
            Listen(network.address, KUBELET_PORT),
            Listen(dns, DNS_PORT, "udp"),
            Listen(dns, DNS_PORT),
        ),
        environment=_environment(),
    )


def _argv(config: Config, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-X", "frozen_modules=on", "-m", "sampan.app", str(config.file), *words)


def _source() -> str:
    return str(Path(__file__).resolve().parents[2])


def _program() -> tuple[str, ...]:
    """What an unprivileged process must be able to read in order to run at all."""
    return (sys.prefix, sys.base_prefix, _source())


def _environment() -> dict[str, str]:
    # One arena keeps the memory of a process with few threads small; docs/benchmarks.md has the figures.
    return {"PYTHONPATH": _source(), "MALLOC_ARENA_MAX": "1", "PYTHONDONTWRITEBYTECODE": "1"}
