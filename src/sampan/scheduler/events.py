"""What happened in the cluster, as far as it may help pods that could not be placed.

A cluster event is a kind of object and what was done to it: `AssignedPod` and `DELETE`, `Node` and
`UPDATE_NODE_TAINT`. The queue asks the plugins that rejected a pod whether the event may help it (`hints`).
Source: kube-scheduler 1.37, pkg/scheduler/framework/events.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from sampan.machinery import placement
from sampan.machinery.objects import Object


class Action(IntFlag):
    """What was done. UPDATE stands for an update of which nothing more special is known."""

    ADD = 1
    DELETE = 2
    UPDATE_NODE_ALLOCATABLE = 4
    UPDATE_NODE_LABEL = 8
    UPDATE_NODE_TAINT = 16
    UPDATE_NODE_CONDITION = 32
    UPDATE_NODE_ANNOTATION = 64
    UPDATE_POD_LABEL = 128
    UPDATE_POD_SCALE_DOWN = 256
    UPDATE_POD_SCALE_UP = 512
    UPDATE_POD_TOLERATION = 1024
    UPDATE_POD_SCHEDULING_GATES_ELIMINATED = 2048
    UPDATE_POD_GENERATED_RESOURCE_CLAIM = 4096
    UPDATE = 8188
    ALL = 8191


ASSIGNED_POD, UNSCHEDULED_POD, TARGET_POD = "AssignedPod", "UnscheduledPod", "TargetPod"
NODE, VOLUME, CLAIM, CLASS = "Node", "PersistentVolume", "PersistentVolumeClaim", "StorageClass"
CSI_NODE, CSI_DRIVER, CAPACITY = "CSINode", "CSIDriver", "CSIStorageCapacity"
ATTACHMENT = "VolumeAttachment"
RESOURCE_CLAIM, RESOURCE_SLICE, DEVICE_CLASS = "ResourceClaim", "ResourceSlice", "DeviceClass"
POD_GROUP = "PodGroup"
ANY = "*"


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """`label` is its name in metrics where it is not made of the other two."""

    resource: str
    action: Action
    label: str = ""

    @property
    def is_wildcard(self) -> bool:
        """Whether it may help every pod, whatever rejected it."""
        return self.resource == ANY and self.action == Action.ALL

    def covers(self, happened: ClusterEvent) -> bool:
        """Whether an interest in this event is one in what happened."""
        if self.resource not in (ANY, happened.resource):
            return False
        return self.action & happened.action == happened.action

    def __str__(self) -> str:
        return self.label or self.resource + _words(self.action)


def _words(action: Action) -> str:
    if action == Action.UPDATE:
        return "Update"
    return "".join(word.capitalize() for word in (action.name or "").split("_"))


POD_ADDED = ClusterEvent(ASSIGNED_POD, Action.ADD)
POD_DELETED = ClusterEvent(ASSIGNED_POD, Action.DELETE)
UNSCHEDULED_POD_ADDED = ClusterEvent(UNSCHEDULED_POD, Action.ADD)
NODE_ADDED = ClusterEvent(NODE, Action.ADD)
NODE_DELETED = ClusterEvent(NODE, Action.DELETE)
# A pod has waited too long for an event: hints may be wrong.
TIMEOUT = ClusterEvent(ANY, Action.ALL, "UnschedulableTimeout")
# A plugin asks for one pod to be tried again at once.
ACTIVATED = ClusterEvent(ANY, Action.ALL, "ForceActivate")


def of_pod(old: Object, new: Object, *, target: bool) -> list[ClusterEvent]:
    """What an update of a pod was; `target` where it is the pending pod itself that is asked about."""
    resource = TARGET_POD if target else UNSCHEDULED_POD
    if new["spec"].get("nodeName"):
        resource = ASSIGNED_POD
    found = [ClusterEvent(resource, action) for action in _pod_actions(old, new)]
    return found or [ClusterEvent(resource, Action.UPDATE)]


def _pod_actions(old: Object, new: Object) -> list[Action]:
    before, after = old["spec"], new["spec"]
    found = []
    if (old["metadata"].get("labels") or {}) != (new["metadata"].get("labels") or {}):
        found.append(Action.UPDATE_POD_LABEL)
    if before is not after and before != after:
        found += _scaled(before, after)
        if before.get("schedulingGates") and not after.get("schedulingGates"):
            found.append(Action.UPDATE_POD_SCHEDULING_GATES_ELIMINATED)
        if len(before.get("tolerations") or ()) != len(after.get("tolerations") or ()):
            found.append(Action.UPDATE_POD_TOLERATION)
    names = ("resourceClaimStatuses", "extendedResourceClaimStatus")
    was, now = old.get("status") or {}, new.get("status") or {}
    if any((was.get(name) or None) != (now.get(name) or None) for name in names):
        found.append(Action.UPDATE_POD_GENERATED_RESOURCE_CLAIM)
    return found


def _scaled(before: Object, after: Object) -> list[Action]:
    was, now = placement.requests(before), placement.requests(after)
    found = []
    if any(name not in now or amount > now[name] for name, amount in was.items()):
        found.append(Action.UPDATE_POD_SCALE_DOWN)
    if any(name not in was or amount > was[name] for name, amount in now.items()):
        found.append(Action.UPDATE_POD_SCALE_UP)
    return found


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
    if _conditions(was) != _conditions(now):
        found.append(Action.UPDATE_NODE_CONDITION)
    return [ClusterEvent(NODE, action) for action in found]


def _conditions(status: Object) -> dict[str, str]:
    return {c["type"]: c.get("status", "") for c in status.get("conditions") or ()}
