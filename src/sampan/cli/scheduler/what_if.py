"""Play what would be if: other pods, another configuration, more nodes. Nothing is written.

sampan scheduler what-if                                   the waiting pods, now
sampan scheduler what-if --pods app.yaml                   these besides
sampan scheduler what-if --everything --against packing.yaml
sampan scheduler what-if --pods app.yaml --shape cpu=8,memory=32Gi --shape like:node-1
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.cli.problem import Problem
from sampan.cli.scheduler import source
from sampan.cli.terminal import table

if TYPE_CHECKING:
    from sampan.scheduler.cluster import ClusterState
    from sampan.scheduler.pods import PodInfo
    from sampan.scheduler.whatif import Needed, Replay, Shape

# So many lines of a kind are printed; the others are counted.
MOST_LINES = 20


def add(parser: argparse.ArgumentParser) -> None:
    source.add(parser)
    source.add_config(parser)
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="a second configuration, to compare with"
    )
    parser.add_argument(
        "--pods", type=Path, metavar="FILE", help="manifests whose pods come besides the waiting ones"
    )
    parser.add_argument(
        "--everything", action="store_true", help="take all pods off their nodes and place them anew"
    )
    parser.add_argument(
        "--shape", action="append", default=[], metavar="SHAPE",
        help="find how many nodes are needed: cpu=8,memory=32Gi[,LABEL=VALUE...] or like:NODE; may be repeated",
    )  # fmt: skip
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(arguments: argparse.Namespace) -> int:
    from sampan.scheduler import whatif

    state = source.read(arguments)
    source.tell_missing(state)
    pods = [*_waiting(state), *_given(arguments.pods)]
    again = whatif.movable(state) if arguments.everything else []
    profiles = source.profiles(arguments.config)
    now = whatif.replay(profiles, state, pods, again)
    other = (
        whatif.replay(source.profiles(arguments.against), state, pods, again) if arguments.against else None
    )
    shapes = [_shape(state, text) for text in arguments.shape]
    more = whatif.needed(profiles, state, pods, shapes) if shapes else None
    if arguments.output == "json":
        _print_json(now, other, more)
        return 0
    _print(now, other)
    if more is not None:
        _print_needed(more)
    return 0


def _waiting(state: ClusterState) -> list[PodInfo]:
    return [p for p in state.waiting.values() if not p.spec.get("schedulingGates") and not p.terminating]


def _given(path: Path | None) -> list[PodInfo]:
    from sampan.scheduler import cluster

    if path is None:
        return []
    try:
        found = cluster.pods_of(cluster.read_file(path))
    except cluster.Unreadable as e:
        raise Problem(str(e)) from e
    if not found:
        raise Problem(f"{path} holds no pods, and nothing that makes pods")
    return found


def _shape(state: ClusterState, text: str) -> Shape:
    from sampan.scheduler import whatif

    try:
        if text.startswith("like:"):
            return whatif.shape_like(state.snapshot, text.removeprefix("like:"))
        return whatif.shape_of(text)
    except KeyError as e:
        raise Problem(f"--shape {text}: there is no node {e}") from e
    except ValueError as e:
        raise Problem(f"--shape: {e}") from e


def _print(now: Replay, other: Replay | None) -> None:
    from sampan.scheduler import whatif

    replays = [now] if other is None else [now, other]
    heads = [("", "NOW" if other is None else "CONFIG", *(() if other is None else ("AGAINST",)))]
    rows = [(name, *(cell(r) for r in replays)) for name, cell in _LINES]
    print(table([*heads, *rows]))
    for pod, why in _limited(
        [(r.placement.pods[uid], w) for r in replays[:1] for uid, w in r.placement.failed.items()]
    ):
        print(f"  {pod.namespace}/{pod.name} has no node: {why}")
    if other is not None:
        moved = whatif.differences(now, other)
        print(f"\n{len(moved)} of {len(now.placement.pods)} pods go elsewhere.")
        lines = [(f"{p.namespace}/{p.name}", a or "none", b or "none") for p, a, b in moved[:MOST_LINES]]
        if lines:
            print(table([("POD", "CONFIG", "AGAINST"), *lines]))


def _fill(name: str) -> Any:
    def cell(replay: Replay) -> str:
        fill = replay.fill[name]
        return f"{fill.percent:.0f} % (nodes {fill.least:.0f} to {fill.most:.0f} %)"

    return cell


_LINES: list[tuple[str, Any]] = [
    ("pods placed", lambda r: f"{len(r.placement.nodes)} of {len(r.placement.pods)}"),
    ("nodes in use", lambda r: f"{r.in_use} of {r.nodes}"),
    ("cpu requested", _fill("cpu")),
    ("memory requested", _fill("memory")),
]


def _limited(lines: list[tuple[PodInfo, str]]) -> list[tuple[PodInfo, str]]:
    if len(lines) > MOST_LINES:
        print(f"  {len(lines) - MOST_LINES} of the pods without a node are not listed:")
    return lines[:MOST_LINES]


def _print_needed(more: Needed) -> None:
    total = sum(more.added.values())
    if not total:
        print(
            "\nNo more nodes are needed."
            if not more.hopeless
            else "\nMore nodes of these shapes do not help."
        )
    else:
        print(
            f"\n{total} more nodes are needed: {', '.join(f'{n} × {name}' for name, n in more.added.items())}."
        )
    for pod, why in _limited([(more.pods[uid], why) for uid, why in more.hopeless.items()]):
        print(f"  {pod.namespace}/{pod.name} fits on none of the shapes: {why}")


def _print_json(now: Replay, other: Replay | None, more: Needed | None) -> None:
    import orjson

    answer: dict[str, Any] = {"config": _json(now)}
    if other is not None:
        answer["against"] = _json(other)
    if more is not None:
        names = [f"{more.pods[uid].namespace}/{more.pods[uid].name}" for uid in more.hopeless]
        answer["needed"] = {"added": more.added, "hopeless": names}
    print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())


def _json(replay: Replay) -> dict[str, Any]:
    found = replay.placement
    pods = [
        {"namespace": p.namespace, "name": p.name, "node": found.nodes.get(uid, ""), "why": found.failed.get(uid, "")}
        for uid, p in found.pods.items()
    ]  # fmt: skip
    fill = {n: {"requested": f.requested, "allocatable": f.allocatable} for n, f in replay.fill.items()}
    return {"pods": pods, "nodesInUse": replay.in_use, "nodes": replay.nodes, "fill": fill}
