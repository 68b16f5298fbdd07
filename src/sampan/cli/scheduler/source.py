"""Where the subcommands get a cluster from: a live one by its name or a kubeconfig, or a file of objects."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sampan.cli.clusters import add_name, find
from sampan.cli.problem import Problem
from sampan.client.api import ApiError, Client, Unavailable
from sampan.scheduler import cluster
from sampan.scheduler.cluster import ClusterState, Unreadable

if TYPE_CHECKING:
    from sampan.scheduler.profiles import Profile

T = TypeVar("T")


def add(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="a real cluster, instead of --name")
    parser.add_argument(
        "--from", dest="file", type=Path, metavar="FILE",
        help="a file of objects (YAML or JSON, such as `kubectl get nodes,pods -A -o json`), instead of a cluster",
    )  # fmt: skip


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a KubeSchedulerConfiguration (default: the default profile)",
    )


def read(arguments: argparse.Namespace) -> ClusterState:
    """The cluster that the options mean. Raises Problem."""
    if arguments.file:
        try:
            return cluster.of(cluster.read_file(arguments.file))
        except Unreadable as e:
            raise Problem(str(e)) from e
    return with_client(arguments, cluster.read_cluster)


def with_client(arguments: argparse.Namespace, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """Run `work` with a client of the live cluster that the options mean. Raises Problem."""
    from sampan.client import kubeconfig

    path = arguments.kubeconfig or find(arguments.name).kubeconfig

    async def run() -> T:
        async with kubeconfig.load(path) as client:
            return await work(client)

    try:
        return asyncio.run(run())
    except* (ApiError, kubeconfig.KubeconfigError) as group:
        raise Problem(str(group.exceptions[0])) from group
    except* Unavailable as group:
        raise Problem(f"the API server does not answer: {group.exceptions[0]}") from group


def profiles(path: Path | None) -> dict[str, Profile]:
    """The profiles of a configuration, by scheduler name. Raises Problem."""
    if path is None:
        from sampan.scheduler import plugins

        default = plugins.default_profile()
        return {default.name: default}
    from sampan.scheduler import configuration
    from sampan.scheduler.configuration import build

    try:
        return build.profiles(configuration.load(path.read_bytes()))
    except OSError as e:
        raise Problem(str(e)) from e
    except configuration.ConfigurationError as e:
        raise Problem(f"{path}: {e}") from e


def profile_for(found: dict[str, Profile], scheduler: str) -> Profile:
    """The profile of a pod's scheduler, or else the first one, which then stands in for it."""
    return found.get(scheduler) or next(iter(found.values()))


def tell_missing(state: ClusterState) -> None:
    """Say on standard error what could not be read."""
    import sys

    for what in state.missing:
        print(f"sampan: not considered: {what}", file=sys.stderr)
