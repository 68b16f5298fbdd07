"""Run one component alone in the foreground: to try it, to measure it, or beside a real cluster.

control   the API server with controllers and scheduler, and no node
node      the kubelet, engine and pod network of this machine, for the cluster that --kubeconfig names
cri       the container engine alone, serving CRI v1 on --listen unix:///path
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sampan.cli.problem import Problem

COMPONENTS = ("control", "node", "cri")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("component", choices=COMPONENTS)
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="where it keeps everything")
    parser.add_argument("--listen", default="", metavar="ADDRESS", help="HOST:PORT, or unix:///path for cri")
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="written by control, read by the others"
    )
    parser.add_argument(
        "--node-name", default=os.uname().nodename, help="what the node is called (its host name)"
    )


def run(arguments: argparse.Namespace) -> int:
    from sampan import alone

    try:
        return alone.run(
            arguments.component,
            state=arguments.state.absolute(),
            listen=arguments.listen,
            kubeconfig=arguments.kubeconfig,
            node_name=arguments.node_name,
        )
    except alone.Unusable as e:
        raise Problem(str(e)) from e
