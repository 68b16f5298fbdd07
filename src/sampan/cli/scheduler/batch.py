"""Place all waiting pods together, on the fewest nodes or in the best balance, and show the plan; --apply binds them.

sampan scheduler batch                          for the cluster's waiting pods
sampan scheduler batch --from objects.yaml --objective Balance --seconds 2
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from sampan.cli.problem import Problem
from sampan.cli.scheduler import source
from sampan.cli.terminal import table

if TYPE_CHECKING:
    from sampan.client.api import Client
    from sampan.scheduler.batch.plan import Plan


def add(parser: argparse.ArgumentParser) -> None:
    source.add(parser)
    source.add_config(parser)
    parser.add_argument("--objective", choices=("FewestNodes", "Balance"), default="FewestNodes")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="how long the solver may think (default 5)"
    )
    parser.add_argument(
        "--all", action="store_true", help="pods of every scheduler, not only of the profiles"
    )
    parser.add_argument("--apply", action="store_true", help="bind the pods as planned")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")


def run(arguments: argparse.Namespace) -> int:
    from sampan.scheduler.batch import plan as plans

    if arguments.apply and arguments.file:
        raise Problem("--apply needs a cluster, and --from names a file")
    state = source.read(arguments)
    source.tell_missing(state)
    profiles = source.profiles(arguments.config)
    pods = [
        p for p in state.waiting.values()
        if (arguments.all or p.scheduler in profiles) and not p.spec.get("schedulingGates") and not p.terminating
    ]  # fmt: skip
    profile = next(iter(profiles.values()))
    wish = plans.Wish(arguments.objective, arguments.seconds)
    found = asyncio.run(plans.make(profile, state.snapshot, pods, wish))
    if arguments.output == "json":
        _print_json(found)
    else:
        _print(found)
    if arguments.apply:
        failed = source.with_client(arguments, lambda client: _bind(client, found))
        for line in failed:
            print(line)
        print(f"bound {len(found.nodes) - len(failed)} pods")
        return 1 if failed else 0
    return 0


def _print(found: Plan) -> None:
    rows = [("POD", "NODE")]
    for uid, pod in found.pods.items():
        rows.append((f"{pod.namespace}/{pod.name}", found.nodes.get(uid) or f"none: {found.failed[uid]}"))
    if len(rows) > 1:
        print(table(rows))
    before, after = found.used
    print(f"\n{len(found.nodes)} of {len(found.pods)} pods placed; {after} nodes in use, {before} before.")
    if found.solved:
        print(
            f"No plan for the {found.solved} pods that the solver took needs fewer than {found.least} empty nodes."
        )
    if found.trouble:
        print(f"The solver failed, so they were placed one by one: {found.trouble}")


def _print_json(found: Plan) -> None:
    import orjson

    pods = [
        {"namespace": p.namespace, "name": p.name, "node": found.nodes.get(uid, ""), "why": found.failed.get(uid, "")}
        for uid, p in found.pods.items()
    ]  # fmt: skip
    answer = {
        "pods": pods,
        "nodesBefore": found.used[0],
        "nodesAfter": found.used[1],
        "leastEmptyNodes": found.least,
    }
    print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())


async def _bind(client: Client, found: Plan) -> list[str]:
    """Bind each pod as planned; what the server refuses is told, and the others go on."""
    from sampan.client.api import ApiError

    failed = []
    for uid, node in found.nodes.items():
        pod = found.pods[uid]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await client.create("pods", binding, name=pod.name, subresource="binding")
        except ApiError as e:
            failed.append(f"{pod.namespace}/{pod.name}: {e}")
    return failed
