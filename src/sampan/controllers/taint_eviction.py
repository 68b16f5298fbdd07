"""Deletes pods from nodes with NoExecute taints that they do not tolerate, or not for so long.

Source: the concepts' page on taints and tolerations (taint based evictions); upstream's
pkg/controller/tainteviction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.controllers import pods
from sampan.controllers.node_lifecycle import ON_NODE
from sampan.controllers.settings import Settings
from sampan.machinery import conditions, placement, times
from sampan.machinery.objects import Key, Object, key
from sampan.reconcile.controller import Cache, Controller, Delete, Emit, Patch, Plan, Watch


@dataclass(frozen=True, slots=True)
class Observed:
    """`taints` are the node's NoExecute taints."""

    pod: Object
    taints: tuple[Object, ...]


def observe(cache: Cache, name: Key) -> Observed | None:
    pod = cache.get("pods", name)
    if pod is None or pods.is_terminating(pod) or pods.is_finished(pod):
        return None
    node = cache.get("nodes", Key("", pod["spec"].get("nodeName") or ""))
    taints = tuple(
        t for t in ((node or {}).get("spec") or {}).get("taints") or () if t["effect"] == "NoExecute"
    )
    return Observed(pod, taints) if taints else None


def decide(seen: Observed, now: float) -> Plan:
    wait = _bears(seen.pod, seen.taints, now)
    if wait is None:
        return Plan()
    if wait > 0:
        return Plan(again=wait)
    message = "Taint manager: deleting due to NoExecute taint"
    target = conditions.new("DisruptionTarget", "True", "DeletionByTaintManager", message, now)
    after = conditions.with_(conditions.of(seen.pod), target)
    patch = {"metadata": {"uid": seen.pod["metadata"]["uid"]}, "status": {"conditions": list(after)}}
    name = key(seen.pod)
    return Plan(
        (
            Emit(seen.pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {name}"),
            Patch("pods", name, patch, subresource="status"),
            Delete("pods", name, seen.pod["metadata"]["uid"]),
        )
    )


def _bears(pod: Object, taints: Iterable[Object], now: float) -> float | None:
    """Seconds for which the pod still tolerates all taints: 0 or less when its time is over, None for ever."""
    waits = []
    for taint in taints:
        borne = [t for t in pod["spec"].get("tolerations") or () if placement.tolerates(t, taint)]
        if not borne:
            return 0
        limits = [t["tolerationSeconds"] for t in borne if t.get("tolerationSeconds") is not None]
        if limits:
            added = times.seconds(taint["timeAdded"]) if taint.get("timeAdded") else now
            waits.append(added + min(limits) - now)
    return min(waits, default=None)


def _pods_on(cache: Cache, node: Object) -> Iterable[Key]:
    if not any(t["effect"] == "NoExecute" for t in (node.get("spec") or {}).get("taints") or ()):
        return ()
    return [key(pod) for pod in cache.index("pods", "node", node["metadata"]["name"])]


def make(settings: Settings) -> Controller:
    return Controller(
        name="taint-eviction-controller",
        watches=(Watch("pods"), Watch("nodes", _pods_on)),
        observe=observe,
        decide=decide,
        indexes=(ON_NODE,),
    )
