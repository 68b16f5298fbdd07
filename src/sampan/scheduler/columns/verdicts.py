"""What every plugin says of every node for one pod, kept as arrays until somebody wants the objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from sampan.scheduler.columns.table import Longs
from sampan.scheduler.columns.twin import Refusals, Scores
from sampan.scheduler.decide import Decision
from sampan.scheduler.framework import NodeScore, Status
from sampan.scheduler.pods import PodInfo


@dataclass(slots=True)
class Verdicts:
    """`names` by row, '' for free rows. `refusals` are by plugin, in the order of the profile's filters.

    `feasible` are the rows that no plugin refuses, `scores` those of these, in the same order. `rejected` is set where
    a plugin refuses the pod as a whole.
    """

    pod: PodInfo
    names: list[str]
    refusals: dict[str, Refusals]
    feasible: Longs
    scores: Scores = field(default_factory=Scores)
    rejected: Status | None = None

    @property
    def total(self) -> Longs:
        return self.scores.total(len(self.feasible))

    @property
    def best(self) -> str:
        """The feasible node with the highest total, '' where there is none."""
        return self.names[int(self.feasible[int(np.argmax(self.total))])] if len(self.feasible) else ""

    def refused_by(self, plugin: str) -> Iterator[tuple[str, Status]]:
        """The nodes that a plugin refuses, whether others do too or not."""
        found = self.refusals[plugin]
        for row in np.flatnonzero(found.index >= 0).tolist():
            if self.names[row]:
                yield self.names[row], found.statuses[found.index[row]]

    def node_scores(self) -> list[NodeScore]:
        """The feasible nodes' scores."""
        raw = {name: values.tolist() for name, values in self.scores.raw.items()}
        weighted = {name: values.tolist() for name, values in self.scores.weighted.items()}
        return [
            NodeScore(
                self.names[row],
                {name: values[i] for name, values in raw.items()},
                {name: values[i] for name, values in weighted.items()},
                total,
            )
            for i, (row, total) in enumerate(zip(self.feasible.tolist(), self.total.tolist(), strict=True))
        ]

    def statuses(self) -> dict[str, Status]:
        """The first verdict against each node, in the order of the filters."""
        first: dict[str, Status] = {}
        left = np.array([bool(name) for name in self.names], np.bool_)
        for found in self.refusals.values():
            for row in np.flatnonzero(left & (found.index >= 0)).tolist():
                first[self.names[row]] = found.statuses[found.index[row]]
            left &= found.index < 0
        return first

    def decision(self, *, scores: bool = False) -> Decision:
        """As `decide` gives it; the scores of all nodes only where wanted."""
        statuses = {} if self.rejected else self.statuses()
        nodes = sum(1 for name in self.names if name)
        found = Decision(self.pod, nodes, self.best, self.rejected, None, statuses)
        found.plugins = {s.plugin for s in statuses.values()} | (
            {self.rejected.plugin} if self.rejected else set()
        )
        if scores:
            found.scores = self.node_scores()
        return found
