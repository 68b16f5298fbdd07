"""A question in the kernel's form: addresses in place of columns, and the numbers of one pod.

A `Frame` holds on to the arrays whose addresses it gives away, and is good as long as its question.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sampan.scheduler.columns import native
from sampan.scheduler.columns.counters import Counter, Group
from sampan.scheduler.columns.kinds import Kind
from sampan.scheduler.columns.questions import Question, Share, Spread
from sampan.scheduler.columns.rules import Rules
from sampan.scheduler.columns.table import Column, Domain, Ints, Table
from sampan.scheduler.plugins.node_resources_fit import LEAST, MOST, RATIO
from sampan.scheduler.plugins.normal import broken_line
from sampan.scheduler.resources import CPU, MEMORY

_STRATEGIES = {LEAST: native.LEAST, MOST: native.MOST, RATIO: native.RATIO}


class Scratch:
    """The kernel's room to work in, shared by all frames: as long as the table, made anew when that grows."""

    def __init__(self) -> None:
        self.length = 0
        self._lent: dict[tuple[str, int], npt.NDArray[Any]] = {}

    def lend(self, name: str, number: int, size: int, kind: type[np.generic]) -> npt.NDArray[Any]:
        """An array for one of a frame's axes or constraints."""
        found = self._lent.get((name, number))
        if found is None or len(found) < size:
            found = self._lent[name, number] = np.zeros(max(size, 64), kind)
        return found

    def fit(self, table: Table) -> None:
        if self.length == table.capacity:
            return
        self.length = table.capacity
        self.base, self.total = (np.zeros(self.length, np.int32) for _ in range(2))
        self.raw = np.zeros(self.length, np.int64)
        self.tree = np.zeros(4 * self.length, np.int32)
        # The weight of a pod in a topology of so many domains, as `math` gives it.
        self.logs = np.array([0.0] + [math.log(float(n)) for n in range(1, self.length + 3)])


class Frame:
    """A question with its addresses; `ask` puts a pod's amounts into it."""

    def __init__(
        self, question: Question, rules: Rules, table: Table, scratch: Scratch, group: Group
    ) -> None:
        self.question = question
        self._kept: list[Any] = [scratch.base, scratch.total, scratch.raw, scratch.tree, scratch.logs]
        # A copy of the question's once some rows must be struck out.
        self._refused: Ints | None = None
        self._struck: list[int] = []
        self._asked: Kind | None = None
        self.query = native.Query()
        self.address = ctypes.addressof(self.query)
        # Where the numbers of a pod go: a structure and its field, by the resource.
        self._needs: list[tuple[Any, str]] = []
        self._fit: list[tuple[Any, str]] = []
        self._balance: list[tuple[Any, str]] = []
        self._adds: list[tuple[Any, str]] = []
        self._resources(question, table)
        self._judge(question, scratch)
        self._nodes(question, rules, table)
        self._weights(question, rules, table)
        effects = [native.Effect(_seat(c), c.counts.at, amount) for c, amount in group.effects]
        self._list("effects", native.Effect, effects)
        self._kept.append([(c.counts.array, c.seat) for c, _ in group.effects])
        self.query.settled = not question.counters & {id(c) for c, _ in group.effects}
        for name in ("base", "total", "raw", "tree", "logs"):
            setattr(self.query, name, getattr(scratch, name).ctypes.data)

    def ask(self, kind: Kind, struck: Iterable[int] = ()) -> int:
        """The address of the query for a pod of this kind, which may not go to the `struck` rows."""
        if kind is self._asked and not struck and not self._struck:
            return self.address
        self._asked = kind
        for share, name in self._needs:
            share.want = kind.needs.get(name, 0)
        for share, name in self._fit:
            share.want = kind.fit.get(name, 0)
        for share, name in self._balance:
            share.want = kind.takes.get(name, 0)
        for add, name in self._adds:
            add.amount = kind.takes.get(name, 0)
        self._own[0].amount, self._own[1].amount = kind.non_zero
        if struck or self._struck:
            self._strike(struck)
        return self.address

    def _strike(self, rows: Iterable[int]) -> None:
        if self._refused is None:
            self._refused = self.question.refused.copy()
            self.query.refused = self._at(self._refused)
        for row in self._struck:
            self._refused[row] = self.question.refused[row]
        self._struck = list(rows)
        for row in self._struck:
            self._refused[row] = -1

    # Building

    def _list(self, name: str, kind: type[ctypes.Structure], items: Sequence[Any]) -> Any:
        array = (kind * len(items))(*items)
        self._kept.append(array)
        setattr(self.query, f"n_{name}", len(items))
        setattr(self.query, name, ctypes.addressof(array) if items else None)
        return array

    def _at(self, array: npt.NDArray[Any]) -> int:
        self._kept.append(array)
        return int(array.ctypes.data)

    def _shares(self, name: str, shares: tuple[Share, ...]) -> list[tuple[Any, str]]:
        made = self._list(
            name, native.Share, [native.Share(s.limit.at, s.used.at, 0, s.weight) for s in shares]
        )
        self._kept.append([(s.limit.array, s.used.array) for s in shares])
        return [(one, share.name) for one, share in zip(made, shares, strict=True)]

    def _resources(self, question: Question, table: Table) -> None:
        self._needs = self._shares("needs", question.needs)
        self._fit = self._shares("fit", question.fit)
        self._balance = self._shares("balance", question.balance)
        columns: list[Column] = [
            table.non_zero[CPU],
            table.non_zero[MEMORY],
            *(s.used for s in question.takes),
        ]
        self._own = self._list("adds", native.Add, [native.Add(c.at, 0) for c in columns])
        self._adds = [(add, s.name) for add, s in zip(self._own[2:], question.takes, strict=True)]

    def _judge(self, question: Question, scratch: Scratch) -> None:
        """Rules and terms by topology keys."""
        axes: dict[str, int] = {}
        domains: list[Domain] = []

        def axis(domain: Domain) -> int:
            if domain.key not in axes:
                axes[domain.key] = len(domains)
                domains.append(domain)
            return axes[domain.key]

        rules = [self._spread_rule(s, axis(s.domain)) for s in question.hard]
        for kind, listed in (
            (native.NEAR, question.near),
            (native.APART, (*question.apart, *question.unwanted)),
        ):
            rules += [
                native.Rule(self._counts(n.counter), None, kind, axis(n.domain), 0, 0, 0) for n in listed
            ]
        terms = [native.Term(self._counts(n.counter), axis(n.domain), n.weight) for n in question.terms]
        self._list("rules", native.Rule, rules)
        self._list("terms", native.Term, terms)
        self._list("softs", native.Soft, [self._soft(s, n, scratch) for n, s in enumerate(question.softs)])
        self._list("axes", native.Axis, [self._axis(d, n, scratch) for n, d in enumerate(domains)])
        self.query.near_self, self.query.soft_all = question.near_self, question.soft_all

    def _counts(self, counter: Counter) -> int:
        self._kept.append(counter.counts.array)
        return counter.counts.at

    def _axis(self, domain: Domain, number: int, scratch: Scratch) -> native.Axis:
        refused = scratch.lend("refused", number, domain.size, np.uint8)
        sums = scratch.lend("sums", number, domain.size, np.int64)
        return native.Axis(self._at(domain.of_row), domain.size, self._at(refused), self._at(sums))

    def _spread_rule(self, s: Spread, axis: int) -> native.Rule:
        present = self._at(s.present.astype(np.uint8))
        return native.Rule(
            self._counts(s.counter), present, native.SPREAD, axis, s.max_skew, s.own, s.min_domains
        )

    def _soft(self, s: Spread, number: int, scratch: Scratch) -> native.Soft:
        by_row = s.counter.domain is None
        points = self._at(scratch.lend("points", number, len(s.counter.counts.array), np.float64))
        marked = self._at(scratch.lend("marked", number, s.domain.size, np.uint8))
        domain = self._at(s.domain.of_row)
        return native.Soft(self._counts(s.counter), domain, points, marked, s.domain.size, s.max_skew, by_row)

    def _nodes(self, question: Question, rules: Rules, table: Table) -> None:
        query = self.query
        query.rows, query.refused = table.rows, self._at(question.refused)
        query.pods, query.max_pods = table.pods.at, table.max_pods.at
        self._kept.append((table.pods.array, table.max_pods.array, table.without.array))
        if question.taints is not None:
            query.taints = self._at(question.taints)
        if question.affinity is not None:
            query.affinity = self._at(question.affinity)
        if question.images is not None:
            query.fixed = self._at((question.images * rules.weights["ImageLocality"]).astype(np.int32))
        odd = np.array(table.odd, np.int32)
        query.odd, query.n_odd = self._at(odd), len(odd)
        if tuple(s.name for s in question.balance) == (CPU, MEMORY):
            query.without = table.without.at

    def _weights(self, question: Question, rules: Rules, table: Table) -> None:
        query, weights = self.query, rules.weights
        query.fit_weight = weights["NodeResourcesFit"]
        query.balance_weight = weights["NodeResourcesBalancedAllocation"] if question.balances else 0
        query.taint_weight, query.affinity_weight = weights["TaintToleration"], weights["NodeAffinity"]
        query.spread_weight, query.near_weight = weights["PodTopologySpread"], weights["InterPodAffinity"]
        query.strategy, query.wide = _STRATEGIES[rules.fit.strategy], table.wide
        if rules.fit.strategy == RATIO:
            query.shape = self._at(np.array([broken_line(rules.fit.shape, n) for n in range(101)], np.int64))
        query.exclusive = question.exclusive


def _seat(counter: Counter) -> int | None:
    return None if counter.seat is None else int(counter.seat.ctypes.data)
