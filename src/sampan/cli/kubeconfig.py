"""Print a cluster's kubeconfig, or merge it into yours."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sampan.cli.clusters import add_name, find


def add(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument(
        "--merge", action="store_true", help="add it to $KUBECONFIG or ~/.kube/config, keeping a backup"
    )


def run(arguments: argparse.Namespace) -> int:
    config = find(arguments.name)
    if not arguments.merge:
        print(config.kubeconfig.read_text(), end="")
        return 0
    from sampan.client import kubeconfig

    target = Path(os.environ.get("KUBECONFIG", "").split(":")[0] or Path.home() / ".kube" / "config")
    kubeconfig.merge(config.kubeconfig, target)
    print(f"merged into {target}; use it with: kubectl config use-context sampan-{config.name}")
    return 0
