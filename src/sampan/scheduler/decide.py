"""One pod's way through the plugins of its profile: which nodes it may go to, and how good each is.

`decide` looks at every node; `Cycle` is the same in single steps, for who asks more (preemption, explain, the
loop with its extenders and sampling). Nothing here waits, reads a clock or draws a lot: among the best nodes the
first by name is taken.

Source: pkg/scheduler/schedule_one.go and framework/runtime/framework.go of 1.37.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.scheduler.framework import (
    MAX_SCORE,
    MIN_SCORE,
    Code,
    FilterPlugin,
    NodeScore,
    NormalizePlugin,
    PreFiltered,
    PreFilterExtensions,
    PreScorePlugin,
    ScorePlugin,
    Status,
    failed,
    unresolvable,
)
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.snapshot import Snapshot


class SchedulingError(Exception):
    """A plugin failed; the text says which and why. The pod is soon tried again."""

    def __init__(self, message: str, plugin: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin


@dataclass(slots=True)
class Decision:
    """What came out for a pod: the node, or why none; and for each node its verdict or its scores.

    `rejected` is set where pre_filter refused the pod as a whole; `statuses` hold the verdict of each node that
    was looked at and refused, `absent` that of the nodes which pre_filter left out.
    """

    pod: PodInfo
    nodes: int
    node: str = ""
    rejected: Status | None = None
    absent: Status | None = None
    statuses: dict[str, Status] = field(default_factory=dict)
    scores: list[NodeScore] = field(default_factory=list)
    # The plugins that refused the pod or a node, for the queue's hints.
    plugins: set[str] = field(default_factory=set)

    @property
    def best(self) -> list[str]:
        """The nodes with the highest total."""
        top = max((s.total for s in self.scores), default=0)
        return [s.node for s in self.scores if s.total == top]

    def message(self, post_filter: str = "") -> str:
        """Why the pod has no node: `0/3 nodes are available: 3 Insufficient cpu.`"""
        if not self.nodes:
            return "no nodes available to schedule pods"
        parts = [f"0/{self.nodes} nodes are available:"]
        if self.rejected:
            parts.append(f"{self.rejected.message}.")
        elif found := histogram(self.statuses.values(), self.absent, self.nodes - len(self.statuses)):
            parts.append(f"{found}.")
        if post_filter:
            parts.append(post_filter)
        return " ".join(parts)


def histogram(statuses: Iterable[Status], absent: Status | None = None, times: int = 0) -> str:
    """Each reason with how many nodes gave it, in the order of the texts."""
    counts = Counter(reason for status in statuses for reason in status.reasons)
    for reason in absent.reasons if absent and times else ():
        counts[reason] += times
    return ", ".join(sorted(f"{n} {reason}" for reason, n in counts.items()))


class Cycle:
    """One pod, one snapshot, one profile: the states of the plugins on the way, in upstream's order of steps."""

    def __init__(self, profile: Profile, snapshot: Snapshot, pod: PodInfo) -> None:
        self.profile, self.snapshot, self.pod = profile, snapshot, pod
        # By plugin: what pre_filter worked out, and what pre_score did.
        self.states: dict[str, Any] = {}
        self.score_states: dict[str, Any] = {}
        self.skipped_filters: set[str] = set()
        self.skipped_scores: set[str] = set()
        # The only nodes to look at, None for all, and the plugins that said so.
        self.candidates: frozenset[str] | None = None
        self.narrowed: set[str] = set()

    def pre_filter(self) -> Status | None:
        """Let each plugin look at the pod; a status means that no node will do. Raises SchedulingError."""
        refused: Status | None = None
        for plugin in self.profile.pre_filter:
            found = plugin.pre_filter(self.pod, self.snapshot)
            if isinstance(found, Status):
                if found.code is Code.SKIP:
                    self.skipped_filters.add(plugin.name)
                elif found.code is Code.UNRESOLVABLE:
                    return found.of(plugin.name)
                elif found.code is Code.UNSCHEDULABLE:
                    # The others still prepare themselves, for preemption.
                    refused = found.of(plugin.name)
                else:
                    fault = f'running PreFilter plugin "{plugin.name}": {found.message}'
                    raise SchedulingError(fault, plugin.name)
            elif found is not None:
                self.states[plugin.name] = found.state
                if status := self._narrow(plugin.name, found):
                    return status
        return refused

    def _narrow(self, plugin: str, found: PreFiltered) -> Status | None:
        if found.nodes is None:
            return None
        self.narrowed.add(plugin)
        self.candidates = found.nodes if self.candidates is None else self.candidates & found.nodes
        if self.candidates:
            return None
        names = sorted(self.narrowed)
        if len(names) == 1:
            return unresolvable(f"node(s) didn't satisfy plugin {names[0]}")
        return unresolvable(f"node(s) didn't satisfy plugin(s) [{' '.join(names)}] simultaneously")

    def nodes(self) -> Iterable[NodeInfo]:
        """The nodes to look at after pre_filter."""
        if self.candidates is None:
            return self.snapshot.nodes.values()
        return [node for name in sorted(self.candidates) if (node := self.snapshot.nodes.get(name))]

    @property
    def absent(self) -> Status | None:
        """The verdict of the nodes that pre_filter left out."""
        if self.candidates is None:
            return None
        return unresolvable(f"node(s) didn't satisfy plugin(s) [{' '.join(sorted(self.narrowed))}]")

    def filter(self, node: NodeInfo, states: Mapping[str, Any] | None = None) -> Status | None:
        """The first verdict against the node; `states` other than the cycle's own ask what would be."""
        if states is None:
            states = self.states
        for plugin in self.profile.filter:
            if plugin.name not in self.skipped_filters and (found := self.verdict(plugin, node, states)):
                return found
        return None

    def verdict(
        self, plugin: FilterPlugin, node: NodeInfo, states: Mapping[str, Any] | None = None
    ) -> Status | None:
        """One plugin's verdict on the node."""
        found = plugin.filter((self.states if states is None else states).get(plugin.name), self.pod, node)
        if found is None or found.code is Code.SUCCESS:
            return None
        if not found.rejected:
            return failed(f'running "{plugin.name}" filter plugin: {found.message}').of(plugin.name)
        return found.of(plugin.name)

    def filter_with_nominated(self, node: NodeInfo, states: Mapping[str, Any] | None = None) -> Status | None:
        """As `filter`, with and without the pods of no lower priority that the node is kept for."""
        nominated = self.snapshot.nominated.get(node.name) or {}
        ahead = [p for p in nominated.values() if p.priority >= self.pod.priority and p.uid != self.pod.uid]
        if ahead:
            cloned, copy = self.clone_states(states), node.clone()
            for other in ahead:
                self.add_pod(cloned, other, copy)
            if found := self.filter(copy, cloned):
                return found
        return self.filter(node, states)

    def clone_states(self, states: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The plugins' states (the cycle's own, or others), to be changed by add_pod and remove_pod."""
        given = self.states if states is None else states
        return {name: state.clone() if hasattr(state, "clone") else state for name, state in given.items()}

    def add_pod(self, states: Mapping[str, Any], other: PodInfo, node: NodeInfo) -> None:
        """As if `other` came to `node`, a clone, which is changed."""
        node.add_pod(other)
        for plugin in self._extended():
            plugin.add_pod(states.get(plugin.name), self.pod, other, node)

    def remove_pod(self, states: Mapping[str, Any], other: PodInfo, node: NodeInfo) -> None:
        """As if `other` left `node`, a clone, which is changed."""
        node.remove_pod(other.uid)
        for plugin in self._extended():
            plugin.remove_pod(states.get(plugin.name), self.pod, other, node)

    def _extended(self) -> Iterable[PreFilterExtensions]:
        for plugin in self.profile.pre_filter:
            if plugin.name not in self.skipped_filters and isinstance(plugin, PreFilterExtensions):
                yield plugin

    def score(self, nodes: Sequence[NodeInfo]) -> list[NodeScore]:
        """The scores of the feasible nodes, in their order. Raises SchedulingError."""
        self.pre_score(nodes)
        result = [NodeScore(node.name) for node in nodes]
        for plugin in self.profile.score:
            if plugin.name in self.skipped_scores:
                continue
            raw = self.raw_scores(plugin, nodes)
            weight = self.profile.weights.get(plugin.name, 1)
            for found, value, normal in zip(result, raw, self.normalized(plugin, nodes, raw), strict=True):
                found.raw[plugin.name] = value
                found.scores[plugin.name] = normal * weight
                found.total += normal * weight
        return result

    def pre_score(self, nodes: Sequence[NodeInfo]) -> None:
        for plugin in self.profile.pre_score:
            found = plugin.pre_score(self.states.get(plugin.name), self.pod, nodes, self.snapshot)
            if not isinstance(found, Status):
                self.score_states[plugin.name] = found
            elif found.code is Code.SKIP:
                self.skipped_scores.add(plugin.name)
            else:
                raise SchedulingError(f'running PreScore plugin "{plugin.name}": {found.message}')

    def raw_scores(self, plugin: ScorePlugin, nodes: Sequence[NodeInfo]) -> list[int]:
        states = self.score_states if isinstance(plugin, PreScorePlugin) else self.states
        state, result = states.get(plugin.name), []
        for node in nodes:
            found = plugin.score(state, self.pod, node)
            if isinstance(found, Status):
                raise SchedulingError(
                    f'running Score plugins: plugin "{plugin.name}" failed with: {found.message}'
                )
            result.append(found)
        return result

    def normalized(self, plugin: ScorePlugin, nodes: Sequence[NodeInfo], raw: list[int]) -> list[int]:
        if not isinstance(plugin, NormalizePlugin):
            found = raw
        else:
            state = self.score_states.get(plugin.name, self.states.get(plugin.name))
            found = plugin.normalize(state, self.pod, nodes, list(raw))
        for value in found:
            if not MIN_SCORE <= value <= MAX_SCORE:
                raise SchedulingError(
                    f'plugin "{plugin.name}" returns an invalid score {value}, '
                    f"it should in the range of [{MIN_SCORE}, {MAX_SCORE}] after normalizing"
                )
        return found


def decide(profile: Profile, snapshot: Snapshot, pod: PodInfo, *, scored: bool = True) -> Decision:
    """Where the pod should go, all nodes looked at. Raises SchedulingError.

    Unless its scores are wanted (`scored`), a node that is the only feasible one is taken without.
    """
    cycle = Cycle(profile, snapshot, pod)
    decision = Decision(pod, len(snapshot.nodes))
    if rejected := cycle.pre_filter():
        decision.rejected = rejected
        decision.plugins.update({rejected.plugin} if rejected.plugin else cycle.narrowed)
        return decision
    decision.absent = cycle.absent
    decision.plugins.update(cycle.narrowed)
    feasible: list[NodeInfo] = []
    for node in cycle.nodes():
        if (found := cycle.filter_with_nominated(node)) is None:
            feasible.append(node)
        elif found.code is Code.ERROR:
            raise SchedulingError(found.message)
        else:
            decision.statuses[node.name] = found
            decision.plugins.add(found.plugin)
    if len(feasible) == 1 and not scored:
        decision.node = feasible[0].name
    elif feasible:
        decision.scores = cycle.score(feasible)
        decision.node = min(decision.best)
    return decision
