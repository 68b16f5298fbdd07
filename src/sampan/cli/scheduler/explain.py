"""For one pod, pending or placed: for every node who refuses it and how it scores, and what would make it fit.

sampan scheduler explain pod/web -n shop
sampan scheduler explain pod/web --from objects.yaml -o json
"""

from __future__ import annotations

import argparse

from sampan.cli.problem import Problem
from sampan.cli.scheduler import source
from sampan.cli.terminal import table
from sampan.machinery.objects import Key


def add(parser: argparse.ArgumentParser) -> None:
    source.add(parser)
    source.add_config(parser)
    parser.add_argument("pod", help="pod/NAME, or NAME")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")


def run(arguments: argparse.Namespace) -> int:
    from sampan.scheduler.decide import SchedulingError
    from sampan.scheduler.explain import explain
    from sampan.scheduler.explain_text import advice, as_json, rows, sentences
    from sampan.scheduler.remedies import remedies

    name = arguments.pod.removeprefix("pods/").removeprefix("pod/")
    state = source.read(arguments)
    source.tell_missing(state)
    pod = state.pod(Key(arguments.namespace, name))
    if pod is None:
        raise Problem(f'pods "{name}" not found in namespace {arguments.namespace}, or it has ended')
    profile = source.profile_for(source.profiles(arguments.config), pod.scheduler)
    try:
        found = explain(profile, state.snapshot, pod)
        ways = None if found.feasible else remedies(profile, state.snapshot, pod)
    except SchedulingError as e:
        raise Problem(str(e)) from e
    if arguments.output == "json":
        import orjson

        print(orjson.dumps(as_json(found, ways), option=orjson.OPT_INDENT_2).decode())
        return 0
    print(f"Pod {pod.namespace}/{pod.name}")
    for sentence in [*sentences(found), *(advice(ways, state.snapshot) if ways else ())]:
        print(f"  {sentence}")
    if found.nodes:
        print(f"\n{table(rows(found))}")
    return 0
