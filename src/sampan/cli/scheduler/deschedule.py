"""Find pods that would be placed better today, by the policies of a DeschedulerPolicy, and prove it by simulation.

sampan scheduler deschedule                       what would be evicted, and where it would go
sampan scheduler deschedule --policy low.yaml --apply
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.cli.problem import Problem
from sampan.cli.scheduler import source
from sampan.cli.terminal import table

if TYPE_CHECKING:
    from sampan.scheduler.descheduler.decide import Verdict
    from sampan.scheduler.descheduler.policy import Policy


def add(parser: argparse.ArgumentParser) -> None:
    source.add(parser)
    source.add_config(parser)
    parser.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help="a DeschedulerPolicy (default: whatever rules are violated)",
    )
    parser.add_argument("--apply", action="store_true", help="evict, through the eviction API")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="also show candidates that stay, and why"
    )


def run(arguments: argparse.Namespace) -> int:
    from sampan.scheduler.descheduler import process
    from sampan.scheduler.descheduler.decide import decide

    if arguments.apply and arguments.file:
        raise Problem("--apply needs a cluster, and --from names a file")
    policy = read_policy(arguments.policy)
    state = source.read(arguments)
    source.tell_missing(state)
    verdict = decide(source.profiles(arguments.config), state.snapshot, policy, time.time())
    _print(verdict, arguments.verbose)
    if not arguments.apply or not verdict.moves:
        return 0
    refused = source.with_client(arguments, lambda client: process.evict(client, verdict.moves))
    for move, why in refused:
        print(f"{move.pod.key} was not evicted: {why}")
    print(f"evicted {len(verdict.moves) - len(refused)} pods")
    return 1 if refused else 0


def read_policy(path: Path | None) -> Policy:
    """The policy in a file, or the default one. Raises Problem."""
    from sampan.scheduler.descheduler import policy

    if path is None:
        return policy.default()
    try:
        return policy.load(path.read_bytes())
    except (OSError, policy.PolicyError) as e:
        raise Problem(f"{path}: {e}") from e


def _print(verdict: Verdict, verbose: bool) -> None:
    if verdict.moves:
        rows = [(str(m.pod.key), m.node, m.to, m.strategy, m.reason) for m in verdict.moves]
        print(table([("POD", "FROM", "TO", "STRATEGY", "BECAUSE"), *rows]))
    else:
        print("No pod would be placed better elsewhere.")
    if verbose and verdict.kept:
        kept = [(str(pod.key), node, why) for pod, node, why in verdict.kept]
        print(f"\n{table([('STAYS', 'ON', 'BECAUSE'), *kept])}")
    elif verdict.kept:
        print(f"{len(verdict.kept)} candidates stay (-v says why).")
