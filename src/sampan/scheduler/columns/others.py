"""The plugins that columns do not stand for, asked in their plain form about one pod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sampan.scheduler.columns.kinds import kind_of
from sampan.scheduler.columns.rules import Rules, reduced
from sampan.scheduler.columns.table import Longs, Table
from sampan.scheduler.columns.twin import Refusals
from sampan.scheduler.columns.verdicts import Verdicts
from sampan.scheduler.decide import Cycle, SchedulingError
from sampan.scheduler.framework import Code, Status
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot


class Others:
    """The other plugins that are concerned with a pod, or `everyone`, after their pre_filter. Raises SchedulingError.

    `rejected` says that they refuse the pod as a whole; `is_narrowed`, that they name the only nodes to look at.
    """

    def __init__(self, rules: Rules, snapshot: Snapshot, pod: PodInfo, *, everyone: bool) -> None:
        self._rules, self._snapshot, self._pod = rules, snapshot, pod
        self._cycle: Cycle | None = None
        self.rejected: Status | None = None
        self.is_narrowed = False
        if concerned := rules.others if everyone else rules.concerned(kind_of(pod)):
            self._cycle = Cycle(reduced(rules.profile, concerned), snapshot, pod)
            self.rejected = self._cycle.pre_filter()
            self.is_narrowed = self._cycle.candidates is not None

    def refuse(self, refusals: dict[str, Refusals], table: Table, rows: Longs) -> None:
        """Add their verdicts on these rows."""
        if self._cycle is not None:
            for plugin in self._cycle.profile.filter:
                if plugin.name not in self._cycle.skipped_filters:
                    refusals[plugin.name] = self._filter(plugin, table, rows)

    def _filter(self, plugin: Any, table: Table, rows: Longs) -> Refusals:
        assert self._cycle is not None
        found, numbers = Refusals(np.full(table.rows, -1, np.int64)), dict[Status, int]()
        for row in rows.tolist():
            node = table.nodes[row]
            if node and (status := self._cycle.verdict(plugin, node)):
                _note(found, numbers, row, status)
        return found

    def refuse_kept(self, refusals: dict[str, Refusals], table: Table, kept: Sequence[NodeInfo]) -> None:
        """Add all plugins' verdicts on the nodes that are kept for other pods, with these on them."""
        cycle = Cycle(self._rules.profile, self._snapshot, self._pod)
        if not kept or cycle.pre_filter():
            return
        for node in kept:
            if status := cycle.filter_with_nominated(node):
                same = refusals.setdefault(status.plugin, Refusals(np.full(table.rows, -1, np.int64)))
                _note(same, {}, table.row_of[node.name], status)

    def score(self, table: Table, verdicts: Verdicts) -> None:
        """Add their scores of the feasible nodes."""
        if self._cycle is None:
            return
        nodes = [node for row in verdicts.feasible.tolist() if (node := table.nodes[row])]
        found = self._cycle.score(nodes)
        for name in found[0].raw:
            weight = self._rules.profile.weights.get(name, 1)
            normal = np.array([score.scores[name] // weight for score in found], np.int64)
            verdicts.scores.put(
                name, np.array([score.raw[name] for score in found], np.int64), normal, weight
            )


def _note(found: Refusals, numbers: dict[Status, int], row: int, status: Status) -> None:
    if status.code is Code.ERROR:
        raise SchedulingError(status.message)
    if status not in numbers:
        numbers[status] = len(found.statuses)
        found.statuses.append(status)
    found.index[row] = numbers[status]
