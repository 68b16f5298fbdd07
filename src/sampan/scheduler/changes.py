"""What a change of an object is to the queue: cluster events, from the object before and after.

Source: kube-scheduler 1.37, pkg/scheduler/framework/events.go.
"""

from __future__ import annotations

from functools import cache

from sampan.machinery.objects import Object
from sampan.scheduler import resources
from sampan.scheduler.events import Action, ClusterEvent, Kind

POD_ADDED = ClusterEvent(Kind.ASSIGNED_POD, Action.ADD)
POD_DELETED = ClusterEvent(Kind.ASSIGNED_POD, Action.DELETE)
UNSCHEDULED_POD_ADDED = ClusterEvent(Kind.UNSCHEDULED_POD, Action.ADD)
NODE_ADDED = ClusterEvent(Kind.NODE, Action.ADD)
NODE_DELETED = ClusterEvent(Kind.NODE, Action.DELETE)
# It may help every pod: one has waited too long, or a plugin asks for one to be tried at once.
ANYTHING = ClusterEvent(Kind.ANY, Action.ALL)


@cache
def label(event: ClusterEvent) -> str:
    """Its name in metrics: `NodeAdd`, `AssignedPodUpdatePodLabel`."""
    return event.kind + _words(event.action)


# Actions whose upstream names are longer than ours.
_NAMES = {
    Action.UPDATE: "Update",
    Action.UPDATE_POD_GATES_ELIMINATED: "UpdatePodSchedulingGatesEliminated",
    Action.UPDATE_POD_RESOURCE_CLAIM: "UpdatePodGeneratedResourceClaim",
}


def _words(action: Action) -> str:
    if action in _NAMES:
        return _NAMES[action]
    return "".join(word.capitalize() for word in (action.name or "").split("_"))


def of_pod(old: Object, new: Object, *, target: bool) -> list[ClusterEvent]:
    """What an update of a pod was; `target` where it is the pending pod itself that is asked about."""
    kind = Kind.TARGET_POD if target else Kind.UNSCHEDULED_POD
    if new["spec"].get("nodeName"):
        kind = Kind.ASSIGNED_POD
    found = [ClusterEvent(kind, action) for action in _pod_actions(old, new)]
    return found or [ClusterEvent(kind, Action.UPDATE)]


def _pod_actions(old: Object, new: Object) -> list[Action]:
    before, after = old["spec"], new["spec"]
    found = []
    if (old["metadata"].get("labels") or {}) != (new["metadata"].get("labels") or {}):
        found.append(Action.UPDATE_POD_LABEL)
    found += _scaled(old, new)
    if before.get("schedulingGates") and not after.get("schedulingGates"):
        found.append(Action.UPDATE_POD_GATES_ELIMINATED)
    if len(before.get("tolerations") or ()) != len(after.get("tolerations") or ()):
        found.append(Action.UPDATE_POD_TOLERATION)
    names = ("resourceClaimStatuses", "extendedResourceClaimStatus")
    was, now = old.get("status") or {}, new.get("status") or {}
    if any((was.get(name) or None) != (now.get(name) or None) for name in names):
        found.append(Action.UPDATE_POD_RESOURCE_CLAIM)
    return found


def _scaled(old: Object, new: Object) -> list[Action]:
    if _sized(old) == _sized(new):
        return []
    was, now = resources.requests(old), resources.requests(new)
    found = []
    if any(name not in now or amount > now[name] for name, amount in was.items()):
        found.append(Action.UPDATE_POD_SCALE_DOWN)
    if any(name not in was or amount > was[name] for name, amount in now.items()):
        found.append(Action.UPDATE_POD_SCALE_UP)
    return found


def _sized(pod: Object) -> list[object]:
    """All that a pod's requests are made of."""
    spec, status = pod["spec"], pod.get("status") or {}
    names = ("containerStatuses", "initContainerStatuses")
    parts: list[object] = [spec.get("resources"), status.get("resources"), status.get("allocatedResources")]
    parts += [c.get("resources") for n in ("containers", "initContainers") for c in spec.get(n) or ()]
    parts += [(s.get("resources"), s.get("allocatedResources")) for n in names for s in status.get(n) or ()]
    return parts


def of_node(old: Object, new: Object) -> list[ClusterEvent]:
    """What an update of a node was; nothing for a heartbeat."""
    before, after = old.get("spec") or {}, new.get("spec") or {}
    was, now = old.get("status") or {}, new.get("status") or {}
    found = []
    freed = before.get("unschedulable") and not after.get("unschedulable")
    if freed or (before.get("taints") or []) != (after.get("taints") or []):
        found.append(Action.UPDATE_NODE_TAINT)
    if (was.get("allocatable") or {}) != (now.get("allocatable") or {}):
        found.append(Action.UPDATE_NODE_ALLOCATABLE)
    for name, action in (
        ("labels", Action.UPDATE_NODE_LABEL),
        ("annotations", Action.UPDATE_NODE_ANNOTATION),
    ):
        if (old["metadata"].get(name) or {}) != (new["metadata"].get(name) or {}):
            found.append(action)
    if (was.get("declaredFeatures") or []) != (now.get("declaredFeatures") or []):
        found.append(Action.UPDATE_NODE_DECLARED_FEATURE)
    if _conditions(was) != _conditions(now):
        found.append(Action.UPDATE_NODE_CONDITION)
    return [ClusterEvent(Kind.NODE, action) for action in found]


def _conditions(status: Object) -> dict[str, str]:
    return {c["type"]: c.get("status", "") for c in status.get("conditions") or ()}
