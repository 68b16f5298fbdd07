"""Packing by rules of thumb: node by node, each taking the pods that fit it best; or pod by pod, as a scheduler would.

Node by node, what fits best is the pod after which the rest is most evenly usable: the dot product of its size and what
is left, weighted by how scarce each resource is over all (Panigrahy et al., "Heuristics for Vector Bin Packing", 2011).
Filling one node after another with complementary pods mostly beats giving each pod in turn its best node.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sampan.scheduler.batch.problem import Ints, Packing, Pattern, Problem, pattern_of

Floats = NDArray[np.float64]


class Filler:
    """Fills single nodes of a problem. `weights[R]` say how scarce a resource is."""

    def __init__(self, problem: Problem, weights: Floats | None = None):
        self.problem = problem
        self.largest = np.maximum(problem.total.max(axis=0), 1)
        self.shares: Floats = problem.sizes / self.largest
        self.weights = scarcity(problem) if weights is None else weights

    def fill(self, b: int, left: Ints, taste: Floats | None = None) -> Pattern:
        """What a node of class `b` takes of the pods `left[P]`, which is counted down; `taste[P]` favours classes."""
        problem = self.problem
        free = problem.free[b].copy()
        taken: dict[int, int] = {}
        classes = np.flatnonzero(problem.allowed[:, b] & (left > 0))
        taste = np.ones(len(left)) if taste is None else taste
        while len(classes):
            fits = (problem.sizes[classes] <= free).all(axis=1) & (left[classes] > 0)
            classes = classes[fits]
            if not len(classes):
                break
            worth = (self.shares[classes] @ (self.weights * free / self.largest)) * taste[classes]
            p = int(classes[worth.argmax()])
            taken[p] = taken.get(p, 0) + 1
            left[p] -= 1
            free -= problem.sizes[p]
            if p in problem.apart:
                classes = classes[~np.isin(classes, problem.apart[p])]
        return pattern_of(taken)


def scarcity(problem: Problem) -> Floats:
    """How much of each resource all pods ask, of all that is free; 1 for the scarcest."""
    free = np.maximum((problem.free * problem.nodes[:, None]).sum(axis=0), 1)
    asked: Floats = (problem.counts @ problem.sizes) / free
    found: Floats = asked / max(float(asked.max()), 1e-9)
    return found


def by_node(problem: Problem, weights: Floats | None = None, taste: Floats | None = None) -> Packing:
    """Fill the nodes that are used anyway first, then empty ones, those first that hold the most."""
    filler = Filler(problem, weights)
    left, nodes = problem.counts.copy(), problem.nodes.copy()
    bins: list[tuple[int, Pattern]] = []
    for b in order(problem):
        while nodes[b] > 0 and left.any():
            pattern = filler.fill(b, left, taste)
            if not pattern:
                break
            nodes[b] -= 1
            bins.append((b, pattern))
    return Packing(tuple(bins), pattern_of({int(p): int(left[p]) for p in np.flatnonzero(left)}))


def order(problem: Problem) -> list[int]:
    """Used nodes first, the fullest first; then empty ones, the largest first, in the resource that is scarcest."""
    largest = np.maximum(problem.total.max(axis=0), 1)
    room = (problem.free / largest * scarcity(problem)).sum(axis=1)
    return sorted(
        range(len(room)), key=lambda b: (not problem.used[b], room[b] if problem.used[b] else -room[b])
    )


def by_pod(problem: Problem, classes: Ints | None = None) -> Packing:
    """Each pod in turn onto the node that it leaves the fullest, cpu and memory alike (MostAllocated in sequence).

    `classes` gives the pods' order, one class for each pod; without it the largest go first (best fit decreasing).
    """
    if classes is None:
        size = (problem.sizes / np.maximum(problem.total.max(axis=0), 1) * scarcity(problem)).sum(axis=1)
        largest = np.argsort(-size, kind="stable")
        classes = np.repeat(largest, problem.counts[largest])
    of = np.repeat(np.arange(len(problem.nodes)), problem.nodes)
    free, total = problem.free[of].copy(), np.maximum(problem.total[of], 1)
    closed = np.zeros((len(of), len(problem.counts)), dtype=np.bool_) if problem.apart else None
    taken: list[dict[int, int]] = [{} for _ in of]
    left: dict[int, int] = {}
    for p in classes.tolist():
        fits = (problem.sizes[p] <= free).all(axis=1) & problem.allowed[p, of]
        if closed is not None:
            fits &= ~closed[:, p]
        if not fits.any():
            left[p] = left.get(p, 0) + 1
            continue
        at = np.flatnonzero(fits)
        after = (total[at] - free[at] + problem.sizes[p])[:, :2] * 100 // total[at][:, :2]
        i = int(at[after.sum(axis=1).argmax()])
        free[i] -= problem.sizes[p]
        taken[i][p] = taken[i].get(p, 0) + 1
        if closed is not None and p in problem.apart:
            closed[i, problem.apart[p]] = True
    bins = tuple((int(b), pattern_of(t)) for b, t in zip(of, taken, strict=True) if t)
    return Packing(bins, pattern_of(left))
