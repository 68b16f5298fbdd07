"""Packing as an integer program over patterns: which node contents to use, and how often (needs the extra `batch`).

Column generation (Gilmore and Gomory 1961): the linear program over the patterns known so far prices each class of
pods; a node filled with what is worth most by these prices, by rule of thumb and then exactly, is a new pattern, until
none is worth more than its node costs. Then HiGHS chooses whole numbers of patterns; its answer counts where better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sampan.scheduler.batch.greedy import Filler, Floats
from sampan.scheduler.batch.problem import Packing, Pattern, Problem, load, pattern_of

# A pattern with the class of node that it is for.
Column = tuple[int, Pattern]
# What a pod without a node costs, in nodes.
UNPLACED = 1000.0
# Larger programs take longer than they are given.
MOST_CLASSES, MOST_NODES = 600, 60


def available() -> bool:
    from importlib.util import find_spec

    return find_spec("highspy") is not None


def suitable(problem: Problem) -> bool:
    return len(problem.counts) <= MOST_CLASSES and len(problem.nodes) <= MOST_NODES


class Master:
    """The program: variables are columns and, last, the pods of each class that stay without a node."""

    def __init__(self, problem: Problem, columns: set[Column]) -> None:
        import highspy

        self.problem = problem
        self.columns = list(columns)
        self.known = set(columns)
        self.highs = _highs()
        self.infinity = highspy.kHighsInf
        demand = problem.counts.astype(float)
        for d in demand:
            self.highs.addRow(float(d), self.infinity, 0, np.array([], dtype=np.int32), np.array([]))
        for n in problem.nodes:
            self.highs.addRow(-self.infinity, float(n), 0, np.array([], dtype=np.int32), np.array([]))
        for p, d in enumerate(demand):
            self.highs.addCol(UNPLACED, 0.0, float(d), 1, np.array([p], dtype=np.int32), np.array([1.0]))
        for column in self.columns:
            self._add(column)

    def _add(self, column: Column) -> None:
        b, pattern = column
        rows = [p for p, _ in pattern] + [len(self.problem.counts) + b]
        values = [float(n) for _, n in pattern] + [1.0]
        cost = 0.0 if self.problem.used[b] else 1.0
        indices = np.array(rows, dtype=np.int32)
        self.highs.addCol(cost, 0.0, self.infinity, len(rows), indices, np.array(values))

    def add(self, column: Column) -> bool:
        """Whether the column is new."""
        if column in self.known:
            return False
        self.known.add(column)
        self.columns.append(column)
        self._add(column)
        return True

    def prices(self) -> tuple[Floats, Floats]:
        """What one pod of each class is worth, and what one node of each class costs besides, by the linear program."""
        self.highs.run()
        duals = np.array(self.highs.getSolution().row_dual)
        many = len(self.problem.counts)
        return duals[:many], duals[many:]

    def whole(self, seconds: float) -> list[tuple[Column, int]]:
        """Columns in whole numbers, as good as can be found in the time."""
        count = self.highs.getNumCol()
        kinds = np.array([1] * count, dtype=np.uint8)
        self.highs.changeColsIntegrality(count, np.arange(count, dtype=np.int32), kinds)
        self.highs.setOptionValue("time_limit", float(self.highs.getRunTime() + seconds))
        self.highs.run()
        values = self.highs.getSolution().col_value[len(self.problem.counts) :]
        return [(c, round(v)) for c, v in zip(self.columns, values, strict=True) if v > 0.5]


def _highs() -> Any:
    import highspy

    made: Any = highspy
    highs = made.Highs()
    highs.setOptionValue("output_flag", False)
    return highs


def improve(problem: Problem, start: Packing, remaining: Callable[[], float]) -> Iterator[Packing]:
    """Better packings than `start`, where there is time for any."""
    master = Master(problem, set(start.bins))
    generated = remaining() * 0.5
    while remaining() > generated and (_generate(problem, master) or _exactly(problem, master)):
        pass
    chosen = master.whole(max(0.1, remaining() * 0.9))
    found = assembled(problem, chosen)
    if found.cost(problem) < start.cost(problem):
        yield found


def _generate(problem: Problem, master: Master) -> bool:
    """Add the patterns that are worth more than they cost; whether there were any."""
    prices, costs = master.prices()
    added = False
    for b in range(len(problem.nodes)):
        for weights in _weights(problem):
            filler = Filler(problem, weights)
            size = np.maximum((filler.shares * weights).sum(axis=1), 1e-9)
            # Filler weighs by size; dividing by it leaves worth for each unit of room.
            taste = np.maximum(prices, 0.0) / size
            allowed = np.where(prices > 1e-9, problem.counts, 0)
            pattern = filler.fill(b, allowed.copy(), taste)
            worth = sum(float(prices[p]) * n for p, n in pattern)
            cost = (0.0 if problem.used[b] else 1.0) - float(costs[b])
            if pattern and worth > cost + 1e-6:
                added = master.add((b, pattern)) or added
    return added


def _exactly(problem: Problem, master: Master) -> bool:
    """Add for each class of nodes the pattern that is worth the most of all; whether any is worth its node."""
    prices, costs = master.prices()
    added = False
    for b in range(len(problem.nodes)):
        pattern, worth = best_pattern(problem, b, prices)
        cost = (0.0 if problem.used[b] else 1.0) - float(costs[b])
        if pattern and worth > cost + 1e-6:
            added = master.add((b, pattern)) or added
    return added


def best_pattern(problem: Problem, b: int, prices: Floats) -> tuple[Pattern, float]:
    """The worthiest contents of a node of class `b` (a knapsack of several dimensions), without pods kept apart."""
    alone = np.array([p not in problem.apart for p in range(len(prices))])
    classes = np.flatnonzero(problem.allowed[:, b] & alone & (prices > 1e-9))
    if not len(classes):
        return (), 0.0
    highs, scale = _highs(), np.maximum(problem.total.max(axis=0), 1)
    highs.setOptionValue("time_limit", 2.0)
    for room in problem.free[b] / scale:
        highs.addRow(-1e30, float(room), 0, np.array([], dtype=np.int32), np.array([]))
    rows = np.arange(len(scale), dtype=np.int32)
    for p in classes:
        highs.addCol(
            -float(prices[p]), 0.0, float(problem.counts[p]), len(rows), rows, problem.sizes[p] / scale
        )
    kinds = np.array([1] * len(classes), dtype=np.uint8)
    highs.changeColsIntegrality(len(classes), np.arange(len(classes), dtype=np.int32), kinds)
    highs.run()
    values = highs.getSolution().col_value
    pattern = pattern_of({int(p): round(v) for p, v in zip(classes, values, strict=True)})
    if (load(problem, pattern) > problem.free[b]).any():  # rounded beyond what there is
        return (), 0.0
    return pattern, sum(float(prices[p]) * n for p, n in pattern)


def _weights(problem: Problem) -> list[Floats]:
    """Several views of which resource is scarce."""
    many = problem.sizes.shape[1]
    even = np.ones(many)
    found = [even]
    for r in range(min(many, 3)):
        one = np.full(many, 0.2)
        one[r] = 1.0
        found.append(one)
    return found


def assembled(problem: Problem, chosen: list[tuple[Column, int]]) -> Packing:
    """Columns as a packing: pods that are covered twice are dropped from the later ones, missing ones left."""
    left = problem.counts.copy()
    bins: list[Column] = []
    for (b, pattern), times in chosen:
        for _ in range(times):
            kept = {p: min(n, int(left[p])) for p, n in pattern}
            for p, n in kept.items():
                left[p] -= n
            if any(kept.values()):
                bins.append((b, pattern_of(kept)))
    return Packing(tuple(bins), pattern_of({int(p): int(left[p]) for p in np.flatnonzero(left)}))
