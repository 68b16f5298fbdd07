"""From a problem to better and better packings, until a deadline: rules of thumb, then search, then patterns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from sampan.scheduler.batch import greedy, patterns
from sampan.scheduler.batch.balance import Balancer
from sampan.scheduler.batch.problem import BALANCE, Ints, Packing, Problem, least_nodes
from sampan.scheduler.batch.search import Search


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


def _balanced(problem: Problem, remaining: Callable[[], float]) -> Iterator[Packing]:
    balancer = Balancer(problem)
    balancer.start()
    yield balancer.packing()
    yield from balancer.run(lambda: remaining() <= 0)
