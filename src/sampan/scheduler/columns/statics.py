"""What a node is to a whole kind of pods: filters and scores that only labels, taints and images decide.

Worked out once for all nodes and kept until a node changes (`Table.version`). Selectors are tried on each value that a
label has, tolerations on each set of taints that there is, not on each node.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from sampan.machinery.objects import Object
from sampan.machinery.placement import UNSCHEDULABLE, tolerates
from sampan.machinery.selectors import EQUAL, Requirement
from sampan.scheduler.columns.table import Flags, Ints, Longs, Table
from sampan.scheduler.plugins.image_locality import LEAST, MOST_BY_CONTAINER
from sampan.scheduler.terms import NodeTerm, RequiredNodes

CORDON = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
SOFT = "PreferNoSchedule"
T = TypeVar("T")
# So many bytes of answers are kept, about: the longest has eight for each row.
MOST_BYTES = 1 << 27


@dataclass(frozen=True, slots=True)
class Tainted:
    """Rows that tolerations do not bear: cordoned, tainted; and how many soft taints each row has for them."""

    cordoned: Flags
    refused: Flags
    soft: Ints


class Statics:
    """The kept answers. `images` says which nodes hold an image."""

    def __init__(self, table: Table, images: Mapping[str, set[str]]) -> None:
        self._table, self._images = table, images
        self._kept: dict[Hashable, object] = {}
        self._version = -1

    def _keep(self, key: Hashable, make: Callable[[], T]) -> T:
        most = max(64, MOST_BYTES // (8 * self._table.capacity))
        if self._version != self._table.version or len(self._kept) > most:
            self._kept.clear()
            self._version = self._table.version
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]  # type: ignore[return-value]

    # Taints

    def tainted(self, tolerations: Iterable[Object]) -> Tainted:
        borne = list(tolerations)
        return self._keep(("taints", toleration_key(borne)), lambda: self._tainted(borne))

    def _tainted(self, borne: list[Object]) -> Tainted:
        table = self._table
        refused = np.zeros(max(1, len(table.taints)), np.bool_)
        soft = np.zeros(len(refused), np.int32)
        for number, taints in enumerate(table.taints):
            for key, value, effect in taints:
                taint = {"key": key, "value": value, "effect": effect}
                if not any(tolerates(t, taint) for t in borne):
                    refused[number] |= effect in ("NoSchedule", "NoExecute")
                    soft[number] += effect == SOFT
        cordoned = np.zeros(table.capacity, np.bool_)
        if not any(tolerates(t, CORDON) for t in borne):
            cordoned = table.unschedulable.copy()
        return Tainted(cordoned, refused[table.taint_set], soft[table.taint_set])

    def refused(
        self, tolerations: Iterable[Object], required: RequiredNodes, added: tuple[NodeTerm, ...] | None
    ) -> Ints:
        """-1 for rows that taints, cordons or node affinity refuse, and for free ones; 0 for the others."""
        borne = list(tolerations)
        return self._keep(
            ("refused", toleration_key(borne), required, added), lambda: self._refused(borne, required, added)
        )

    def _refused(
        self, borne: list[Object], required: RequiredNodes, added: tuple[NodeTerm, ...] | None
    ) -> Ints:
        tainted = self.tainted(borne)
        refused = tainted.cordoned | tainted.refused | ~self.allowed(required) | ~self._table.alive
        if added is not None:
            refused |= ~self.any_of(added)
        return -refused.astype(np.int32)

    # Labels

    def allowed(self, required: RequiredNodes) -> Flags:
        """The rows that a pod's nodeSelector and required node affinity allow."""
        return self._keep(("required", required), lambda: self._allowed(required))

    def _allowed(self, required: RequiredNodes) -> Flags:
        found = np.ones(self._table.capacity, np.bool_)
        for key, value in required.selector:
            found &= self._meets(Requirement(key, EQUAL, (value,)))
        if required.terms is not None:
            found &= self.any_of(required.terms)
        return found

    def any_of(self, terms: tuple[NodeTerm, ...]) -> Flags:
        """The rows that meet one of the terms."""
        return self._keep(("any", terms), lambda: self._any_of(terms))

    def _any_of(self, terms: tuple[NodeTerm, ...]) -> Flags:
        found = np.zeros(self._table.capacity, np.bool_)
        for term in terms:
            found |= self._meets_term(term)
        return found

    def preferred(self, terms: tuple[NodeTerm, ...]) -> Ints:
        """The weights of the terms that each row meets."""
        return self._keep(("preferred", terms), lambda: self._preferred(terms))

    def _preferred(self, terms: tuple[NodeTerm, ...]) -> Ints:
        found = np.zeros(self._table.capacity, np.int32)
        for term in terms:
            found += self._meets_term(term) * np.int32(term.weight)
        return found

    def _meets_term(self, term: NodeTerm) -> Flags:
        found = np.ones(self._table.capacity, np.bool_)
        for requirement in term.labels:
            found &= self._meets(requirement)
        for row, node in enumerate(self._table.nodes if term.fields else ()):
            found[row] &= node is not None and all(
                r.matches({"metadata.name": node.name}) for r in term.fields
            )
        return found

    def _meets(self, requirement: Requirement) -> Flags:
        domain = self._table.domain(requirement.key)
        verdicts = [requirement.matches({})]
        verdicts += [requirement.matches({requirement.key: value}) for value in domain.values]
        found: Flags = np.array(verdicts, np.bool_)[domain.of_row]
        return found

    def keyed(self, keys: Iterable[str]) -> Flags:
        """The rows that have all these labels."""
        found = self._table.alive.copy()
        for key in keys:
            found &= self._table.domain(key).of_row > 0
        return found

    # Images

    def images(self, names: tuple[str, ...]) -> Longs:
        """The score of ImageLocality for a pod with these images."""
        return self._keep(
            ("images", names, self._table.images_version(names)), lambda: self._image_score(names)
        )

    def _image_score(self, names: tuple[str, ...]) -> Longs:
        table = self._table
        held = np.zeros(table.capacity, np.int64)
        total = len(table.row_of)
        for name in names:
            holders = self._images.get(name, set())
            share = len(holders) / total
            for row in map(table.row_of.__getitem__, holders):
                node = table.nodes[row]
                held[row] += int(float(node.images[name]) * share) if node else 0
        most = MOST_BY_CONTAINER * len(names)
        return 100 * (np.clip(held, LEAST, most) - LEAST) // (most - LEAST)


def toleration_key(tolerations: Iterable[Object]) -> Hashable:
    """Tolerations as a key of a dictionary."""
    return tuple((t.get("key"), t.get("operator"), t.get("value"), t.get("effect")) for t in tolerations)
