"""What the informers tell, into the snapshot and the queue.

A pod is pending, assumed (placed here, not yet seen as bound), or on a node; finished pods count as gone. Each change
that may help waiting pods is told to the queue.

Source: kube-scheduler 1.37, pkg/scheduler/eventhandlers.go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from sampan.client.api import Change
from sampan.host import trace
from sampan.machinery.objects import Object, key
from sampan.scheduler import changes, gang, snapshot
from sampan.scheduler.events import Action, ClusterEvent, Kind
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.queue import SchedulingQueue
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.waiting import WaitingPods

# Kinds besides pods and nodes, and what their changes are called. Those without a name concern no plugin's hints.
OTHERS: dict[str, Kind | None] = {
    snapshot.NAMESPACES: None,
    snapshot.SERVICES: None,
    snapshot.REPLICATION_CONTROLLERS: None,
    snapshot.REPLICA_SETS: None,
    snapshot.STATEFUL_SETS: None,
    snapshot.CLAIMS: Kind.CLAIM,
    snapshot.VOLUMES: Kind.VOLUME,
    snapshot.STORAGE_CLASSES: Kind.STORAGE_CLASS,
    snapshot.CSI_NODES: Kind.CSI_NODE,
    snapshot.CSI_DRIVERS: Kind.CSI_DRIVER,
    snapshot.CAPACITIES: Kind.CAPACITY,
    snapshot.ATTACHMENTS: Kind.ATTACHMENT,
    snapshot.BUDGETS: None,
}
# Those that a cluster may not serve.
OPTIONAL: dict[str, Kind | None] = {
    snapshot.DEVICE_CLASSES: Kind.DEVICE_CLASS,
    snapshot.DEVICE_TAINT_RULES: Kind.DEVICE_TAINT_RULE,
    snapshot.RESOURCE_CLAIMS: Kind.RESOURCE_CLAIM,
    snapshot.RESOURCE_SLICES: Kind.RESOURCE_SLICE,
    snapshot.POD_GROUPS: Kind.POD_GROUP,
}
_ACTIONS = {"ADDED": Action.ADD, "MODIFIED": Action.UPDATE, "DELETED": Action.DELETE}
Causes = tuple[trace.Cause, ...]


class Informers(Protocol):
    """The shared copies (`sampan.client.informer`), as the feed uses them."""

    def subscribe(self, kind: str, handler: Callable[[Change, Object | None], None], /) -> None: ...


class Feed:
    """Keeps snapshot and queue as the informers tell.

    `names` are the scheduler names that are ours, `clock` the queue's time, `wake` is called when the queue may
    have something to try, `assumed` holds the uids of pods that were placed and not yet seen on their node.
    """

    def __init__(
        self,
        cluster: Snapshot,
        queue: SchedulingQueue,
        waiting: WaitingPods,
        names: Collection[str],
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._snapshot, self._queue, self._waiting = cluster, queue, waiting
        self._names, self._clock, self._wake = names, clock, wake
        self.assumed: dict[str, PodInfo] = {}
        # The pods of each PodGroup, whoever schedules them, on a node or not.
        self.groups = gang.Members()
        # For those who wait for an object of a kind to change, such as a claim to be bound.
        self.watchers: dict[str, list[Callable[[Object], None]]] = {}

    def subscribe(self, informers: Informers, optional: Collection[str] = ()) -> list[str]:
        """Follow all kinds; returns them, for the caller to wait for."""
        informers.subscribe("pods", self._on_pod)
        informers.subscribe("nodes", self._on_node)
        others = OTHERS | {kind: OPTIONAL[kind] for kind in optional}
        for kind, called in others.items():
            informers.subscribe(kind, self._other(kind, called))
        return ["pods", "nodes", *others]

    # Pods

    def _on_pod(self, change: Change, old: Object | None) -> None:
        pod = PodInfo(change.object)
        causes = _causes(change)
        self.groups.note(pod, change.type == "DELETED")
        if change.type == "DELETED" or pod.finished:
            if old is not None and not PodInfo(old).finished:
                self._gone(pod if pod.spec else PodInfo(old), causes)
        elif pod.node:
            if old is None or not old["spec"].get("nodeName"):
                self._bound(pod, causes)
            else:
                self._changed(pod, old, causes)
        elif pod.scheduler in self._names:
            if old is None:
                self._came(pod, causes)
            else:
                self._pending(pod, old, causes)

    def _came(self, pod: PodInfo, causes: Causes) -> None:
        if pod.nominated:
            self._snapshot.nominate(pod, pod.nominated)
        self._queue.add(pod, self._clock(), causes)
        self._wake()
        if gang.group_of(pod.object):
            # It may be the one that others of its gang wait for.
            self._tell(changes.UNSCHEDULED_POD_ADDED, None, pod.object, causes)

    def _pending(self, pod: PodInfo, old: Object, causes: Causes) -> None:
        if pod.uid in self.assumed:
            if pod.terminating:
                self._placed_but_gone(self.assumed[pod.uid], causes)
            return
        before = PodInfo(old)
        self._renominate(pod, before)
        self._queue.update(old, pod, self._clock(), causes)
        self._wake()
        if before.nominated and before.nominated != pod.nominated:
            self._tell(changes.POD_DELETED, old, None, causes, only=_no_more_than(before.priority))

    def _renominate(self, pod: PodInfo, before: PodInfo) -> None:
        """An update that says nothing of a nomination may be older than the one that we keep."""
        kept = self._snapshot.nominated_node(pod.uid)
        node = pod.nominated if pod.nominated or before.nominated else kept
        self._snapshot.withdraw(pod.uid)
        if node:
            self._snapshot.nominate(pod, node)

    def _bound(self, pod: PodInfo, causes: Causes) -> None:
        assumed = self.assumed.pop(pod.uid, None)
        where = self._snapshot.node_of(pod.uid)
        if assumed is not None and where is not None and where.name == pod.node:
            self._snapshot.replace_pod(pod)
        else:
            self._snapshot.add_pod(pod)
        self._snapshot.withdraw(pod.uid)
        self._queue.delete(pod.uid)
        self._tell(changes.POD_ADDED, None, pod.object, causes)

    def _changed(self, pod: PodInfo, old: Object, causes: Causes) -> None:
        self._snapshot.replace_pod(pod)
        for event in changes.of_pod(old, pod.object, target=False):
            self._tell(event, old, pod.object, causes)

    def _gone(self, pod: PodInfo, causes: Causes) -> None:
        self._queue.delete(pod.uid)
        self._snapshot.withdraw(pod.uid)
        if (assumed := self.assumed.get(pod.uid)) is not None:
            self._placed_but_gone(assumed, causes)
        elif pod.node:
            self._snapshot.remove_pod(pod.uid)
            self._tell(changes.POD_DELETED, pod.object, None, causes)
        elif pod.nominated:
            only = _no_more_than(pod.priority)
            self._tell(changes.POD_DELETED, pod.object, None, causes, only=only)

    def _placed_but_gone(self, pod: PodInfo, causes: Causes) -> None:
        """A placed pod is deleted before it was bound: free its place now; its binding will fail."""
        waiting = self._waiting.get(pod.uid)
        if waiting is None or not waiting.reject("", "removed"):
            self._snapshot.remove_pod(pod.uid)
            self.assumed.pop(pod.uid, None)
        self._tell(changes.POD_DELETED, pod.object, None, causes)

    # Nodes and other kinds

    def _on_node(self, change: Change, old: Object | None) -> None:
        node, causes = change.object, _causes(change)
        if change.type == "DELETED":
            self._tell(changes.NODE_DELETED, node, None, causes)
            self._snapshot.remove_node(node["metadata"]["name"])
        elif old is None:
            self._snapshot.set_node(node)
            self._tell(changes.NODE_ADDED, None, node, causes)
        else:
            happened = changes.of_node(old, node)
            if happened or old.get("status", {}).get("images") != node.get("status", {}).get("images"):
                self._snapshot.set_node(node)
            for event in happened:
                self._tell(event, old, node, causes)

    def _other(self, kind: str, called: Kind | None) -> Callable[[Change, Object | None], None]:
        def handle(change: Change, old: Object | None) -> None:
            gone = change.type == "DELETED"
            if gone:
                self._snapshot.remove(kind, key(change.object))
            else:
                self._snapshot.set(kind, change.object)
            if called:
                event = ClusterEvent(called, _ACTIONS[change.type])
                new = None if gone else change.object
                self._tell(event, change.object if gone else old, new, _causes(change))
            for watcher in self.watchers.get(kind, ()):
                watcher(change.object)

        return handle

    def _tell(
        self,
        event: ClusterEvent,
        old: Object | None,
        new: Object | None,
        causes: Causes,
        only: Callable[[PodInfo], bool] | None = None,
    ) -> None:
        if self._queue.happened(event, old, new, self._clock(), causes=causes, only=only):
            self._wake()


def _no_more_than(priority: int) -> Callable[[PodInfo], bool]:
    """Pods of no higher priority: for them a nominated pod was as good as placed."""
    return lambda pod: pod.priority <= priority


def _causes(change: Change) -> Causes:
    cause = trace.parse(change.cause)
    return (cause,) if cause else ()
