"""Changes of the cluster as the queue and the plugins speak of them: what happened, to what, and whom it may help.

Source: k8s.io/kube-scheduler/framework (types.go) of 1.37; KEP-4247 (queueing hints).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag, StrEnum
from typing import TYPE_CHECKING

from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.scheduler.pods import PodInfo


class Action(IntFlag):
    """What happened to an object; updates by what they changed."""

    ADD = 1 << 0
    DELETE = 1 << 1
    UPDATE_NODE_ALLOCATABLE = 1 << 2
    UPDATE_NODE_LABEL = 1 << 3
    UPDATE_NODE_TAINT = 1 << 4
    UPDATE_NODE_CONDITION = 1 << 5
    UPDATE_NODE_ANNOTATION = 1 << 6
    UPDATE_NODE_DECLARED_FEATURE = 1 << 7
    UPDATE_POD_LABEL = 1 << 8
    UPDATE_POD_SCALE_DOWN = 1 << 9
    UPDATE_POD_SCALE_UP = 1 << 10
    UPDATE_POD_TOLERATION = 1 << 11
    UPDATE_POD_GATES_ELIMINATED = 1 << 12
    UPDATE_POD_RESOURCE_CLAIM = 1 << 13
    UPDATE = (1 << 14) - (1 << 2)
    ALL = (1 << 14) - 1


class Kind(StrEnum):
    """What an event is about, in upstream's names; pods in three parts."""

    ASSIGNED_POD = "AssignedPod"
    UNSCHEDULED_POD = "UnscheduledPod"
    # The unschedulable pod itself.
    TARGET_POD = "TargetPod"
    NODE = "Node"
    VOLUME = "PersistentVolume"
    CLAIM = "PersistentVolumeClaim"
    CSI_NODE = "storage.k8s.io/CSINode"
    CSI_DRIVER = "storage.k8s.io/CSIDriver"
    ATTACHMENT = "storage.k8s.io/VolumeAttachment"
    CAPACITY = "storage.k8s.io/CSIStorageCapacity"
    STORAGE_CLASS = "storage.k8s.io/StorageClass"
    RESOURCE_CLAIM = "resource.k8s.io/ResourceClaim"
    RESOURCE_SLICE = "resource.k8s.io/ResourceSlice"
    DEVICE_CLASS = "resource.k8s.io/DeviceClass"
    DEVICE_TAINT_RULE = "resource.k8s.io/DeviceTaintRule"
    POD_GROUP = "scheduling.k8s.io/PodGroup"
    ANY = "*"


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    kind: Kind
    action: Action

    def covers(self, other: ClusterEvent) -> bool:
        """Whether `other`, which happened, is among what this one describes, in all its parts."""
        return self.kind in (Kind.ANY, other.kind) and self.action & other.action == other.action


# Whether a change may help this pod: the pod, the object before (None: added), the object after (None: deleted).
Hint = Callable[["PodInfo", Object | None, Object | None], bool]


@dataclass(frozen=True, slots=True)
class EventHint:
    """An event, and the question that is then asked of each pod; without one, the pod is tried again."""

    event: ClusterEvent
    hint: Hint | None = None


def on(kind: Kind, action: Action, hint: Hint | None = None) -> EventHint:
    return EventHint(ClusterEvent(kind, action), hint)
