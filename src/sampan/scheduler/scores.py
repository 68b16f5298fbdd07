"""Which of the possible nodes is best: each score from 0 to 100, added up by weight as upstream's defaults
weigh them.
"""

from __future__ import annotations

from collections.abc import Sequence

from sampan.machinery import placement
from sampan.machinery.objects import owner
from sampan.scheduler.affinity import PREFERRED
from sampan.scheduler.filters import Wish
from sampan.scheduler.simple_snapshot import Node, weight

MOST = 100.0


def totals(wanted: Wish, nodes: Sequence[Node]) -> list[float]:
    """The score of each node."""
    parts = (
        (3, _from_least([_intolerable(wanted, n) for n in nodes])),
        (2, _from_most([_node_preference(wanted, n) for n in nodes])),
        (2, _between([wanted.affinity.score(n) for n in nodes])),
        (2, _from_least([_crowding(wanted, n) for n in nodes])),
        (2, _from_least([_siblings(wanted, n) for n in nodes])),
        (1, [_least_allocated(wanted, n) for n in nodes]),
        (1, [_balance(wanted, n) for n in nodes]),
    )
    return [sum(w * scores[i] for w, scores in parts) for i in range(len(nodes))]


def _from_most(values: list[float]) -> list[float]:
    top = max(values)
    return [MOST * v / top if top else 0.0 for v in values]


def _from_least(values: list[float]) -> list[float]:
    """The fewest is best."""
    top = max(values)
    return [MOST * (top - v) / top if top else MOST for v in values]


def _between(values: list[int]) -> list[float]:
    low, high = min(values), max(values)
    return [MOST * (v - low) / (high - low) if high > low else 0.0 for v in values]


def _intolerable(wanted: Wish, node: Node) -> float:
    """How many of the node's taints say that the pod had better not come."""
    soft = [t for t in node.spec.get("taints") or () if t.get("effect") == "PreferNoSchedule"]
    return float(sum(1 for t in soft if not any(placement.tolerates(x, t) for x in wanted.tolerations)))


def _node_preference(wanted: Wish, node: Node) -> float:
    preferred = ((wanted.pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(PREFERRED) or ()
    return float(sum(p["weight"] for p in preferred if placement.term_matches(p["preference"], node.object)))


def _crowding(wanted: Wish, node: Node) -> float:
    """How many of the pod's like are in the node's domains, by its soft spread constraints."""
    soft = [c for c in wanted.spread if not c.hard]
    return float(sum(c.counts[node.labels.get(c.key, "")] for c in soft))


def _siblings(wanted: Wish, node: Node) -> float:
    """Pods of one owner spread over nodes by default."""
    ref = owner(wanted.pod)
    return float(node.owners[ref["uid"]]) if ref and not wanted.spread else 0.0


def _fractions(wanted: Wish, node: Node) -> list[float]:
    """The shares of CPU and memory that would be taken, with assumed requests where there are none."""
    mine = weight(wanted.requests)
    shares = []
    for name in mine:
        total = node.allocatable.get(name, 0)
        shares.append(min(1.0, (node.weighed.get(name, 0) + mine[name]) / total) if total else 1.0)
    return shares


def _least_allocated(wanted: Wish, node: Node) -> float:
    shares = _fractions(wanted, node)
    return MOST * sum(1 - s for s in shares) / len(shares)


def _balance(wanted: Wish, node: Node) -> float:
    """CPU and memory should fill up alike: the distance of the two shares, halved, is their deviation."""
    cpu, memory = _fractions(wanted, node)
    return MOST * (1 - abs(cpu - memory) / 2)
