"""Draw the cluster's nodes with their pods, a plan for the waiting ones, or one pod's way through filters and scores.

sampan scheduler draw -f nodes.svg
sampan scheduler draw --plan -f plan.svg
sampan scheduler draw pod/web -f web.svg
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.cli.problem import Problem
from sampan.cli.scheduler import source
from sampan.machinery.objects import Key

if TYPE_CHECKING:
    from sampan.scheduler.cluster import ClusterState
    from sampan.scheduler.profiles import Profile


def add(parser: argparse.ArgumentParser) -> None:
    source.add(parser)
    source.add_config(parser)
    parser.add_argument("pod", nargs="?", help="pod/NAME; without it, the nodes are drawn")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument(
        "--plan", action="store_true", help="with the waiting pods as the batch mode would place them"
    )
    parser.add_argument("-f", "--file", dest="picture", type=Path, help="write the picture there")


def run(arguments: argparse.Namespace) -> int:
    state = source.read(arguments)
    source.tell_missing(state)
    drawn = _draw(state, source.profiles(arguments.config), arguments)
    if arguments.picture:
        arguments.picture.write_text(drawn)
        print(f"wrote {arguments.picture}")
    else:
        sys.stdout.write(drawn)
    return 0


def _draw(state: ClusterState, profiles: dict[str, Profile], arguments: argparse.Namespace) -> str:
    from sampan.scheduler import drawing
    from sampan.scheduler.explain import explain

    if arguments.pod:
        name = arguments.pod.removeprefix("pods/").removeprefix("pod/")
        pod = state.pod(Key(arguments.namespace, name))
        if pod is None:
            raise Problem(f'pods "{name}" not found in namespace {arguments.namespace}, or it has ended')
        return drawing.pod(explain(source.profile_for(profiles, pod.scheduler), state.snapshot, pod))
    if not arguments.plan:
        return drawing.nodes(state.snapshot, f"{len(state.snapshot.nodes)} nodes and what their pods request")
    from sampan.scheduler.batch import plan as plans

    profile = next(iter(profiles.values()))
    found = asyncio.run(plans.make(profile, state.snapshot, state.waiting.values(), plans.Wish(seconds=2.0)))
    new = [(found.pods[uid], node) for uid, node in found.nodes.items()]
    return drawing.nodes(state.snapshot, f"{len(new)} waiting pods as planned, on {found.used[1]} nodes", new)
