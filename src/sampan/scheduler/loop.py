"""The scheduler's loop: keeps the snapshot by the informers' changes, places pods, and binds them.

    pending pod ─> queue ─> place ─┬─> assumed ─> (claims bound) ─> bound by pods/binding
                     ^             └─> condition and event; waits for a change that may help, and its backoff
                     └──────────────────────────────┘

A placed pod counts on its node from then on, before the API server confirms it; a binding that fails takes
it off again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass

from sampan.client.api import ApiError, Change, Client, Unavailable
from sampan.host import trace
from sampan.machinery import claims, times
from sampan.machinery.objects import Key, Object, key
from sampan.reconcile.events import Recorder
from sampan.reconcile.loop import Informers
from sampan.reconcile.queue import Queue
from sampan.scheduler.place import Binding, Failure, place
from sampan.scheduler.simple_snapshot import Snapshot

NAME = "default-scheduler"
FIRST_BACKOFF, LAST_BACKOFF = 0.1, 10.0
# A pod that could not be placed is tried again after this time, whatever happens.
SWEEP = 300.0
# How long claims may take to be bound once their node is chosen.
CLAIMS_WAIT = 600.0
# The most pods that are placed before others on the loop get their turn.
BATCH = 64

log = logging.getLogger(__name__)


async def run(client: Client, informers: Informers) -> None:
    """Schedule the pods whose spec.schedulerName is `default-scheduler`, until cancelled."""
    recorder = Recorder(client, NAME)
    scheduler = Scheduler(client, informers, recorder)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run(), name="scheduler events")
        tasks.create_task(scheduler.run(), name="scheduler")


def wants_node(pod: Object) -> bool:
    """Whether the pod waits for this scheduler."""
    spec, meta = pod["spec"], pod["metadata"]
    return (
        not spec.get("nodeName")
        and spec.get("schedulerName", NAME) == NAME
        and not spec.get("schedulingGates")
        and "deletionTimestamp" not in meta
        and not _is_finished(pod)
    )


def _is_finished(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


class Scheduler:
    """The loop's state: the snapshot, the queue, and the pods that wait for a change."""

    def __init__(self, client: Client, informers: Informers, recorder: Recorder) -> None:
        self._client, self._informers, self._recorder = client, informers, recorder
        self._snapshot = Snapshot()
        self._queue = Queue(FIRST_BACKOFF, LAST_BACKOFF)
        self._woken = asyncio.Event()
        # Pods that no node fits, with when they may be tried again.
        self._unplaced: dict[Key, _Unplaced] = {}
        self._waits_for_claims: dict[Key, asyncio.Event] = {}
        self._handlers = {
            "pods": self._on_pod,
            "nodes": self._on_node,
            "persistentvolumeclaims": self._on_claim,
            "persistentvolumes": self._on_volume,
            "storageclasses.storage.k8s.io": self._on_class,
            "namespaces": self._on_namespace,
        }
        for kind, handler in self._handlers.items():
            informers.subscribe(kind, handler)

    async def run(self) -> None:
        await self._informers.synced(self._handlers)
        clock = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as binders:
            while True:
                batch = self._next_batch(clock())
                if not batch:
                    await self._wait()
                    continue
                self._place(batch, binders)
                # Let bindings start and changes come in.
                await asyncio.sleep(0)

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._queue.next_time()):
                await self._woken.wait()
        self._woken.clear()

    def _next_batch(self, now: float) -> list[tuple[Object, list[trace.Cause]]]:
        batch: list[tuple[Object, list[trace.Cause]]] = []
        while len(batch) < BATCH and (item := self._queue.pop(now)):
            name, causes = item
            self._queue.done(name)
            pod = self._informers.get("pods", name)
            if pod and wants_node(pod) and not self._snapshot.holds(pod["metadata"]["uid"]):
                batch.append((pod, causes))
        return batch

    def _place(self, batch: list[tuple[Object, list[trace.Cause]]], binders: asyncio.TaskGroup) -> None:
        causes = {pod["metadata"]["uid"]: found for pod, found in batch}
        began = time.time_ns()
        for outcome in place(self._snapshot, [pod for pod, _ in batch]):
            why = causes[outcome.pod["metadata"]["uid"]]
            name = f"schedule {key(outcome.pod)}"
            if isinstance(outcome, Failure):
                # At once: a change that helps may come before anything else runs.
                self._hold(outcome.pod, why)
            work = self._bind(outcome) if isinstance(outcome, Binding) else self._tell(outcome)
            binders.create_task(self._traced(name, why, began, outcome.pod, work), name=name)

    async def _traced(
        self, name: str, causes: list[trace.Cause], began: int, pod: Object, work: Coroutine[None, None, None]
    ) -> None:
        """Await `work` as a span that began when the decision did; what fails is tried again."""
        try:
            with trace.span(name, "kube-scheduler", causes=causes) as span:
                span.start = began
                await work
        except (ApiError, Unavailable, TimeoutError) as e:
            log.warning("%s: %s", name, e or "its claims were not bound in time")
            self._give_back(pod)

    async def _bind(self, outcome: Binding) -> None:
        pod, name = outcome.pod, key(outcome.pod)
        if outcome.claims:
            await self._bind_claims(outcome)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name.name, "namespace": name.namespace, "uid": pod["metadata"]["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": outcome.node},
        }
        await self._client.create("pods", binding, name=name.name, subresource="binding")
        self._queue.forget(name)
        message = f"Successfully assigned {name} to {outcome.node}"
        self._recorder.emit(pod, "Normal", "Scheduled", message)

    async def _bind_claims(self, outcome: Binding) -> None:
        """Tell the claims of the node, and wait until volumes there are bound to them."""
        for claim in outcome.claims:
            if _selected_node(claim) != outcome.node:
                note = {"metadata": {"annotations": {claims.SELECTED_NODE: outcome.node}}}
                namespace, name = key(claim)
                await self._client.patch("persistentvolumeclaims", name, namespace, note)
        wanted = [key(claim) for claim in outcome.claims]
        changed = self._waits_for_claims[key(outcome.pod)] = asyncio.Event()
        try:
            async with asyncio.timeout(CLAIMS_WAIT):
                while not all(self._is_bound(name) for name in wanted):
                    changed.clear()
                    await changed.wait()
        finally:
            del self._waits_for_claims[key(outcome.pod)]

    def _is_bound(self, name: Key) -> bool:
        claim = self._informers.get("persistentvolumeclaims", name)
        return claim is not None and (claim.get("status") or {}).get("phase") == "Bound"

    def _hold(self, pod: Object, causes: list[trace.Cause]) -> None:
        """Let the pod wait for a change that may help."""
        name, now = key(pod), asyncio.get_running_loop().time()
        self._unplaced[name] = _Unplaced(now + self._queue.backoff(name), _is_picky(pod), tuple(causes))
        self._queue.add_at(name, now + SWEEP)

    async def _tell(self, outcome: Failure) -> None:
        """Note why the pod has no node."""
        pod, name = outcome.pod, key(outcome.pod)
        self._recorder.emit(pod, "Warning", "FailedScheduling", outcome.message)
        known = (pod.get("status") or {}).get("conditions") or ()
        if any(c["type"] == "PodScheduled" and c.get("message") == outcome.message for c in known):
            return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": outcome.message,
            "lastTransitionTime": times.time(time.time()),
        }
        meta = {"uid": pod["metadata"]["uid"], "resourceVersion": pod["metadata"]["resourceVersion"]}
        patch = {"metadata": meta, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                "pods", name.name, name.namespace, patch, type="strategic", subresource="status"
            )
        except ApiError as e:
            # The pod has changed since, perhaps it even has a node by now: what we wanted to say is old.
            if e.reason not in ("Conflict", "NotFound"):
                raise

    def _give_back(self, pod: Object) -> None:
        """A placed pod was not bound: take it off its node, unless it turns out to be there, and try again."""
        found = self._informers.get("pods", key(pod))
        uid = pod["metadata"]["uid"]
        if found is None or found["metadata"]["uid"] != uid or not found["spec"].get("nodeName"):
            self._snapshot.remove_pod(pod)
        self._queue.retry(key(pod), asyncio.get_running_loop().time())
        self._woken.set()

    def _on_pod(self, change: Change, old: Object | None) -> None:
        pod, name = change.object, key(change.object)
        causes = _causes(change)
        if change.type == "DELETED" or _is_finished(pod):
            self._unplaced.pop(name, None)
            if change.type == "DELETED":
                self._queue.forget(name)
            if self._snapshot.remove_pod(pod):
                self._help(causes)
        elif pod["spec"].get("nodeName"):
            self._unplaced.pop(name, None)
            self._snapshot.add_pod(pod)
            if old is None or not old["spec"].get("nodeName"):
                self._help(causes, picky_only=True)
        elif wants_node(pod) and (old is None or _asks_otherwise(old, pod)):
            self._queue.add(name, causes)
            self._woken.set()

    def _on_node(self, change: Change, old: Object | None) -> None:
        node = change.object
        if change.type == "DELETED":
            self._snapshot.remove_node(node["metadata"]["name"])
            return
        self._snapshot.set_node(node)
        if old is None or _offers_otherwise(old, node):
            self._help(_causes(change))

    def _on_claim(self, change: Change, old: Object | None) -> None:
        if change.type == "DELETED":
            self._snapshot.volumes.claims.pop(key(change.object), None)
        else:
            self._snapshot.volumes.claims[key(change.object)] = change.object
        for waiting in self._waits_for_claims.values():
            waiting.set()
        self._help(_causes(change))

    def _on_volume(self, change: Change, old: Object | None) -> None:
        _set(self._snapshot.volumes.volumes, change, change.object)
        self._help(_causes(change))

    def _on_class(self, change: Change, old: Object | None) -> None:
        _set(self._snapshot.volumes.classes, change, change.object)
        self._help(_causes(change))

    def _on_namespace(self, change: Change, old: Object | None) -> None:
        _set(self._snapshot.namespaces, change, change.object["metadata"].get("labels") or {})

    def _help(self, causes: tuple[trace.Cause, ...], picky_only: bool = False) -> None:
        """Something changed for the better: try those that wait again, once their backoff is over."""
        now = asyncio.get_running_loop().time()
        for name, waiting in list(self._unplaced.items()):
            if picky_only and not waiting.picky:
                continue
            del self._unplaced[name]
            # It goes on with the trace that made it; what helped is a link.
            self._queue.add_at(name, max(now, waiting.earliest), (*waiting.causes, *causes))
            self._woken.set()


@dataclass(frozen=True, slots=True)
class _Unplaced:
    """`picky` pods depend on where other pods are, so that a pod which gets a node may help them."""

    earliest: float
    picky: bool
    causes: tuple[trace.Cause, ...]


def _is_picky(pod: Object) -> bool:
    spec = pod["spec"]
    return bool((spec.get("affinity") or {}).get("podAffinity") or spec.get("topologySpreadConstraints"))


def _causes(change: Change) -> tuple[trace.Cause, ...]:
    cause = trace.parse(change.cause)
    return (cause,) if cause else ()


def _set(known: dict[str, Object], change: Change, value: Object) -> None:
    name = change.object["metadata"]["name"]
    if change.type == "DELETED":
        known.pop(name, None)
    else:
        known[name] = value


def _asks_otherwise(old: Object, new: Object) -> bool:
    """Whether a pod's change, not just of its status, may change where it can go."""
    return bool(
        old["spec"] != new["spec"]
        or old["metadata"].get("labels") != new["metadata"].get("labels")
        or old["metadata"]["uid"] != new["metadata"]["uid"]
    )


def _offers_otherwise(old: Object, new: Object) -> bool:
    """Whether a node's change is more than a heartbeat."""
    return bool(
        (old.get("spec") or {}) != (new.get("spec") or {})
        or old["metadata"].get("labels") != new["metadata"].get("labels")
        or (old.get("status") or {}).get("allocatable") != (new.get("status") or {}).get("allocatable")
    )


def _selected_node(claim: Object) -> str:
    return str((claim["metadata"].get("annotations") or {}).get(claims.SELECTED_NODE, ""))
