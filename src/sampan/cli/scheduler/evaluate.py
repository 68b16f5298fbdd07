"""Evaluate cases: reads one JSON object a line from stdin, writes one result a line to stdout.

A case holds a whole cluster (nodes, pods with a node, namespaces, services, ...) and one pod; its result says for
each node which plugin refuses it and why, or how each plugin scores it. A line that cannot be read gives
{"line": N, "error": "..."} in its place, and the exit status 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.cli.problem import Problem

if TYPE_CHECKING:
    from sampan.scheduler.profiles import Profile


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a KubeSchedulerConfiguration; the default profile without",
    )


def run(arguments: argparse.Namespace) -> int:
    from sampan.scheduler import evaluate, plugins

    profiles = _configured(arguments.config) if arguments.config else [plugins.default_profile()]
    faults = 0
    for result in evaluate.stream(sys.stdin.buffer, profiles):
        sys.stdout.buffer.write(result.line)
        faults += result.faulty
    sys.stdout.buffer.flush()
    if faults:
        print(f"sampan scheduler evaluate: {faults} lines could not be evaluated", file=sys.stderr)
    return 1 if faults else 0


def _configured(path: Path) -> list[Profile]:
    from sampan.scheduler import configuration
    from sampan.scheduler.configuration import build

    try:
        return list(build.profiles(configuration.load(path.read_bytes())).values())
    except (OSError, configuration.ConfigurationError) as e:
        raise Problem(f"{path}: {e}") from e
