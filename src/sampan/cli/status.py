"""Show a cluster's processes and nodes."""

from __future__ import annotations

import argparse
import json

from sampan.cli.clusters import add_name, ask, find
from sampan.cli.terminal import table


def add(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")


def run(arguments: argparse.Namespace) -> int:
    config = find(arguments.name)
    answer = ask(config, "status")
    if arguments.output == "json":
        print(json.dumps({"name": config.name, "kubeconfig": str(config.kubeconfig), **answer}, indent=1))
    else:
        heading = ("PROCESS", "STATE", "PID", "RESTARTS", "UP", "SAYS")
        print(table([heading, *map(_row, answer["processes"])]))
        print(f"\nAPI         https://127.0.0.1:{config.port}\nKUBECONFIG  {config.kubeconfig}")
    return 0 if all(p["state"] == "ready" for p in answer["processes"]) else 1


def _row(p: dict[str, object]) -> tuple[str, ...]:
    return (
        str(p["name"]),
        str(p["state"]),
        str(p["pid"] or "-"),
        str(p["restarts"]),
        age(float(str(p["seconds"]))),
        str(p["status"]),
    )


def age(seconds: float) -> str:
    """A short age: 42s, 5m, 3h, 2d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"
