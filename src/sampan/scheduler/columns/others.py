"""The plugins that columns do not stand for, asked in their plain form about one pod."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        self.concerned = False
        if concerned := rules.others if everyone else rules.concerned(kind_of(pod)):
            self._cycle = Cycle(reduced(rules.profile, concerned), snapshot, pod)
            self.concerned, self.rejected = True, self._cycle.pre_filter()
            self.is_narrowed = self._cycle.candidates is not None

    def refuse(self, refusals: dict[str, Refusals], table: Table, rows: Longs) -> None:
        """Add every one's verdict on each of these rows."""
        for plugin in self._asked():
            found = refusals.setdefault(plugin.name, _none(table))
            for row in rows.tolist():
                self._ask(plugin, found, table, row)

    def refuse_until(self, refusals: dict[str, Refusals], table: Table, rows: Longs, enough: int) -> Longs:
        """Add the first verdict against each row, the rows in this order, until so many pass: those that do."""
        plugins, passed = self._asked(), []
        for plugin in plugins:
            refusals.setdefault(plugin.name, _none(table))
        for row in rows.tolist():
            if not any(self._ask(plugin, refusals[plugin.name], table, row) for plugin in plugins):
                passed.append(row)
                if len(passed) == enough:
                    break
        return np.array(sorted(passed), np.int64)

    def _asked(self) -> list[Any]:
        """Those of them that filter, but for those that skip the pod."""
        if self._cycle is None:
            return []
        return [p for p in self._cycle.profile.filter if p.name not in self._cycle.skipped_filters]

    def _ask(self, plugin: Any, found: Refusals, table: Table, row: int) -> bool:
        """Whether a plugin refuses a row."""
        node = table.nodes[row]
        status = self._cycle.verdict(plugin, node) if self._cycle and node else None
        if status is None:
            return False
        _note(found, row, status)
        return True

    def before(self, refusals: Mapping[str, Refusals]) -> dict[str, Refusals]:
        """The verdicts of plugins that come before the first of them in the order of filters."""
        names = [p.name for p in self._rules.profile.filter]
        first = min((names.index(p.name) for p in self._asked()), default=len(names))
        return {name: found for name, found in refusals.items() if name in names[:first]}

    def refuse_kept(self, refusals: dict[str, Refusals], table: Table, kept: Sequence[NodeInfo]) -> None:
        """Add all plugins' verdicts on the nodes that are kept for other pods, with these on them."""
        cycle = Cycle(self._rules.profile, self._snapshot, self._pod)
        if not kept or cycle.pre_filter():
            return
        for node in kept:
            if status := cycle.filter_with_nominated(node):
                found = refusals.setdefault(status.plugin, _none(table))
                _note(found, table.row_of[node.name], status)

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


def _none(table: Table) -> Refusals:
    return Refusals(np.full(table.rows, -1, np.int64))


def _note(found: Refusals, row: int, status: Status) -> None:
    if status.code is Code.ERROR:
        raise SchedulingError(status.message)
    if status not in found.statuses:
        found.statuses.append(status)
    found.index[row] = found.statuses.index(status)
