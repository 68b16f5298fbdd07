"""What would make a pod fit: the fewest changes, found by search and proved by the plugins themselves.

A counterfactual search, node by node: while a filter refuses the pod there, one of the changes that `relaxations` knows
for that refusal must be made, so trying each in turn, to a depth of one, then two, and so on, finds every smallest set
(iterative deepening). A set counts only when all filters, asked anew about the changed pod and node, let it in. A node
that is not there yet, of the shape of one that is, counts as one change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sampan.machinery.objects import Object, changed
from sampan.scheduler.decide import Cycle
from sampan.scheduler.explain import ask_pre_filters, left_out, unbound, without
from sampan.scheduler.framework import Status
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.relaxations import Relaxation, fixes
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.terms import HOSTNAME

# More changes than these together are no advice any more.
MOST_CHANGES = 4
# So many nodes are searched, those with the fewest refusals; the others are left out, and that is told.
MOST_NODES = 200
NEW = "one-more-of-"


@dataclass(frozen=True, slots=True)
class Remedy:
    """Changes after which the pod fits on `node`; `shape` is a node whose like must be added first."""

    changes: tuple[Relaxation, ...]
    node: str
    shape: str = ""

    @property
    def size(self) -> int:
        return len(self.changes) + bool(self.shape)


@dataclass(frozen=True, slots=True)
class Found:
    """All smallest remedies; none where no set of at most MOST_CHANGES helps. `searched` of `nodes` were tried."""

    remedies: tuple[Remedy, ...]
    searched: int
    nodes: int


def remedies(profile: Profile, snapshot: Snapshot, pod: PodInfo, most: int = MOST_CHANGES) -> Found:
    """The smallest sets of changes after which the pod fits somewhere; an empty set where it fits as it is."""
    with without(snapshot, pod):
        search = _Search(profile, snapshot, unbound(pod))
        nodes = search.promising()
        shapes = list(_shapes(snapshot.nodes.values()))
        total = len(snapshot.nodes)
        for size in range(most + 1):
            found = [*search.on_nodes(nodes, size), *search.on_new(shapes, size)]
            if found:
                return Found(tuple(_cheapest(found)), len(nodes), total)
    return Found((), len(nodes), total)


class _Search:
    def __init__(self, profile: Profile, snapshot: Snapshot, pod: PodInfo) -> None:
        self.profile, self.snapshot, self.pod = profile, snapshot, pod
        # Asking all pods of the cluster is what costs: once for each changed pod, as long as no node changes.
        self._cycles: dict[frozenset[Relaxation], tuple[Cycle, dict[str, Status]]] = {}

    def promising(self) -> list[str]:
        """The nodes to search, those with the fewest refusals first."""
        cycle, refused = self._cycle(frozenset())
        listed = [(len(list(_verdicts(cycle, refused, n))), n.name) for n in self.snapshot.nodes.values()]
        return [name for _, name in sorted(listed)[:MOST_NODES]]

    def on_nodes(self, names: Iterable[str], size: int) -> Iterator[Remedy]:
        for name in names:
            for changes in self._deepen(name, frozenset(), size):
                yield Remedy(tuple(sorted(changes)), name)

    def on_new(self, shapes: Iterable[NodeInfo], size: int) -> Iterator[Remedy]:
        """Remedies with one more node: it counts as a change itself, so one fewer is left."""
        if size == 0:
            return
        for like in shapes:
            name = NEW + like.name
            self.snapshot.set_node(new_node(like.object, name))
            self._cycles.clear()
            for changes in self._deepen(name, frozenset(), size - 1):
                if not any(c.node for c in changes):
                    yield Remedy(tuple(sorted(changes)), name, like.name)
            self.snapshot.remove_node(name)
            self._cycles.clear()

    def _deepen(self, name: str, made: frozenset[Relaxation], left: int) -> Iterator[frozenset[Relaxation]]:
        """Every set of exactly `left` more changes that lets the pod onto the node, none of them superfluous."""
        refusal = self._first_refusal(name, made)
        if refusal is None:
            if left == 0:
                yield made
            return
        if left == 0:
            return
        plugin, status, pod, node = refusal
        seen = set()
        for change in fixes(plugin, status, pod, node):
            if change not in made:
                for found in self._deepen(name, made | {change}, left - 1):
                    if found not in seen:
                        seen.add(found)
                        yield found

    def _first_refusal(
        self, name: str, made: frozenset[Relaxation]
    ) -> tuple[str, Status, PodInfo, NodeInfo] | None:
        on_node = [c for c in made if c.node]
        old = self.snapshot.nodes[name].object
        if on_node:
            new = old
            for change in sorted(on_node):
                new = change.on_node(new)
            self.snapshot.set_node(new)
        try:
            cycle, refused = self._cycle(made)
            node = self.snapshot.nodes[name]
            for plugin, status in _verdicts(cycle, refused, node):
                return plugin, status, cycle.pod, node.clone()
            return None
        finally:
            if on_node:
                self.snapshot.set_node(old)

    def _cycle(self, made: frozenset[Relaxation]) -> tuple[Cycle, dict[str, Status]]:
        if any(c.node for c in made):
            return self._asked(made)
        if made not in self._cycles:
            self._cycles[made] = self._asked(made)
        return self._cycles[made]

    def _asked(self, made: frozenset[Relaxation]) -> tuple[Cycle, dict[str, Status]]:
        obj = self.pod.object
        # Indices count from the front, so what stands further back goes first.
        for change in sorted(made, reverse=True):
            obj = change.on_pod(obj)
        cycle = Cycle(self.profile, self.snapshot, PodInfo(obj) if made else self.pod)
        return cycle, ask_pre_filters(cycle)


def _verdicts(cycle: Cycle, refused: dict[str, Status], node: NodeInfo) -> Iterator[tuple[str, Status]]:
    """Every refusal of a node: by who refused the pod as a whole, who left the node out, and the filters."""
    yield from refused.items()
    if cycle.candidates is not None and node.name not in cycle.candidates:
        for name in sorted(cycle.narrowed):
            yield name, left_out(name)
    for plugin in cycle.profile.filter:
        if plugin.name not in cycle.skipped_filters and plugin.name not in refused:
            status = cycle.verdict(plugin, node)
            if status is not None:
                yield plugin.name, status


def new_node(like: Object, name: str) -> Object:
    """A node of the same shape: what it offers, its labels and taints; without pods, and not cordoned."""
    labels = {**(like["metadata"].get("labels") or {}), HOSTNAME: name}
    spec = {k: v for k, v in (like.get("spec") or {}).items() if k == "taints"}
    spec["taints"] = [t for t in spec.get("taints") or () if not t["key"].startswith("node.kubernetes.io/")]
    made = {**like, "metadata": {"name": name, "labels": labels}, "spec": spec}
    return changed(made, ("status", "images"), None)


def _shapes(nodes: Iterable[NodeInfo]) -> Iterator[NodeInfo]:
    """One node of each shape."""
    seen = set()
    for node in nodes:
        labels = {k: v for k, v in node.labels.items() if k != HOSTNAME}
        taints = sorted((t["key"], t.get("value") or "", t.get("effect") or "") for t in node.taints)
        shape = (
            frozenset(node.allocatable.items()), node.allowed_pods, frozenset(labels.items()), tuple(taints),
        )  # fmt: skip
        if shape not in seen:
            seen.add(shape)
            yield node


def _cheapest(found: list[Remedy]) -> list[Remedy]:
    """Of remedies that differ only in how much a request is lowered, those that lower it the least."""
    best: dict[object, Remedy] = {}
    rest = []
    for remedy in found:
        lowered = {c.what[0]: c.what[2] for c in remedy.changes if c.kind == "lower"}
        if not lowered:
            rest.append(remedy)
            continue
        others = tuple(c for c in remedy.changes if c.kind != "lower" and not c.node)
        on_node = tuple((c.kind, c.what) for c in remedy.changes if c.node)
        key = (others, on_node, tuple(sorted(lowered)), bool(remedy.shape))
        if key not in best or sum(lowered.values()) < _lowered(best[key]):
            best[key] = remedy
    return rest + list(best.values())


def _lowered(remedy: Remedy) -> int:
    return sum(c.what[2] for c in remedy.changes if c.kind == "lower")
