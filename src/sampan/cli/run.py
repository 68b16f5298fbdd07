"""Run one component alone in the foreground: to try it, to measure it, or beside a real cluster.

control   the API server with controllers and scheduler, and no node
node      the kubelet, engine and pod network of this machine, for the cluster that --kubeconfig names
cri       the container engine alone, serving CRI v1 on --listen unix:///path
scheduler a second or the only scheduler of the cluster that --kubeconfig names, as --config says
descheduler  evicts what would be placed better today, as --policy says, in the cluster that --kubeconfig names
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sampan.cli.problem import Problem
from sampan.cli.up import add_policies, add_store, policies

COMPONENTS = ("control", "node", "cri", "scheduler", "descheduler")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("component", choices=COMPONENTS)
    parser.add_argument("--state", type=Path, metavar="DIR", help="where it keeps everything")
    parser.add_argument("--listen", default="", metavar="ADDRESS", help="HOST:PORT, or unix:///path for cri")
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="written by control, read by the others"
    )
    parser.add_argument(
        "--node-name", default=os.uname().nodename, help="what the node is called (its host name)"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a KubeSchedulerConfiguration, for the scheduler"
    )
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="a DeschedulerPolicy, for the descheduler"
    )
    parser.add_argument(
        "--every", type=float, default=300.0, metavar="SECONDS", help="how often it looks (300)"
    )
    parser.add_argument("--dry-run", action="store_true", help="it only tells what it would evict")
    add_store(parser)
    add_policies(parser)
    parser.add_argument(
        "--pki", type=Path, metavar="DIR", help="keys that several API servers share (in --state)"
    )
    parser.add_argument(
        "--share-port", action="store_true", help="let several API servers listen on one address"
    )


def run(arguments: argparse.Namespace) -> int:
    from sampan import alone
    from sampan.lifecycle.configure import Options, Unusable

    told = alone.Alone(
        state=arguments.state.absolute() if arguments.state else None,
        listen=arguments.listen,
        kubeconfig=arguments.kubeconfig,
        node_name=arguments.node_name,
        pki=arguments.pki,
        config=arguments.config,
        policy=arguments.policy,
        every=arguments.every,
        dry_run=arguments.dry_run,
        share_port=arguments.share_port,
        store=Options(
            store=arguments.store,
            store_ca=arguments.store_ca,
            store_cert=arguments.store_cert,
            store_key=arguments.store_key,
            **policies(arguments),
        ),
    )
    try:
        return alone.run(arguments.component, told)
    except Unusable as e:
        raise Problem(str(e)) from e
