"""Local search: take a few nodes apart, among them the emptiest, pack their pods anew, keep what is not worse.

Large neighbourhood search (Shaw 1998). What counts between packings of equally many nodes is how uneven they are: the
emptier the emptiest node, the sooner it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sampan.scheduler.batch.greedy import Filler, scarcity
from sampan.scheduler.batch.problem import Ints, Packing, Pattern, Problem, load, merge, pattern_of

# How many nodes are taken apart at once, at least and at most.
FEWEST, MOST = 2, 9


class Search:
    """One search over packings of a problem; `seed` makes it repeatable."""

    def __init__(self, problem: Problem, start: Packing, seed: int = 0):
        self.problem = problem
        self.random = np.random.default_rng(seed)
        self.scarce = scarcity(problem)
        self.largest = np.maximum(problem.total.max(axis=0), 1)
        self.bins: list[tuple[int, Pattern]] = list(start.bins)
        self.fill = [self._fill(b, p) for b, p in self.bins]
        self.left = dict(start.left)
        self.cost = start.cost(problem)

    def packing(self) -> Packing:
        return Packing(tuple(self.bins), pattern_of(self.left))

    def run(self, enough: Callable[[], bool]) -> Iterator[Packing]:
        """Packings, each better than those before, until `enough`."""
        best = self.cost
        while not enough() and len(self.bins) > 1:
            self.step()
            if self.cost < best:
                best = self.cost
                yield self.packing()

    def step(self) -> None:
        """Take some nodes apart, and fill them again."""
        chosen = self._chosen()
        apart = [self.bins[i] for i in chosen]
        left = np.zeros(len(self.problem.counts), dtype=np.int64)
        for p, n in [*merge(p for _, p in apart).items(), *self.left.items()]:
            left[p] += n
        made = self._rebuild([b for b, _ in apart], left)
        rest = {int(p): int(left[p]) for p in np.flatnonzero(left)}
        fill = [self._fill(b, p) for b, p in made]
        before = self._value(apart, [self.fill[i] for i in chosen], self.left)
        if self._value(made, fill, rest) < before:
            return
        for i in sorted(chosen, reverse=True):
            del self.bins[i], self.fill[i]
        self.bins += made
        self.fill += fill
        self.cost = (sum(rest.values()), self.cost[1] + self._new(made) - self._new(apart))
        self.left = rest

    def _chosen(self) -> list[int]:
        """Which nodes to take apart: one of the emptiest, and others at random."""
        many = min(len(self.bins), int(self.random.integers(FEWEST, MOST)))
        first = np.argsort(self.fill, kind="stable")[: 1 + len(self.bins) // 20]
        others = self.random.choice(len(self.bins), size=many, replace=False)
        return list({int(self.random.choice(first)), *(int(i) for i in others)})

    def _rebuild(self, classes: list[int], left: Ints) -> list[tuple[int, Pattern]]:
        """Fill nodes of the same classes again, in another order and with another taste."""
        filler = Filler(self.problem, self.scarce * self.random.uniform(0.3, 1.7, len(self.scarce)))
        taste = self.random.uniform(0.6, 1.4, len(self.problem.counts))
        order = sorted(classes, key=lambda b: (not self.problem.used[b], self.random.random()))
        made = [(b, filler.fill(b, left, taste)) for b in order]
        return [(b, pattern) for b, pattern in made if pattern]

    def _fill(self, b: int, pattern: Pattern) -> float:
        """How much of a node its pods take, in the scarcest terms."""
        return float((load(self.problem, pattern) / self.largest * self.scarce).sum())

    def _new(self, bins: list[tuple[int, Pattern]]) -> int:
        """How many nodes of these were empty before."""
        return sum(1 for b, _ in bins if not self.problem.used[b])

    def _value(
        self, bins: list[tuple[int, Pattern]], fill: list[float], left: dict[int, int]
    ) -> tuple[float, ...]:
        """The larger, the better: fewer pods left, fewer nodes, more uneven ones."""
        return -sum(left.values()), -self._new(bins), sum(f * f for f in fill)
