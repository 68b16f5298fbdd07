"""The best balance: pods spread so that the fullest nodes are as little full as can be.

The largest pods first, each to the node that it leaves the least full (longest processing time first, Graham 1969);
then single pods move from fuller nodes to emptier ones as long as the sum of squares falls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sampan.scheduler.batch.greedy import Floats
from sampan.scheduler.batch.problem import Bools, Ints, Packing, Problem, pattern_of


class Balancer:
    """Nodes one by one, with what they have free, and the pods that each was given."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.of = np.repeat(np.arange(len(problem.nodes)), problem.nodes)
        self.free: Ints = problem.free[self.of].copy()
        self.total: Ints = np.maximum(problem.total[self.of], 1)
        self.given: list[list[int]] = [[] for _ in self.of]
        self.left: dict[int, int] = {}

    def packing(self) -> Packing:
        bins = []
        for b, pods in zip(self.of.tolist(), self.given, strict=True):
            if pods:
                bins.append((b, pattern_of({p: pods.count(p) for p in pods})))
        return Packing(tuple(bins), pattern_of(self.left))

    def start(self) -> None:
        """Give every pod a node, the largest first."""
        problem = self.problem
        size = (problem.sizes / np.maximum(problem.total.max(axis=0), 1)).max(axis=1)
        for p in np.argsort(-size, kind="stable").tolist():
            for _ in range(int(problem.counts[p])):
                at = self._best(p)
                if at is None:
                    self.left[p] = self.left.get(p, 0) + 1
                else:
                    self._give(p, at)

    def run(self, enough: Callable[[], bool]) -> Iterator[Packing]:
        """Packings, each more even than the one before, until nothing moves or `enough`."""
        moved = True
        while moved and not enough():
            moved = False
            for i in np.argsort(-self._fullness(self.free, np.arange(len(self.of)))).tolist():
                if enough():
                    break
                moved = self._relieve(i) or moved
            if moved:
                yield self.packing()

    def _relieve(self, i: int) -> bool:
        """Move one pod off a node to where it makes things more even; whether one was moved."""
        for p in sorted(set(self.given[i])):
            size = self.problem.sizes[p]
            own = np.array([i])
            here = (
                self._fullness(self.free[own], own)[0] ** 2
                - self._fullness(self.free[own] + size, own)[0] ** 2
            )
            fits = self._fits(p)
            fits[i] = False
            at = np.flatnonzero(fits)
            if not len(at):
                continue
            there = self._fullness(self.free[at] - size, at) ** 2 - self._fullness(self.free[at], at) ** 2
            best = int(there.argmin())
            if there[best] < here - 1e-12:
                self._take(p, i)
                self._give(p, int(at[best]))
                return True
        return False

    def _best(self, p: int) -> int | None:
        at = np.flatnonzero(self._fits(p))
        if not len(at):
            return None
        return int(at[self._fullness(self.free[at] - self.problem.sizes[p], at).argmin()])

    def _fits(self, p: int) -> Bools:
        fits: Bools = (self.problem.sizes[p] <= self.free).all(axis=1) & self.problem.allowed[p, self.of]
        if p in self.problem.apart:
            others = set(self.problem.apart[p].tolist())
            for i in np.flatnonzero(fits).tolist():
                fits[i] = not others.intersection(self.given[i])
        return fits

    def _fullness(self, free: Ints, at: Ints) -> Floats:
        """The share of the fullest resource of each of the nodes `at`, had they so much free."""
        total = self.total[at]
        found: Floats = ((total - free) / total).max(axis=1)
        return found

    def _give(self, p: int, i: int) -> None:
        self.given[i].append(p)
        self.free[i] -= self.problem.sizes[p]

    def _take(self, p: int, i: int) -> None:
        self.given[i].remove(p)
        self.free[i] += self.problem.sizes[p]
