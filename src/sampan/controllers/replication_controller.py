"""ReplicationControllers: what ReplicaSets replaced, and the same but for their selector, which is a map of labels.

Source: the concepts' page on ReplicationController.
"""

from __future__ import annotations

from collections.abc import Iterable

from sampan.controllers import pods, replicaset
from sampan.controllers.settings import Settings
from sampan.machinery import selectors
from sampan.machinery.objects import Key, Object, changed, key, owner
from sampan.reconcile.controller import Cache, Controller, Plan, Watch

KIND = "replicationcontrollers"


def observe(cache: Cache, name: Key, fault: str = "") -> replicaset.Observed | None:
    found = cache.get(KIND, name)
    if found is None:
        return None
    selector = {"matchLabels": found["spec"].get("selector") or {}}
    return replicaset.observed(cache, KIND, changed(found, ("spec", "selector"), selector), fault)


def decide(seen: replicaset.Observed, now: float) -> Plan:
    status, scaling, again = replicaset.settle(seen, now)
    status.pop("terminatingReplicas")
    written = pods.status_patch(KIND, seen.set, status)
    return Plan((*written, *scaling) if seen.fault else (*scaling, *written), again)


def _wakes(cache: Cache, pod: Object) -> Iterable[Key]:
    """The pod's controller; for a pod without one, those that might adopt it."""
    ref, namespace = owner(pod), pod["metadata"].get("namespace", "")
    if ref:
        return (Key(namespace, ref["name"]),) if ref["kind"] == "ReplicationController" else ()
    labels = pod["metadata"].get("labels")
    found = cache.list(KIND, namespace) if labels else ()
    return [key(rc) for rc in found if selectors.of_labels(rc["spec"].get("selector")).matches(labels)]


def make(settings: Settings) -> Controller:
    faults = replicaset.Faults()
    return Controller(
        name="replication-controller",
        watches=(Watch(KIND), Watch("pods", _wakes)),
        observe=lambda cache, name: observe(cache, name, faults.get(name, "")),
        decide=decide,
        failed=faults.note,
        indexes=(pods.ORPHAN_PODS,),
    )
