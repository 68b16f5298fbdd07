"""Who stands where: pods counted by topology domain, for spreading and for affinity between pods.

Pods that are alike in namespace, labels and terms form a `Group`, so that a selector is tried once for each group
and not for each pod. A `Counter` holds, for each domain of one topology key, how many pods that matter stand there; a
pod that comes or goes changes one number in each counter of its group (`Group.effects`).

There are counters of pods that match (terms and constraints of pods to be placed) and of pods that carry a term (which
the pods to be placed are matched with). Counters are made when first asked for, and counted again when nodes changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from sampan.machinery.selectors import Selector
from sampan.scheduler.columns.table import Column, Domain, Flags, Ints, Table
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.terms import AffinityTerm, Labels

# The lists of terms that a pod may carry.
REQUIRED, APART, PREFERRED, AVOIDED = (
    "required_affinity", "required_anti_affinity", "preferred_affinity", "preferred_anti_affinity",
)  # fmt: skip
KINDS = (REQUIRED, APART, PREFERRED, AVOIDED)


class Group:
    """Pods alike in all that others look at; `rows` says how many stand on each row."""

    __slots__ = ("carried", "effects", "labels", "namespace", "rows", "terminating", "used")

    def __init__(self, pod: PodInfo) -> None:
        self.namespace, self.labels, self.terminating = pod.namespace, pod.labels, pod.terminating
        self.rows: dict[int, int] = {}
        self.effects: list[tuple[Counter, int]] = []
        self.carried: dict[tuple[str, AffinityTerm], int] = {}
        self.used = 0
        if pod.has_affinity:
            for kind in KINDS:
                for term in getattr(pod, kind):
                    self.carried[kind, term] = self.carried.get((kind, term), 0) + 1

    def count(self, row: int, sign: int) -> None:
        left = self.rows.get(row, 0) + sign
        if left:
            self.rows[row] = left
        else:
            del self.rows[row]


class Counter:
    """How many pods, by domain (by row where there is no `domain`); counts[0] stays 0.

    `amount` says how often one pod of a group counts. `namespaces` are those of the pods that may match, None for all.
    `eligible` gives the rows whose pods count, None for all.
    """

    def __init__(
        self,
        domain: Domain | None,
        amount: Callable[[Group], int],
        namespaces: frozenset[str] | None,
        eligible: Callable[[], Flags] | None = None,
    ) -> None:
        self.domain, self.amount, self.namespaces, self._eligible = domain, amount, namespaces, eligible
        self.counts = Column(1)
        # Row -> domain, 0 for rows that do not count; None: the row itself.
        self.seat: Ints | None = None
        self._seats: memoryview | None = None

    def lay_out(self, table: Table) -> None:
        """Arrays as long as there are domains now, with nobody in them."""
        if self.domain is None:
            self.counts.take(np.zeros(table.capacity, np.int64))
            return
        seat = self.domain.of_row
        if self._eligible is not None:
            seat = np.where(self._eligible(), seat, 0).astype(np.int32)
        self.seat, self._seats = seat, seat.data
        self.counts.take(np.zeros(self.domain.size, np.int64))

    def present(self) -> Flags:
        """Which domains have an eligible row, the 0th never."""
        assert self.seat is not None
        found: Flags = np.bincount(self.seat, minlength=len(self.counts.array)) > 0
        found[0] = False
        return found

    def add(self, group: Group) -> None:
        """Count the pods of a group that stand already."""
        if amount := self.amount(group):
            group.effects.append((self, amount))
            for row, pods in group.rows.items():
                self.count(row, amount * pods)

    def count(self, row: int, amount: int) -> None:
        if self._seats is None:
            self.counts.view[row] += amount
        elif seat := self._seats[row]:
            self.counts.view[seat] += amount


class Census:
    """All groups and counters of a cluster. `version` grows with each counter and when all are laid out anew."""

    def __init__(self, table: Table, namespaces: Callable[[], Mapping[str, Labels]]) -> None:
        self._table, self._namespaces = table, namespaces
        self.version = 0
        self._laid_out = -1
        self._groups: dict[Any, Group] = {}
        self._counters: dict[Any, Counter] = {}
        # Counters by the namespaces of the pods that they count; None for those that look into all.
        self._by_namespace: dict[str | None, list[Counter]] = {}
        self._carriers: dict[tuple[str, AffinityTerm], Counter] = {}
        self._all_namespaces: Mapping[str, Labels] | None = None

    # Groups

    def group(self, key: Any, pod: PodInfo) -> Group:
        """The group with this key, made from its first pod."""
        found = self._groups.get(key)
        if found is None:
            found = self._groups[key] = Group(pod)
            for counter in (*self._by_namespace.get(found.namespace, ()), *self._by_namespace.get(None, ())):
                counter.add(found)
            for kind, term in found.carried:
                self._carrier(kind, term).add(found)
        return found

    def count(self, group: Group, row: int, sign: int) -> None:
        """A pod of the group came to a row, or left it."""
        group.count(row, sign)
        if self._laid_out == self._table.version:
            for counter, amount in group.effects:
                counter.count(row, sign * amount)

    def _in(self, namespaces: frozenset[str] | None) -> Iterable[Group]:
        return (g for g in self._groups.values() if namespaces is None or g.namespace in namespaces)

    def prune(self) -> None:
        """Forget groups without pods."""
        self._groups = {key: group for key, group in self._groups.items() if group.rows}

    # Counters of pods that match

    def matching(self, terms: tuple[AffinityTerm, ...], domain: Domain) -> Counter:
        """Pods that every one of these terms means, by the domains of one label."""
        return self._counter(("match", terms, domain.key), lambda: self._matching(terms, domain))

    def _matching(self, terms: tuple[AffinityTerm, ...], domain: Domain) -> Counter:
        resolved = [term.resolved(self.namespaces()) for term in terms]

        def amount(group: Group) -> int:
            return int(all(term.matches(group.namespace, group.labels, None) for term in resolved))

        anywhere = any(not t.namespace_selector.nothing for t in resolved)
        return Counter(
            domain, amount, None if anywhere else frozenset.intersection(*(t.namespaces for t in resolved))
        )

    def spreading(
        self,
        namespace: str,
        selector: Selector,
        domain: Domain | None,
        nodes: Any,
        eligible: Callable[[], Flags] | None,
    ) -> Counter:
        """Pods that a spread constraint selects; `nodes` is the key of which rows are `eligible`.

        As upstream, an empty selector selects nobody here, and pods that are going do not count.
        """

        def amount(group: Group) -> int:
            counts = bool(selector.requirements) and not group.terminating
            return int(counts and group.namespace == namespace and selector.matches(group.labels))

        key = ("spread", namespace, selector, domain and domain.key, nodes)
        return self._counter(key, lambda: Counter(domain, amount, frozenset((namespace,)), eligible))

    def _counter(self, key: Any, make: Callable[[], Counter]) -> Counter:
        found = self._counters.get(key)
        if found is None:
            found = self._counters[key] = make()
            self._register(found)
            found.lay_out(self._table)
            for group in self._in(found.namespaces):
                found.add(group)
            self.version += 1
        return found

    def _register(self, counter: Counter) -> None:
        for namespace in counter.namespaces if counter.namespaces is not None else (None,):
            self._by_namespace.setdefault(namespace, []).append(counter)

    # Counters of pods that carry terms

    def _carrier(self, kind: str, term: AffinityTerm) -> Counter:
        found = self._carriers.get((kind, term))
        if found is None:
            domain = self._table.domain(term.topology_key)
            found = Counter(domain, lambda group: group.carried.get((kind, term), 0), None)
            found.lay_out(self._table)
            self._carriers[kind, term] = found
            self.version += 1
        return found

    def carriers(self, group: Group, kinds: Iterable[str]) -> Iterator[tuple[str, AffinityTerm, Counter]]:
        """The terms of these kinds that pods carry and that mean the pods of a group, each with its counter."""
        labels = self.namespaces().get(group.namespace)
        for (kind, term), counter in self._carriers.items():
            if kind in kinds and term.matches(group.namespace, group.labels, labels):
                yield kind, term, counter

    # Changes

    def namespaces(self) -> Mapping[str, Labels]:
        if self._all_namespaces is None:
            self._all_namespaces = self._namespaces()
        return self._all_namespaces

    def namespaces_changed(self) -> None:
        """Terms that select namespaces may mean others now: their counters are made anew."""
        self._all_namespaces = None
        self.forget()

    def forget(self) -> None:
        """Drop the counters of pods that match, to be made when asked for again; those of carriers stay."""
        self._counters.clear()
        self._by_namespace.clear()
        self._laid_out = -1
        self.version += 1

    def refresh(self) -> None:
        """Count all again where nodes changed since the last time."""
        if self._laid_out == self._table.version:
            return
        self._laid_out = self._table.version
        self.version += 1
        for counter in (*self._counters.values(), *self._carriers.values()):
            counter.lay_out(self._table)
        for group in self._groups.values():
            group.effects = []
        for group in self._groups.values():
            for kind, term in group.carried:
                self._carriers[kind, term].add(group)
        for counter in self._counters.values():
            for group in self._in(counter.namespaces):
                counter.add(group)
