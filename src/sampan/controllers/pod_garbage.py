"""Removes pods that nobody else will: of nodes that are gone, deleted before they got to a node, and old finished ones.

Source: upstream's pkg/controller/podgc.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.controllers import pods
from sampan.controllers.node_lifecycle import ON_NODE
from sampan.controllers.settings import Settings
from sampan.machinery import conditions
from sampan.machinery.objects import Key, Object, key
from sampan.reconcile.controller import (
    Absent,
    Action,
    Cache,
    Controller,
    Delete,
    Index,
    Patch,
    Plan,
    Watch,
    by_own_key,
)

# The most finished pods that are kept, the youngest.
KEPT = 12500
FINISHED = Key("", "finished")
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@dataclass(frozen=True, slots=True)
class Observed:
    """Pods to be removed: `orphans` of the absent node `node`, or `others` without that question."""

    orphans: tuple[Object, ...] = ()
    node: str = ""
    others: tuple[Object, ...] = ()


def observe(cache: Cache, name: Key) -> Observed | None:
    if name == FINISHED:
        finished = sorted(cache.index("pods", "finished", "True"), key=pods.created)
        return Observed(others=tuple(finished[: max(0, len(finished) - KEPT)]))
    pod = cache.get("pods", name)
    if pod is None:
        return None
    on = pod["spec"].get("nodeName") or ""
    if not on:
        return Observed(others=(pod,)) if pods.is_terminating(pod) else None
    node = cache.get("nodes", Key("", on))
    if node is None:
        return Observed(orphans=(pod,), node=on)
    taints = (node.get("spec") or {}).get("taints") or ()
    if pods.is_terminating(pod) and any(t["key"] == OUT_OF_SERVICE for t in taints):
        return Observed(others=(pod,))
    return None


def decide(seen: Observed, now: float) -> Plan:
    actions: list[Action] = []
    for pod in seen.orphans:
        actions += [Absent("nodes", Key("", seen.node)), *_fail(pod, now), _remove(pod)]
    for pod in seen.others:
        actions.append(_remove(pod))
    return Plan(tuple(actions))


def _fail(pod: Object, now: float) -> list[Action]:
    """Whoever counts pods is to know that this one did not succeed."""
    if pods.is_finished(pod):
        return []
    message = "PodGC: node no longer exists"
    target = conditions.new("DisruptionTarget", "True", "DeletionByPodGC", message, now)
    after = conditions.with_(conditions.of(pod), target)
    status = {"phase": "Failed", "conditions": list(after)}
    patch = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
    return [Patch("pods", key(pod), patch, subresource="status")]


def _remove(pod: Object) -> Action:
    return Delete("pods", key(pod), pod["metadata"]["uid"], grace=0)


def _pod_wakes(cache: Cache, pod: Object) -> Iterable[Key]:
    return (*by_own_key(cache, pod), FINISHED) if pods.is_finished(pod) else by_own_key(cache, pod)


def _node_wakes(cache: Cache, node: Object) -> Iterable[Key]:
    """Only a node that is gone, or out of service, leaves pods behind."""
    taints = (node.get("spec") or {}).get("taints") or ()
    if cache.get("nodes", key(node)) and not any(t["key"] == OUT_OF_SERVICE for t in taints):
        return ()
    return [key(pod) for pod in cache.index("pods", "node", node["metadata"]["name"])]


def make(settings: Settings) -> Controller:
    return Controller(
        name="pod-garbage-collector",
        watches=(Watch("pods", _pod_wakes), Watch("nodes", _node_wakes)),
        observe=observe,
        decide=decide,
        indexes=(ON_NODE, Index("pods", "finished", lambda p: ("True",) if pods.is_finished(p) else ())),
    )
