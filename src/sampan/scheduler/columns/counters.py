"""Who stands where: pods counted by topology domain, for spreading and for affinity between pods.

Pods that are alike in namespace, labels and terms form a `Group`, so that a selector is tried once for each group
and not for each pod. A `Counter` holds, for each domain of one topology key, how many pods that matter stand there; a
pod that comes or goes changes one number in each counter of its group (`Group.effects`).

There are counters of pods that match (terms and constraints of pods to be placed) and of pods that carry a term (which
the pods to be placed are matched with). Counters are made when first asked for, and counted again when nodes changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from sampan.machinery.selectors import EQUAL, IN, Selector
from sampan.scheduler.columns.table import Column, Domain, Flags, Ints, Table
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.terms import AffinityTerm, Labels

# The lists of terms that a pod may carry.
REQUIRED, APART, PREFERRED, AVOIDED = (
    "required_affinity", "required_anti_affinity", "preferred_affinity", "preferred_anti_affinity",
)  # fmt: skip
KINDS = (REQUIRED, APART, PREFERRED, AVOIDED)
# From so many groups on, those without pods are dropped; from so many bytes on, counters that nobody may need.
MANY_GROUPS = 4096
MANY_BYTES = 1 << 28
T = TypeVar("T")


class Group:
    """Pods alike in all that others look at; `rows` says how many stand on each row.

    `effects` are the counters that each of them is counted in, and how often; `wanted`, the counters of terms that
    mean them, as of so many carriers (`wanted_of`).
    """

    __slots__ = (
        "carried",
        "effects",
        "labels",
        "namespace",
        "rows",
        "signature",
        "terminating",
        "wanted",
        "wanted_of",
    )

    def __init__(self, pod: PodInfo) -> None:
        self.namespace, self.labels, self.terminating = pod.namespace, pod.labels, pod.terminating
        self.rows: dict[int, int] = {}
        self.effects: list[tuple[Counter, int]] = []
        self.carried: dict[tuple[str, AffinityTerm], int] = {}
        self.wanted: tuple[Carrier, ...] = ()
        self.wanted_of = -1
        # The same for groups that are judged and counted alike; empty until it is worked out.
        self.signature: tuple[int, ...] = ()
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

    `amount` says how often one pod of a group counts. `eligible` gives the rows whose pods count, None for all.
    """

    def __init__(
        self,
        domain: Domain | None,
        amount: Callable[[Group], int],
        eligible: Callable[[], Flags] | None = None,
    ) -> None:
        self.domain, self.amount, self._eligible = domain, amount, eligible
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

    @property
    def size(self) -> int:
        """Its bytes, about."""
        own = 0 if self._eligible is None or self.seat is None else self.seat.nbytes
        return 1024 + self.counts.array.nbytes + own

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
            group.signature = ()
            for row, pods in group.rows.items():
                self.count(row, amount * pods)

    def count(self, row: int, amount: int) -> None:
        if self._seats is None:
            self.counts.view[row] += amount
        elif seat := self._seats[row]:
            self.counts.view[seat] += amount


@dataclass(frozen=True, slots=True)
class Carrier:
    """A term that pods carry, in one of their lists, and where they stand."""

    kind: str
    term: AffinityTerm
    counter: Counter


class Index(Generic[T]):
    """Things that mean pods, by the namespaces of these and by one label that they must have."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str | None, str, str], list[T]] = {}

    def put(self, namespaces: Iterable[str] | None, selector: Selector, thing: T) -> None:
        """Namespaces are None where pods of all may be meant."""
        for namespace in (None,) if namespaces is None else namespaces:
            self._kept.setdefault((namespace, *one_label(selector)), []).append(thing)

    def find(self, namespace: str, labels: Labels) -> Iterator[T]:
        """Those that may mean a pod."""
        for space in (namespace, None):
            yield from self._kept.get((space, "", ""), ())
            for key, value in labels.items():
                yield from self._kept.get((space, key, value), ())


def one_label(selector: Selector) -> tuple[str, str]:
    """A label that a pod must have to be selected; empty where there is none."""
    for requirement in selector.requirements:
        if requirement.operator in (EQUAL, IN) and len(requirement.values) == 1:
            return requirement.key, requirement.values[0]
    return "", ""


class Census:
    """All groups and counters of a cluster. `version` grows when all counters are laid out anew."""

    def __init__(self, table: Table, namespaces: Callable[[], Mapping[str, Labels]]) -> None:
        self._table, self._namespaces = table, namespaces
        self.version = 0
        self._laid_out = -1
        self._groups: dict[bytes, Group] = {}
        # Groups by namespace and label; the empty label has all of the namespace.
        self._by_label: dict[tuple[str, str, str], list[Group]] = {}
        self._most_groups, self._most_bytes = MANY_GROUPS, MANY_BYTES
        self._bytes = 0
        self._counters: dict[Any, Counter] = {}
        self._index: Index[Counter] = Index()
        self._carriers: dict[tuple[str, AffinityTerm], Carrier] = {}
        self._carried: Index[Carrier] = Index()
        self._all_namespaces: Mapping[str, Labels] | None = None

    # Groups

    def group(self, key: bytes, pod: PodInfo) -> Group:
        """The group with this key, made from its first pod."""
        found = self._groups.get(key)
        if found is None:
            if len(self._groups) >= self._most_groups:
                self._drop_empty()
            found = self._groups[key] = Group(pod)
            self._file(found)
            for counter in self._index.find(found.namespace, found.labels):
                counter.add(found)
            for kind, term in found.carried:
                self._carrier(kind, term).counter.add(found)
        return found

    def _file(self, group: Group) -> None:
        for label in (("", ""), *group.labels.items()):
            self._by_label.setdefault((group.namespace, *label), []).append(group)

    def _drop_empty(self) -> None:
        self._groups = {key: group for key, group in self._groups.items() if group.rows}
        self._most_groups = max(MANY_GROUPS, 2 * len(self._groups))
        self._by_label.clear()
        for group in self._groups.values():
            self._file(group)

    def count(self, group: Group, row: int, sign: int) -> None:
        """A pod of the group came to a row, or left it."""
        group.count(row, sign)
        if self._laid_out == self._table.version:
            for counter, amount in group.effects:
                counter.count(row, sign * amount)

    def signature(self, group: Group) -> tuple[int, ...]:
        """The same for two groups if the same counters judge and count their pods."""
        if not group.signature or group.wanted_of != len(self._carriers):
            wanted, effects = self.wanted(group), group.effects
            counted = (n for counter, amount in effects for n in (id(counter), amount))
            group.signature = (len(effects), *counted, *(id(carrier.counter) for carrier in wanted))
        return group.signature

    # Counters of pods that match

    def matching(self, terms: tuple[AffinityTerm, ...], domain: Domain) -> Counter:
        """Pods that every one of these terms means, by the domains of one label."""
        found = self._counters.get(("match", terms, domain.key))
        if found is not None:
            return found
        resolved = [term.resolved(self.namespaces()) for term in terms]

        def amount(group: Group) -> int:
            return int(all(term.matches(group.namespace, group.labels, None) for term in resolved))

        first = min(resolved, key=lambda term: not one_label(term.selector)[0])
        namespaces = first.namespaces if first.namespace_selector.nothing else None
        return self._keep(("match", terms, domain.key), Counter(domain, amount), namespaces, first.selector)

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
        key = ("spread", namespace, selector, domain and domain.key, nodes)
        found = self._counters.get(key)
        if found is not None:
            return found

        def amount(group: Group) -> int:
            counts = bool(selector.requirements) and not group.terminating
            return int(counts and group.namespace == namespace and selector.matches(group.labels))

        return self._keep(key, Counter(domain, amount, eligible), (namespace,), selector)

    def _keep(
        self, key: Any, counter: Counter, namespaces: Iterable[str] | None, selector: Selector
    ) -> Counter:
        """Count all that stand already, and from now on those that come."""
        self._counters[key] = counter
        self._index.put(namespaces, selector, counter)
        counter.lay_out(self._table)
        self._bytes += counter.size
        label = one_label(selector)
        for namespace in {space for space, *_ in self._by_label} if namespaces is None else namespaces:
            for group in self._by_label.get((namespace, *label), ()):
                counter.add(group)
        return counter

    # Counters of pods that carry terms

    def _carrier(self, kind: str, term: AffinityTerm) -> Carrier:
        found = self._carriers.get((kind, term))
        if found is None:
            domain = self._table.domain(term.topology_key)
            counter = Counter(domain, lambda group: group.carried.get((kind, term), 0))
            counter.lay_out(self._table)
            self._bytes += counter.size
            found = self._carriers[kind, term] = Carrier(kind, term, counter)
            namespaces = term.namespaces if term.namespace_selector.nothing else None
            self._carried.put(namespaces, term.selector, found)
        return found

    def wanted(self, group: Group) -> tuple[Carrier, ...]:
        """The terms that pods carry and that mean the pods of a group."""
        if group.wanted_of != len(self._carriers):
            labels = self.namespaces().get(group.namespace)
            maybe = self._carried.find(group.namespace, group.labels)
            group.wanted = tuple(c for c in maybe if c.term.matches(group.namespace, group.labels, labels))
            group.wanted_of = len(self._carriers)
        return group.wanted

    # Changes

    def namespaces(self) -> Mapping[str, Labels]:
        if self._all_namespaces is None:
            self._all_namespaces = self._namespaces()
        return self._all_namespaces

    def namespaces_changed(self) -> None:
        """Terms that select namespaces may mean others now: all counters are made anew."""
        self._all_namespaces = None
        self.forget()

    def forget(self) -> None:
        """Drop all counters; those of carriers are made anew, the others when they are asked for."""
        self._counters.clear()
        self._carriers.clear()
        self._bytes = 0
        self._index, self._carried = Index(), Index()
        self._drop_empty()
        for group in self._groups.values():
            group.wanted_of = -1
            for kind, term in group.carried:
                self._carrier(kind, term)
        self._laid_out = -1

    def refresh(self) -> None:
        """Count all again where nodes changed since the last time; first of all, when it is time, tidy up."""
        if self._bytes > self._most_bytes:
            self.forget()
            self._most_bytes = max(MANY_BYTES, 2 * self._bytes)
        if self._laid_out == self._table.version:
            return
        self._laid_out = self._table.version
        self.version += 1
        for group in self._groups.values():
            group.effects, group.signature = [], ()
        for carrier in self._carriers.values():
            carrier.counter.lay_out(self._table)
        for counter in self._counters.values():
            counter.lay_out(self._table)
        for group in self._groups.values():
            for counter in self._index.find(group.namespace, group.labels):
                counter.add(group)
            for kind, term in group.carried:
                self._carriers[kind, term].counter.add(group)
