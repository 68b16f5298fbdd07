"""Start a cluster on this machine, and return when its nodes are Ready.

The first start makes what it needs; a later one goes on where the cluster was stopped or its machine fell. When some
of its processes died with their supervisor, it adopts those that live and starts the others.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path
from typing import Any

from sampan.cli import doctor, terminal
from sampan.cli.clusters import add_name, become_root, default_name
from sampan.cli.moments import moment
from sampan.cli.problem import Problem
from sampan.config import Config

# What a recording's cluster is called where nothing else is said.
REPLAY = "replay"


def add(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="where everything is kept (/var/lib/sampan/NAME)"
    )
    parser.add_argument("--port", type=int, help="the API's port; 0 for any (6443, or any if that is taken)")
    parser.add_argument(
        "--listen", action="append", metavar="ADDRESS", help="an address beside loopback and the bridge"
    )
    parser.add_argument(
        "--nodes", type=int, metavar="N", help="how many nodes, each in its own network namespace (1)"
    )
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="where to write the administrator's kubeconfig"
    )
    add_store(parser)
    add_policies(parser)
    group = parser.add_argument_group("a recording")
    group.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="open what `sampan record` wrote, to be read and not changed",
    )
    group.add_argument("--at", default="", metavar="MOMENT", help="as of a revision or a time; else its end")
    parser.add_argument("--foreground", action="store_true", help="stay, and stop the cluster on Ctrl-C")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Where objects are kept, if not in a file."""
    group = parser.add_argument_group("a store that several API servers share")
    group.add_argument(
        "--store", metavar="URL", help="etcd://HOST:PORT[,HOST:PORT...][/PREFIX] in place of a file"
    )
    group.add_argument("--store-ca", type=Path, metavar="FILE", help="who signed etcd's certificates (PEM)")
    group.add_argument(
        "--store-cert", type=Path, metavar="FILE", help="the certificate to show to etcd (PEM)"
    )
    group.add_argument(
        "--store-key", type=Path, metavar="FILE", help="its key, where it is not in the same file"
    )


def add_policies(parser: argparse.ArgumentParser) -> None:
    """What is audited, and what is encrypted; the flags are kube-apiserver's."""
    group = parser.add_argument_group("audit and encryption (an empty FILE turns them off)")
    group.add_argument(
        "--audit-policy-file",
        metavar="FILE",
        help="a Policy of audit.k8s.io/v1; the log is control/audit.log",
    )
    group.add_argument("--audit-log-maxsize", type=int, metavar="MB", help="when the log is rotated (100)")
    group.add_argument(
        "--audit-log-maxbackup", type=int, metavar="N", help="how many full ones are kept (10)"
    )
    group.add_argument(
        "--encryption-provider-config", metavar="FILE", help="an EncryptionConfiguration for what is stored"
    )
    group.add_argument(
        "--authentication-config",
        metavar="FILE",
        help="an AuthenticationConfiguration: OpenID Connect issuers",
    )


def policies(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was asked for of these, as `Options` takes it."""
    return {
        "audit_policy": arguments.audit_policy_file,
        "audit_log_maxsize": arguments.audit_log_maxsize,
        "audit_log_maxbackup": arguments.audit_log_maxbackup,
        "encryption": arguments.encryption_provider_config,
        "authentication": arguments.authentication_config,
    }


def run(arguments: argparse.Namespace) -> int:
    become_root("starting a cluster")
    begun = time.perf_counter()
    doctor.ensure([p for p in doctor.missing() if p.required])
    config = _start(arguments)
    if config.replay:
        return _show_recording(config)
    greet(config, time.perf_counter() - begun)
    if arguments.foreground:
        _stay(config)
    return 0


def _start(arguments: argparse.Namespace) -> Config:
    from sampan.lifecycle import cluster
    from sampan.lifecycle.configure import Options, Unusable

    name = arguments.name
    if arguments.replay and name == default_name():
        name = REPLAY
    options = Options(
        name=name,
        replay=arguments.replay.absolute() if arguments.replay else None,
        at=moment(arguments.at) if arguments.at else "",
        state=arguments.state,
        port=arguments.port,
        kubeconfig=arguments.kubeconfig,
        nodes=arguments.nodes,
        listen=tuple(arguments.listen) if arguments.listen else None,
        store=arguments.store,
        store_ca=arguments.store_ca,
        store_cert=arguments.store_cert,
        store_key=arguments.store_key,
        **policies(arguments),
    )
    try:
        return cluster.start(options, terminal.step)
    except (Unusable, cluster.Failed) as e:
        raise Problem(str(e)) from e


def _show_recording(config: Config) -> int:
    command = os.environ.get("SAMPAN_COMMAND", "sampan")
    print(
        f"\nSampan serves {config.replay}; it cannot be changed.\n\nexport KUBECONFIG={config.kubeconfig}\n"
    )
    rows = [
        (f"{command} kubectl --name {config.name} get pods -A", "what there was"),
        (f"{command} kubectl --name {config.name} --as-of MOMENT get pods -A", "and before"),
        (f"{command} history --name {config.name} KIND/NAME", "how an object came to be as it is"),
        (f"{command} down --name {config.name} --delete", "close it"),
    ]
    print(terminal.table(rows))
    return 0


def greet(config: Config, seconds: float) -> None:
    """Say what is up, and what to type next."""
    command = os.environ.get("SAMPAN_COMMAND", "sampan")
    named = "" if config.name == default_name() else f" --name {config.name}"
    nodes = "node" if config.nodes == 1 else f"{config.nodes} nodes"
    rows = [
        (f"{command} kubectl{named} get nodes", "an unmodified kubectl"),
        (f"{command} demo{named}", "build and deploy the example shop"),
        (f"{command} status{named}", "the processes"),
        (f"{command} kubeconfig{named} --merge", "make it a context of your own kubectl"),
        (f"{command} down{named}", "stop it; --delete erases it"),
    ]
    print(f"\nSampan is up: {nodes} Ready in {seconds:.2f} s.\n\nexport KUBECONFIG={config.kubeconfig}\n")
    print(terminal.table(rows))


def _stay(config: Config) -> None:
    from sampan.lifecycle import cluster

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print("\nCtrl-C stops it.", flush=True)
        while cluster.running(config):
            time.sleep(1.0)
    except KeyboardInterrupt:
        print()
        cluster.stop(config, terminal.step)
