"""Packing as numbers: which classes of pods may go on which classes of nodes, and what each takes and has.

Pods that are alike in everything that matters form one class, and so do nodes; a `Packing` says how many pods of which
classes each single node gets. All amounts are whole numbers (milli-CPU, bytes, pods), exact in int64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
FEWEST_NODES, BALANCE = "FewestNodes", "Balance"


@dataclass(frozen=True, slots=True)
class Problem:
    """`P` classes of pods, `N` classes of nodes, `R` resources.

    `sizes[P,R]` is what one pod takes, `counts[P]` how many there are; `free[N,R]` what one node has left, `total[N,R]`
    all that it has, `nodes[N]` how many there are; `used[N]` whether pods run there already, so that it costs nothing
    more; `allowed[P,N]`. `apart[p]` lists the classes that may not share a node with class p (itself included where two
    of them may not).
    """

    sizes: Ints
    counts: Ints
    free: Ints
    total: Ints
    nodes: Ints
    used: Bools
    allowed: Bools
    apart: Mapping[int, Ints] = field(default_factory=dict)

    @property
    def pods(self) -> int:
        return int(self.counts.sum())

    def to_json(self) -> dict[str, Any]:
        arrays = ("sizes", "counts", "free", "total", "nodes", "used", "allowed")
        found: dict[str, Any] = {name: getattr(self, name).tolist() for name in arrays}
        return {**found, "apart": {str(k): v.tolist() for k, v in self.apart.items()}}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Problem:
        def whole(name: str) -> Ints:
            return np.array(given[name], dtype=np.int64)

        return cls(
            whole("sizes"), whole("counts"), whole("free"), whole("total"), whole("nodes"),
            np.array(given["used"], dtype=np.bool_),
            np.array(given["allowed"], dtype=np.bool_),
            {int(k): np.array(v, dtype=np.int64) for k, v in given["apart"].items()},
        )  # fmt: skip


# What one node gets: (class of pods, how many), by class.
Pattern = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Packing:
    """`bins` are single nodes with pods: the class of the node, and what it gets. `left` are pods without a node."""

    bins: tuple[tuple[int, Pattern], ...]
    left: Pattern = ()

    def cost(self, problem: Problem) -> tuple[int, int]:
        """Pods that found no node, then nodes that were empty before: the fewer, the better."""
        return sum(n for _, n in self.left), sum(1 for b, _ in self.bins if not problem.used[b])

    def spread(self, problem: Problem) -> float:
        """How uneven the nodes are: the sum over all nodes of the squares of their fullest resource's share."""
        whole = np.maximum(problem.total, 1)
        shares = (problem.total - problem.free) / whole
        worst = shares.max(axis=1)
        found = float((worst**2 * problem.nodes).sum())
        for b, pattern in self.bins:
            taken = shares[b] + load(problem, pattern) / whole[b]
            found += float(taken.max() ** 2 - worst[b] ** 2)
        return found


def load(problem: Problem, pattern: Pattern) -> Ints:
    """What a pattern takes of its node."""
    if not pattern:
        return np.zeros(problem.sizes.shape[1], dtype=np.int64)
    classes, amounts = np.array(pattern, dtype=np.int64).T
    taken: Ints = amounts @ problem.sizes[classes]
    return taken


def pattern_of(counts: Mapping[int, int]) -> Pattern:
    return tuple(sorted((p, n) for p, n in counts.items() if n))


def faults(problem: Problem, packing: Packing) -> list[str]:
    """What is wrong with a packing; empty for one that holds."""
    found = []
    placed = np.zeros_like(problem.counts)
    nodes = np.zeros_like(problem.nodes)
    for b, pattern in packing.bins:
        nodes[b] += 1
        for p, n in pattern:
            placed[p] += n
            if not problem.allowed[p, b]:
                found.append(f"pods {p} may not go on nodes {b}")
            others = {q for q, m in pattern if q != p or m > 1}
            if others.intersection(problem.apart.get(p, np.array([])).tolist()):
                found.append(f"pods {p} share a node {b} with pods they must be apart from")
        if (load(problem, pattern) > problem.free[b]).any():
            found.append(f"a node {b} gets more than it has")
    for p, n in packing.left:
        placed[p] += n
    if (placed != problem.counts).any():
        found.append("not every pod is placed or left exactly once")
    if (nodes > problem.nodes).any():
        found.append("more nodes are taken than there are")
    return found


def least_nodes(problem: Problem) -> int:
    """A bound from below on the empty nodes that any packing takes: all sizes together over the largest node."""
    empty = ~problem.used & (problem.nodes > 0)
    if not empty.any():
        return 0
    needed = problem.counts @ problem.sizes
    used = (problem.free * problem.nodes[:, None])[problem.used].sum(axis=0)
    largest = np.maximum(problem.free[empty].max(axis=0), 1)
    return int(max(0, np.ceil((needed - used) / largest).max()))


def merge(patterns: Iterable[Pattern]) -> dict[int, int]:
    """All pods of several patterns."""
    found: dict[int, int] = {}
    for pattern in patterns:
        for p, n in pattern:
            found[p] = found.get(p, 0) + n
    return found
