"""The strategies: each names the pods that it would rather see elsewhere, in the order in which it would move them.

A strategy is a function of a snapshot, its arguments and the time, and changes nothing. Between its candidates the
snapshot changes, as those that are to go leave their nodes, so each is a generator that looks again as it goes on.

Source: https://github.com/kubernetes-sigs/descheduler, docs/user-guide and pkg/framework/plugins.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.machinery import selectors, times
from sampan.machinery.objects import owner
from sampan.machinery.placement import tolerates
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.terms import AffinityTerm

PODS = "pods"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod that had better go from `node`, and why. `onto` says which nodes would be better; None for any other."""

    pod: PodInfo
    node: str
    reason: str
    onto: Callable[[NodeInfo], bool] | None = None
    # Whether it may come back to the same node: it is to be made anew, wherever.
    anew: bool = False


Arguments = Mapping[str, Any]
Strategy = Callable[[Snapshot, Arguments, float], Iterator[Candidate]]


# How full nodes are


def share(node: NodeInfo, name: str) -> float:
    """What of a resource is requested, in percent; `pods` counts pods."""
    taken = len(node.pods) if name == PODS else node.requested.get(name, 0)
    there = node.allowed_pods if name == PODS else node.allocatable.get(name, 0)
    return 100 * taken / there if there else 0.0


def below(node: NodeInfo, thresholds: Mapping[str, float]) -> bool:
    return all(share(node, name) <= limit for name, limit in thresholds.items())


def above(node: NodeInfo, thresholds: Mapping[str, float]) -> bool:
    return any(share(node, name) > limit for name, limit in thresholds.items())


def low_node_utilization(snapshot: Snapshot, arguments: Arguments, now: float) -> Iterator[Candidate]:
    """Nodes above `targetThresholds` give pods to nodes below `thresholds`, the fullest first."""
    low, target = arguments.get("thresholds") or {}, arguments.get("targetThresholds") or {}
    empty = {n.name for n in snapshot.nodes.values() if not n.unschedulable and below(n, low)}
    if not target or len(empty) <= arguments.get("numberOfNodes", 0):
        return
    full = [n for n in snapshot.nodes.values() if above(n, target)]
    for node in sorted(full, key=lambda n: -sum(share(n, r) for r in target)):
        for pod in _least_important(node):
            if not above(node, target):
                break
            fullest = max(target, key=lambda r: share(node, r) - target[r])
            why = f"{fullest} on {node.name} is {share(node, fullest):.0f} % requested, over {target[fullest]} %"
            yield Candidate(pod, node.name, why, lambda n: n.name in empty and not above(n, target))


def high_node_utilization(snapshot: Snapshot, arguments: Arguments, now: float) -> Iterator[Candidate]:
    """Nodes below `thresholds` are emptied onto the others, the emptiest first, so that they can be given up."""
    limits = arguments.get("thresholds") or {}
    low = [n for n in snapshot.nodes.values() if limits and below(n, limits)]
    if len(low) <= arguments.get("numberOfNodes", 0) or len(low) == len(snapshot.nodes):
        return
    names = {n.name for n in low}
    for node in sorted(low, key=lambda n: sum(share(n, r) for r in limits)):
        for pod in _least_important(node):
            why = f"{node.name} is hardly used, and could be given up"
            yield Candidate(pod, node.name, why, lambda n: n.name not in names)


def _least_important(node: NodeInfo) -> list[PodInfo]:
    return sorted(node.pods.values(), key=lambda pod: (pod.priority, pod.name))


# Rules that hold no more


def duplicates(snapshot: Snapshot, arguments: Arguments, now: float) -> Iterator[Candidate]:
    """Pods of one owner that share a node although other nodes have fewer of them."""
    excluded = arguments.get("excludeOwnerKinds") or ()
    found: defaultdict[object, list[tuple[PodInfo, NodeInfo]]] = defaultdict(list)
    for pod, node in snapshot.pods():
        ref = owner(pod.object)
        if ref and ref.get("kind") not in excluded and not pod.terminating:
            images = tuple(sorted(c.get("image", "") for c in pod.spec.get("containers") or ()))
            found[(pod.namespace, ref.get("kind"), ref.get("name"), images)].append((pod, node))
    for pods in found.values():
        open_ = sum(1 for n in snapshot.nodes.values() if not n.unschedulable)
        most = math.ceil(len(pods) / max(1, open_))
        here = Counter(node.name for _, node in pods)
        for pod, node in pods:
            if here[node.name] > max(1, most):
                why = f"{here[node.name]} pods of one owner are on {node.name}, where {most} would do"
                yield Candidate(pod, node.name, why, lambda n, here=here, most=most: here[n.name] < most)  # type: ignore[misc]
                now_on = snapshot.node_of(pod.uid)
                if now_on is not node:
                    here[node.name] -= 1
                    here[now_on.name if now_on else ""] += 1


def node_affinity(snapshot: Snapshot, arguments: Arguments, now: float) -> Iterator[Candidate]:
    """Pods on nodes that their nodeSelector or required node affinity no longer allows."""
    for pod, node in list(snapshot.pods()):
        if not pod.required_nodes.matches(node.name, node.labels):
            yield Candidate(pod, node.name, f"its node affinity no longer allows {node.name}")


def node_taints(snapshot: Snapshot, arguments: Arguments, now: float) -> Iterator[Candidate]:
    """Pods on nodes with a taint that they do not tolerate."""
    effects = {"NoSchedule"} | ({"PreferNoSchedule"} if arguments.get("includePreferNoSchedule") else set())
    excluded = set(arguments.get("excludedTaints") or ())
    for pod, node in list(snapshot.pods()):
        for taint in node.taints:
            named = {taint["key"], f"{taint['key']}={taint.get('value') or ''}"}
            if taint.get("effect") not in effects or named & excluded:
                continue
            if not any(tolerates(t, taint) for t in pod.tolerations):
                yield Candidate(
                    pod, node.name, f"it does not tolerate the taint {taint['key']} of {node.name}"
                )
                break


def pod_anti_affinity(snapshot: Snapshot, arguments: Arguments, now: float) -> Iterator[Candidate]:
    """Pods that another pod's required anti-affinity keeps off the domain that both are in, the younger first."""
    for pod, node in sorted(snapshot.pods(), key=lambda found: _born(found[0]), reverse=True):
        if snapshot.node_of(pod.uid) is not node:
            continue
        for other, there in list(snapshot.pods()):
            if other.uid == pod.uid:
                continue
            if any(_keeps_off(t, pod, node, there, snapshot) for t in other.required_anti_affinity):
                yield Candidate(pod, node.name, f"the anti-affinity of {other.name} keeps it off")
                break


def _keeps_off(term: AffinityTerm, pod: PodInfo, node: NodeInfo, other: NodeInfo, snapshot: Snapshot) -> bool:
    domain = node.labels.get(term.topology_key)
    if domain is None or domain != other.labels.get(term.topology_key):
        return False
    named = pod.namespace in term.namespaces
    chosen = not term.namespace_selector.nothing and term.namespace_selector.matches(
        snapshot.namespace_labels(pod.namespace)
    )
    return (named or chosen) and term.selector.matches(pod.labels)


def topology_spread(snapshot: Snapshot, arguments: Arguments, now: float) -> Iterator[Candidate]:
    """Pods of domains that hold more of them than a spread constraint allows, from the fullest domain."""
    kinds = set(arguments.get("constraints") or ("DoNotSchedule",))
    seen = set()
    for pod, _ in list(snapshot.pods()):
        for constraint in pod.spec.get("topologySpreadConstraints") or ():
            key = (pod.namespace, repr(constraint))
            if constraint.get("whenUnsatisfiable", "DoNotSchedule") in kinds and key not in seen:
                seen.add(key)
                yield from _uneven(snapshot, pod.namespace, constraint)


def _uneven(snapshot: Snapshot, namespace: str, constraint: Mapping[str, Any]) -> Iterator[Candidate]:
    key, skew = constraint["topologyKey"], constraint["maxSkew"]
    selector = selectors.of(constraint.get("labelSelector"))
    tried: set[str] = set()
    while True:
        domains: dict[str, list[tuple[PodInfo, NodeInfo]]] = {
            node.labels[key]: []
            for node in snapshot.nodes.values()
            if key in node.labels and not node.unschedulable
        }
        for pod, node in snapshot.pods({namespace}):
            if selector.matches(pod.labels) and not pod.terminating and node.labels.get(key) in domains:
                domains[node.labels[key]].append((pod, node))
        counts = {domain: len(pods) for domain, pods in domains.items()}
        fullest = max(counts, key=lambda d: counts[d], default="")
        if not counts or counts[fullest] - min(counts.values()) <= skew:
            return
        left = [found for found in domains[fullest] if found[0].uid not in tried]
        if not left:
            return
        pod, node = min(left, key=lambda found: (found[0].priority, found[0].name))
        tried.add(pod.uid)
        why = f"{key} {fullest} has {counts[fullest]} of its pods, another {min(counts.values())}"
        yield Candidate(
            pod,
            node.name,
            why,
            lambda n, counts=counts, full=fullest: n.labels.get(key) != full,  # type: ignore[misc]
        )


# Pods that are better made anew


def too_many_restarts(snapshot: Snapshot, arguments: Arguments, now: float) -> Iterator[Candidate]:
    """Pods whose containers were restarted `podRestartThreshold` times or more."""
    most = arguments.get("podRestartThreshold")
    if not most:
        return
    names = ["containerStatuses"] + (
        ["initContainerStatuses"] if arguments.get("includingInitContainers") else []
    )
    for pod, node in list(snapshot.pods()):
        count = sum(int(s.get("restartCount") or 0) for name in names for s in pod.status.get(name) or ())
        if count >= most:
            yield Candidate(pod, node.name, f"its containers were restarted {count} times", anew=True)


def life_time(snapshot: Snapshot, arguments: Arguments, now: float) -> Iterator[Candidate]:
    """Pods older than `maxPodLifeTimeSeconds`, the oldest first."""
    most, states = arguments.get("maxPodLifeTimeSeconds"), arguments.get("states") or ()
    if most is None:
        return
    for pod, node in sorted(snapshot.pods(), key=lambda found: _born(found[0])):
        born = _born(pod)
        if born and now - born > most and (not states or pod.status.get("phase") in states):
            yield Candidate(pod, node.name, f"it is {int(now - born)} s old", anew=True)


def _born(pod: PodInfo) -> float:
    text = pod.object["metadata"].get("creationTimestamp")
    return times.seconds(text) if text else 0.0


STRATEGIES: dict[str, Strategy] = {
    "LowNodeUtilization": low_node_utilization,
    "HighNodeUtilization": high_node_utilization,
    "RemoveDuplicates": duplicates,
    "RemovePodsViolatingNodeAffinity": node_affinity,
    "RemovePodsViolatingNodeTaints": node_taints,
    "RemovePodsViolatingInterPodAntiAffinity": pod_anti_affinity,
    "RemovePodsViolatingTopologySpreadConstraint": topology_spread,
    "RemovePodsHavingTooManyRestarts": too_many_restarts,
    "PodLifeTime": life_time,
}


def unknown(names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in STRATEGIES]
