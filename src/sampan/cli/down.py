"""Stop a cluster: its processes, its containers, its network. What is stored stays, unless --delete erases it."""

from __future__ import annotations

import argparse
from pathlib import Path

from sampan.cli import terminal
from sampan.cli.clusters import add_name, become_root
from sampan.cli.problem import Problem
from sampan.config import Config


def add(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("--delete", action="store_true", help="erase everything it stored, images too")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where it is kept, if it is not running")
    parser.add_argument("-y", "--yes", action="store_true", help="erase without asking")


def run(arguments: argparse.Namespace) -> int:
    become_root("stopping a cluster")
    config = _find(arguments)
    if arguments.delete and not arguments.yes:
        _confirm(config)
    from sampan.lifecycle import cluster

    try:
        cluster.stop(config, terminal.step)
        if arguments.delete:
            with terminal.step(f"erase {config.state}"):
                cluster.erase(config)
    except cluster.Failed as e:
        raise Problem(str(e)) from e
    return 0


def _confirm(config: Config) -> None:
    """Ask before erasing; where nobody can be asked, the flag was the answer."""
    if terminal.tty() and not terminal.confirm(
        f"Erase cluster {config.name!r} with all it stored in {config.state}?"
    ):
        raise Problem("not erased")


def _find(arguments: argparse.Namespace) -> Config:
    """A cluster that runs, or one whose state is still there."""
    from sampan.lifecycle import cluster
    from sampan.lifecycle.configure import Options

    found = cluster.find(Options(name=arguments.name, state=arguments.state))
    if found:
        return found
    raise Problem(f"there is no cluster {arguments.name!r}; nothing to stop")
