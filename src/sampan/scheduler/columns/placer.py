"""Where pods go, found in columns: the same decisions as `decide`, for clusters of many nodes.

A `Placer` follows a snapshot and changes nothing itself: who places a pod adds it to the snapshot, and the columns
learn it from there. What columns do not know is asked of the plugins in their plain form: volumes, devices and own
plugins on the nodes that remain; pods that name their node, and profiles without the usual filters, altogether.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sampan.machinery.objects import Object
from sampan.machinery.selectors import Selector, SelectorError
from sampan.scheduler.columns import native, twin
from sampan.scheduler.columns.counters import Census, Group
from sampan.scheduler.columns.frames import Frame, Scratch
from sampan.scheduler.columns.kinds import Kind, group_key, kind_of, same
from sampan.scheduler.columns.others import Others
from sampan.scheduler.columns.questions import Asker
from sampan.scheduler.columns.rules import Rules
from sampan.scheduler.columns.statics import Statics
from sampan.scheduler.columns.table import Flags, Table
from sampan.scheduler.columns.twin import Refusals
from sampan.scheduler.columns.verdicts import Verdicts
from sampan.scheduler.cycle import FEWEST
from sampan.scheduler.decide import Decision, decide
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins.node_resources_fit import device_resources
from sampan.scheduler.plugins.spread_constraints import default_selector
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.snapshot import (
    DEVICE_CLASSES,
    NAMESPACES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    Snapshot,
)
from sampan.scheduler.terms import NodeTermError

# The most pods of one run, and the most questions and kinds of pods that are kept.
MOST_RUN = 1024
MOST_KEPT = 4096
# So many nodes are taken in in one step.
STEP = 100
_OWNERS = (SERVICES, REPLICATION_CONTROLLERS, REPLICA_SETS, STATEFUL_SETS)


class Placer:
    """See the module. `kernel` is the native one unless the caller forbids it.

    An `empty` one knows of no node until it is told of one, or has gone through `fill`.
    """

    def __init__(
        self, snapshot: Snapshot, kernel: native.Place | str | None = "native", *, empty: bool = False
    ) -> None:
        self._snapshot = snapshot
        self._kernel: native.Place | None = native.load() if isinstance(kernel, str) else kernel
        self.table = Table()
        self._statics = Statics(self.table, snapshot.images)
        self._census = Census(self.table, snapshot.all_namespaces)
        self._scratch = Scratch()
        self._rows = (ctypes.c_int32 * MOST_RUN)()
        self._rows_at = ctypes.addressof(self._rows)
        # Grows with what else a question depends on: selectors of owners and services, device classes.
        self._owners = 0
        # Namespaces with services, and default selectors by the key of a group and by owner.
        self._served: set[str] = set()
        self._selectors: dict[Any, Selector | None] = {}
        self._owners_changed()
        # Extended resources that device classes provide.
        self._devices = device_resources(snapshot)
        # Rules by profile, None for those left to the plain path.
        self._rules: dict[int, tuple[Profile, Rules | None]] = {}
        # Frames by all that their question depends on, with the version of what they were made from.
        self._frames: dict[Any, tuple[int, Frame | None]] = {}
        snapshot.observe(self)
        for _ in () if empty else self.fill():
            pass

    def fill(self) -> Iterator[None]:
        """Take in the nodes that there are, some in each step; the snapshot may change between them."""
        for number, name in enumerate(list(self._snapshot.nodes), 1):
            node = self._snapshot.nodes.get(name)
            if node is not None and name not in self.table.row_of:
                self.node_changed(node)
            if number % STEP == 0:
                yield

    # What the snapshot tells

    def node_changed(self, node: NodeInfo) -> None:
        row, new = self.table.set_node(node)
        for pod in node.pods.values() if new else ():
            self._group(pod).count(row, 1)

    def node_removed(self, node: NodeInfo) -> None:
        if node.name not in self.table.row_of:
            return
        row = self.table.remove_node(node.name)
        for pod in node.pods.values():
            self._group(pod).count(row, -1)

    def pod_added(self, pod: PodInfo, node: NodeInfo) -> None:
        self._count(pod, node, 1)

    def pod_removed(self, pod: PodInfo, node: NodeInfo) -> None:
        self._count(pod, node, -1)

    def object_changed(self, resource: str, old: Object | None, new: Object | None) -> None:
        if resource == NAMESPACES and _labels(old) != _labels(new):
            self._census.namespaces_changed()
        elif resource in _OWNERS and _selector(old) != _selector(new):
            self._owners_changed()
        elif resource == DEVICE_CLASSES:
            self._devices = device_resources(self._snapshot)
            self._owners_changed()

    def _count(self, pod: PodInfo, node: NodeInfo, sign: int) -> None:
        row = self.table.row_of.get(node.name)
        if row is not None:
            self.table.count(row, pod, sign)
            self._census.count(self._group(pod), row, sign)

    def _group(self, pod: PodInfo) -> Group:
        return self._census.group(pod.group_key or group_key(pod), pod)

    # Deciding

    def place(self, profile: Profile, pod: PodInfo) -> Decision:
        """Where the pod should go. `statuses` are there when it can go nowhere; for `scores` see `verdicts`.

        Raises SchedulingError.
        """
        if found := self.place_run(profile, (pod,)):
            return Decision(pod, len(self._snapshot.nodes), found[0])
        verdicts = self._verdicts(profile, pod, everywhere=False)
        return verdicts.decision() if verdicts else decide(profile, self._snapshot, pod, scored=False)

    def place_run(self, profile: Profile, pods: Sequence[PodInfo]) -> list[str]:
        """Where equal pods go (see `kinds.same`), each placed as if those before it were bound.

        As many names as pods could be placed this way: the next one is to be asked for with `place`, which tells why
        not. Raises SchedulingError.
        """
        pod = pods[0]
        kind, rules = kind_of(pod), self._rules_of(profile)
        if rules is None or self._kernel is None or self._is_special(rules, pod, kind):
            return []
        frame = self._frame(rules, pod, kind)
        if frame is None:
            return []
        struck = self.table.taken(pod.host_ports) if pod.host_ports else ()
        placed = self._kernel(frame.ask(kind, struck), min(len(pods), MOST_RUN), self._rows_at)
        names = self.table.names
        return [names[row] for row in self._rows[:placed]]

    def alike(self, a: PodInfo, b: PodInfo) -> bool:
        """Whether two pods may be in one run."""
        return a.scheduler == b.scheduler and a.priority == b.priority and same(a, b)

    def verdicts(self, profile: Profile, pod: PodInfo) -> Verdicts | None:
        """What every plugin says of every node; None where only the plugins themselves can tell (see `Cycle`).

        Raises SchedulingError.
        """
        return self._verdicts(profile, pod, everywhere=True)

    # What a pod needs besides columns

    def _rules_of(self, profile: Profile) -> Rules | None:
        found = self._rules.get(id(profile))
        if found is None:
            found = self._rules[id(profile)] = (profile, Rules.of(profile))
        return found[1]

    def _is_left_to_plugins(self, pod: PodInfo) -> bool:
        """Pods that name their node, that devices may serve, or that cannot be read."""
        if pod.node or pod.fault:
            return True
        if not self._devices.isdisjoint(pod.requests):
            return True
        affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
        return any(term.get("matchFields") for term in required.get("nodeSelectorTerms") or ())

    def _is_special(self, rules: Rules, pod: PodInfo, kind: Kind) -> bool:
        """Whether more than columns must be asked."""
        return bool(rules.concerned(kind) or (self._snapshot.nominated and self._kept_for(pod)))

    def _kept_for(self, pod: PodInfo) -> list[NodeInfo]:
        """The nodes that are kept for other pods of no lower priority."""
        return [
            node
            for name, kept in self._snapshot.nominated.items()
            if (node := self._snapshot.nodes.get(name))
            and any(p.priority >= pod.priority and p.uid != pod.uid for p in kept.values())
        ]

    # Questions

    def _frame(self, rules: Rules, pod: PodInfo, kind: Kind) -> Frame | None:
        """The frame for pods of this kind; None for those that are left to the plugins."""
        self._census.refresh()
        group = self._census.group(kind.group, pod)
        default = self._default_selector(rules, pod, kind)
        own = kind.group if kind.social or default else b""
        key = (id(rules), kind.rest, own, default, self._census.signature(group))
        kept = self._frames.get(key)
        if kept is None or kept[0] != self._version(kind):
            if len(self._frames) > MOST_KEPT:
                self._frames.clear()
            frame = self._make(rules, pod, group, kind)
            # Making it may have made counters that count the pod itself: its signature is another one then.
            key = (*key[:4], self._census.signature(group))
            kept = self._frames[key] = (self._version(kind), frame)
        return kept[1]

    def _default_selector(self, rules: Rules, pod: PodInfo, kind: Kind) -> Selector | None:
        """What selects the pod's like, where constraints for pods without their own need it."""
        if not rules.spread.defaults or pod.spec.get("topologySpreadConstraints"):
            return None
        if kind.owner is None and pod.namespace not in self._served:
            return None
        key = (kind.group, kind.owner)
        if key not in self._selectors:
            if len(self._selectors) > MOST_KEPT:
                self._selectors.clear()
            self._selectors[key] = default_selector(pod, self._snapshot) or None
        return self._selectors[key]

    def _owners_changed(self) -> None:
        self._owners += 1
        self._selectors.clear()
        self._served = {s["metadata"].get("namespace", "") for s in self._snapshot.list(SERVICES)}

    def _version(self, kind: Kind) -> int:
        """What a frame depends on: the sum of numbers that only grow."""
        images = self.table.images_version(kind.images)
        return self.table.version + images + self._census.version + self._owners

    def _make(self, rules: Rules, pod: PodInfo, group: Group, kind: Kind) -> Frame | None:
        if self._is_left_to_plugins(pod):
            return None
        asker = Asker(rules, self._snapshot, self.table, self._statics, self._census)
        try:
            question = asker.question(pod, group, kind)
        except (SelectorError, NodeTermError):
            # The plugins say what is wrong with it.
            return None
        self._scratch.fit(self.table)
        return Frame(question, rules, self.table, self._scratch, group)

    # Reasons

    def _verdicts(self, profile: Profile, pod: PodInfo, *, everywhere: bool) -> Verdicts | None:
        """With the other plugins' verdicts on all nodes, or on as many as are needed; None: see `verdicts`."""
        kind, rules = kind_of(pod), self._rules_of(profile)
        frame = self._frame(rules, pod, kind) if rules else None
        if rules is None or frame is None:
            return None
        others = Others(rules, self._snapshot, pod, everyone=everywhere)
        if others.is_narrowed:
            return None
        table, question = self.table, frame.question
        if others.rejected:
            return Verdicts(pod, list(table.names), {}, np.zeros(0, np.int64), rejected=others.rejected)
        refusals = twin.refusals(question, kind, table, pod.host_ports)
        others.refuse_kept(refusals, table, self._kept_for(pod))
        alive = table.alive[: table.rows]
        feasible = np.flatnonzero(_left(alive, refusals))
        if others.concerned and not everywhere:
            total = twin.scores(question, kind, rules, table, feasible).total(len(feasible))
            best_first = feasible[np.argsort(-total, kind="stable")]
            feasible = others.refuse_until(refusals, table, best_first, enough(len(table.row_of)))
        if others.concerned and (everywhere or not len(feasible)):
            # Whoever comes first in the order of filters is who refuses a node.
            asked = alive if everywhere else _left(alive, others.before(refusals))
            others.refuse(refusals, table, np.flatnonzero(asked))
            feasible = np.flatnonzero(_left(alive, refusals))
        ordered = {p.name: refusals[p.name] for p in profile.filter if p.name in refusals}
        verdicts = Verdicts(pod, list(table.names), ordered, feasible)
        if len(feasible):
            verdicts.scores = twin.scores(question, kind, rules, table, feasible)
            others.score(table, verdicts)
        return verdicts


def enough(nodes: int) -> int:
    """How many feasible nodes are enough for a pod that other plugins must look at, one node at a time.

    As upstream's by default; the nodes that columns find best are asked first.
    """
    if nodes < FEWEST:
        return FEWEST
    return max(FEWEST, nodes * max(5, 50 - nodes // 125) // 100)


def _left(alive: Flags, refusals: Mapping[str, Refusals]) -> Flags:
    """The rows that nobody refuses."""
    found = alive.copy()
    for one in refusals.values():
        found &= one.index < 0
    return found


def _labels(namespace: Object | None) -> Object | None:
    return None if namespace is None else namespace["metadata"].get("labels") or {}


def _selector(owner: Object | None) -> Any:
    return None if owner is None else (owner.get("spec") or {}).get("selector")
