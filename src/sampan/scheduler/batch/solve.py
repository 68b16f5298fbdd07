"""From a problem to better and better packings, until a deadline: rules of thumb, then search, then patterns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from sampan.scheduler.batch import greedy, patterns
from sampan.scheduler.batch.balance import Balancer
from sampan.scheduler.batch.greedy import scarcity
from sampan.scheduler.batch.problem import BALANCE, Ints, Packing, Problem, least_nodes
from sampan.scheduler.batch.search import Search

# What is left of the time when rules of thumb give way to search.
VARIED = 0.93


def solve(
    problem: Problem, objective: str, seconds: float, *, classes: Ints | None = None, seed: int = 0
) -> Iterator[Packing]:
    """Packings, each better than those before; the first comes at once, the last by the deadline.

    `classes` is the order in which a scheduler would take the pods: what that gives is among the candidates.
    """
    deadline = time.monotonic() + seconds

    def remaining() -> float:
        return deadline - time.monotonic()

    if objective == BALANCE:
        yield from _balanced(problem, remaining)
        return
    best = _start(problem, classes)
    yield best
    floor = (0, least_nodes(problem))
    for varied in _varied(problem, best, seed, lambda: remaining() <= seconds * VARIED):
        best = varied
        yield best
    with_patterns = patterns.available() and patterns.suitable(problem)
    search = Search(problem, best, seed)
    until = seconds * 0.4 if with_patterns else 0.0
    for best in search.run(lambda: remaining() <= until or search.cost <= floor):
        yield best
    if with_patterns and best.cost(problem) > floor:
        for better in patterns.improve(problem, best, lambda: remaining() - 0.1 * seconds):
            best = better
            yield best
        last = Search(problem, best, seed + 1)
        yield from last.run(lambda: remaining() <= 0 or last.cost <= floor)


def _start(problem: Problem, classes: Ints | None) -> Packing:
    """The best of the rules of thumb."""
    starts = [greedy.by_node(problem), greedy.by_pod(problem)]
    if classes is not None:
        starts.append(greedy.by_pod(problem, classes))
    return min(starts, key=lambda packing: packing.cost(problem))


def _varied(problem: Problem, best: Packing, seed: int, enough: Callable[[], bool]) -> Iterator[Packing]:
    """The same rule with other weights and tastes, drawn at random: some of them are lucky."""
    random = np.random.default_rng(seed)
    scarce = scarcity(problem)
    floor = (0, least_nodes(problem))
    while best.cost(problem) > floor and not enough():
        weights = scarce * random.uniform(0.2, 1.8, len(scarce))
        taste = random.uniform(0.7, 1.3, len(problem.counts))
        packing = greedy.by_node(problem, weights, taste)
        if packing.cost(problem) < best.cost(problem):
            best = packing
            yield best


def _balanced(problem: Problem, remaining: Callable[[], float]) -> Iterator[Packing]:
    balancer = Balancer(problem)
    balancer.start()
    yield balancer.packing()
    yield from balancer.run(lambda: remaining() <= 0)
