"""Watches over nodes: one that is silent becomes Unknown and is tainted; the taint evicts its pods (`taint_eviction`).

    lease renewed ─> as the node says          silent for 40 s ─> Ready Unknown ─> tainted unreachable
    Ready False ─> tainted not-ready           heard again ─> the taints go

Where no node at all is ready, the fault is more likely ours than theirs: then nothing is tainted NoExecute.
Source: the concepts' page on nodes (heartbeats); upstream's pkg/controller/nodelifecycle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from sampan.controllers import pods
from sampan.controllers.settings import Settings
from sampan.machinery import conditions, placement, times
from sampan.machinery.objects import Key, Object, key
from sampan.reconcile.controller import Action, Cache, Controller, Emit, Index, Patch, Plan, Watch, by_own_key

LEASES = "leases.coordination.k8s.io"
LEASE_NAMESPACE = "kube-node-lease"
GRACE = 40.0
# A node that never said anything may take this long to start.
STARTUP_GRACE = 60.0
HEARTBEATS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = {placement.NOT_READY, placement.UNREACHABLE, placement.UNSCHEDULABLE, *PRESSURES.values()}
ON_NODE = Index("pods", "node", lambda pod: (pod["spec"]["nodeName"],) if pod["spec"].get("nodeName") else ())


@dataclass(frozen=True, slots=True)
class Observed:
    """`pods` are those on the node; `others_ready` whether any other node is ready."""

    node: Object
    lease: Object | None
    pods: tuple[Object, ...]
    others_ready: bool


def observe(cache: Cache, name: Key) -> Observed | None:
    node = cache.get("nodes", name)
    if node is None:
        return None
    lease = cache.get(LEASES, Key(LEASE_NAMESPACE, name.name))
    ready = any(n is not node for n in cache.index("nodes", "ready", "True"))
    return Observed(node, lease, tuple(cache.index("pods", "node", name.name)), ready)


def decide(started: float, seen: Observed, now: float) -> Plan:
    node = seen.node
    # The taints follow from the status as it is written: first that, then, when it is seen, those.
    silence_ends = _heard(seen, started) - now
    actions: list[Action] = []
    state = _ready(node)
    if silence_ends <= 0 and state != "Unknown":
        state = "Unknown"
        message = f"Node {node['metadata']['name']} status is now: NodeNotReady"
        actions = [_unknown(node, now), Emit(node, "Normal", "NodeNotReady", message)]
    if state != "True":
        actions += [step for pod in seen.pods for step in _not_ready(pod, now)]
    if state == _ready(node):
        actions += _taint(node, state, seen.others_ready, now)
    return Plan(tuple(actions), silence_ends if silence_ends > 0 else None)


def _ready(node: Object) -> str:
    """The status of the Ready condition; empty where the node has not told yet."""
    found = conditions.find(node, "Ready")
    return found["status"] if found else ""


def _heard(seen: Observed, started: float) -> float:
    """Until when the node may be silent."""
    heard = [started]
    renewed = ((seen.lease or {}).get("spec") or {}).get("renewTime")
    if renewed:
        heard.append(times.seconds(renewed))
    ready = conditions.find(seen.node, "Ready")
    if ready and ready["status"] != "Unknown" and ready.get("lastHeartbeatTime"):
        heard.append(times.seconds(ready["lastHeartbeatTime"]))
    return max(max(heard) + GRACE, pods.created(seen.node) + (0 if ready else STARTUP_GRACE))


def _unknown(node: Object, now: float) -> Action:
    """The node's conditions, all Unknown, unless the node spoke meanwhile."""
    after = tuple((node.get("status") or {}).get("conditions") or ())
    for type_ in HEARTBEATS:
        known = conditions.among(after, type_)
        reason, message = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
        if known is None:
            reason, message = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
        heartbeat = known.get("lastHeartbeatTime") if known else node["metadata"].get("creationTimestamp")
        made = conditions.new(type_, "Unknown", reason, message, now)
        after = conditions.with_(after, {**made, "lastHeartbeatTime": heartbeat})
    version = {"resourceVersion": node["metadata"].get("resourceVersion")}
    return Patch(
        "nodes", key(node), {"metadata": version, "status": {"conditions": list(after)}}, subresource="status"
    )


def _not_ready(pod: Object, now: float) -> list[Action]:
    """A pod on a node that is not ready is not ready either: Services stop sending to it."""
    if not conditions.is_true(pod, "Ready"):
        return []
    after = tuple(pod["status"]["conditions"])
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": times.time(now)}
    after = tuple({**c, **ready} if c["type"] == "Ready" else c for c in after)
    meta = {"uid": pod["metadata"]["uid"], "resourceVersion": pod["metadata"].get("resourceVersion")}
    patch = Patch(
        "pods", key(pod), {"metadata": meta, "status": {"conditions": list(after)}}, subresource="status"
    )
    return [patch, Emit(pod, "Warning", "NodeNotReady", "Node is not ready")]


def _taint(node: Object, state: str, may_evict: bool, now: float) -> list[Action]:
    """The taints that follow from conditions and spec.unschedulable; others' taints stay."""
    have = (node.get("spec") or {}).get("taints") or []
    want = _taints(node, state, may_evict)
    taints = [t for t in have if t["key"] not in _OURS or (t["key"], t["effect"]) in want]
    known = {(t["key"], t["effect"]) for t in taints}
    for name, effect in want:
        if (name, effect) not in known:
            taints.append({"key": name, "effect": effect, "timeAdded": times.time(now)})
    if taints == have:
        return []
    version = {"resourceVersion": node["metadata"].get("resourceVersion")}
    return [Patch("nodes", key(node), {"metadata": version, "spec": {"taints": taints or None}})]


def _taints(node: Object, state: str, may_evict: bool) -> list[tuple[str, str]]:
    want = []
    if state != "True":
        name = placement.UNREACHABLE if state == "Unknown" else placement.NOT_READY
        want.append((name, "NoSchedule"))
        if may_evict:
            want.append((name, "NoExecute"))
    want += [(taint, "NoSchedule") for type_, taint in PRESSURES.items() if conditions.is_true(node, type_)]
    if (node.get("spec") or {}).get("unschedulable"):
        want.append((placement.UNSCHEDULABLE, "NoSchedule"))
    return want


def _node_wakes(cache: Cache, node: Object) -> Iterable[Key]:
    """A node that changes also decides whether those that are not ready may be evicted from."""
    others = [key(n) for state in ("False", "Unknown", "") for n in cache.index("nodes", "ready", state)]
    return [*by_own_key(cache, node), *others]


def _lease_wakes(cache: Cache, lease: Object) -> Iterable[Key]:
    meta = lease["metadata"]
    return (Key("", meta["name"]),) if meta["namespace"] == LEASE_NAMESPACE else ()


def make(settings: Settings) -> Controller:
    return Controller(
        name="node-lifecycle-controller",
        watches=(
            Watch("nodes", _node_wakes),
            Watch(LEASES, _lease_wakes),
            Watch("pods", lambda cache, pod: ()),
        ),
        observe=observe,
        decide=partial(decide, settings.started),
        indexes=(ON_NODE, Index("nodes", "ready", lambda node: (_ready(node),))),
    )
