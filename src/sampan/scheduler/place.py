"""`place(snapshot, pods) -> bindings`: the scheduler's decision, pure but for counting each placed pod in the snapshot.

Pods are taken by priority, then by age. For each, the nodes that pass all filters (`filters`) are scored
(`scores`); the best gets it, and the next pod sees it there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.machinery.objects import Object
from sampan.scheduler import filters, scores
from sampan.scheduler.simple_snapshot import Node, Snapshot


@dataclass(frozen=True, slots=True)
class Binding:
    """`pod` goes to `node`; `claims` must first be told of the node and be bound."""

    pod: Object
    node: str
    claims: tuple[Object, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """No node will do; `message` is upstream's: `0/3 nodes are available: 3 Insufficient cpu.`"""

    pod: Object
    message: str


def place(snapshot: Snapshot, pods: Iterable[Object]) -> list[Binding | Failure]:
    """Place what can be placed, in the order of priority."""
    return [_place_one(snapshot, pod) for pod in sorted(pods, key=_order)]


def _order(pod: Object) -> tuple[int, str, str]:
    meta = pod["metadata"]
    return -(pod["spec"].get("priority") or 0), meta.get("creationTimestamp", ""), meta["name"]


def _place_one(snapshot: Snapshot, pod: Object) -> Binding | Failure:
    wanted = filters.wish(pod, snapshot)
    total = len(snapshot.nodes)
    if not total:
        return Failure(pod, "no nodes available to schedule pods")
    if wanted.volumes.fault:
        return Failure(pod, f"0/{total} nodes are available: {wanted.volumes.fault}.")
    possible: list[Node] = []
    why: Counter[str] = Counter()
    for node in snapshot.nodes.values():
        found = filters.reasons(wanted, node)
        why.update(found)
        if not found:
            possible.append(node)
    if not possible:
        return Failure(pod, message(total, why))
    best = _best(wanted, possible)
    snapshot.add_pod(pod, best.name)
    return Binding(pod, best.name, tuple(claim for claim, _ in wanted.volumes.waiting))


def _best(wanted: filters.Wish, possible: Sequence[Node]) -> Node:
    """The highest score; among equals the node with fewer pods, then the first by name."""
    if len(possible) == 1:
        return possible[0]
    totals = scores.totals(wanted, possible)
    ranked = zip(totals, possible, strict=True)
    return min(ranked, key=lambda pair: (-round(pair[0], 6), len(pair[1].pods), pair[1].name))[1]


def message(total: int, why: Counter[str]) -> str:
    """All reasons with how many nodes gave each, in the order of their text."""
    return f"0/{total} nodes are available: {', '.join(sorted(f'{n} {text}' for text, n in why.items()))}."
