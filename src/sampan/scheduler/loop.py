"""The scheduler's loop: one pod after the other from the queue, to a node; then many at a time to the API.

    informers ─> feed ─> queue ─> cycle ─┬─> assumed, reserved ─> (permit) ─> pre-bind ─> bind
                           ^             └─> post-filter; condition and event
                           └── events, backoff ──┘

A placed pod counts on its node from then on, before the API server confirms it; a binding that fails takes it off
again. Start with `run`; what a pod goes through is in `cycle`, what wakes it in `queue` and `hints`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sampan.client.api import ApiError, Client, Unavailable
from sampan.host import trace
from sampan.machinery.objects import Object, changed
from sampan.reconcile.events import Recorder
from sampan.reconcile.loop import Informers
from sampan.scheduler import changes, configuration, cycle, gang, hints, outcome
from sampan.scheduler.configuration import Configuration, build
from sampan.scheduler.cycle import Reservation
from sampan.scheduler.decide import Cycle, Decision, SchedulingError, decide
from sampan.scheduler.feed import OPTIONAL, Feed
from sampan.scheduler.framework import Code, Status
from sampan.scheduler.handle import Emit, ProcessHandle
from sampan.scheduler.metrics import Metrics
from sampan.scheduler.outcome import Failure
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.queue import Queued, Rules, SchedulingQueue
from sampan.scheduler.snapshot import Snapshot

if TYPE_CHECKING:
    from sampan.scheduler.batch.mode import BatchMode
    from sampan.scheduler.extenders import Extender

SERVICE = "kube-scheduler"
# The entry of pluginConfig that puts a profile into batch mode (`batch.mode`).
BATCH = "SampanBatch"
# How long pods are placed before others on the loop get their turn, in seconds.
TURN = 0.005
# How many events are written at the same time.
TELLERS = 8
# How many pods are bound at the same time.
BINDERS = 256
# How far apart two pods begin to look, where a part of the nodes is enough.
FEW = 97
# From so many nodes on, they are kept as columns of numbers.
MANY_NODES = 50
# The most equal pods that are placed together.
RUN = 64

log = logging.getLogger(__name__)


async def run(
    client: Client,
    informers: Informers,
    config: Configuration | None = None,
    metrics: Metrics | None = None,
    ready: asyncio.Event | None = None,
) -> None:
    """Schedule the pods whose spec.schedulerName is a profile's, until cancelled.

    `ready` is set once all of the cluster is known.
    """
    chosen = config or configuration.default()
    recorders = {p.name: Recorder(client, p.name, writers=TELLERS) for p in chosen.profiles}

    def emit(about: Object, type: str, reason: str, message: str, component: str) -> None:
        recorders[component].emit(about, type, reason, message)

    scheduler = Scheduler(client, informers, chosen, emit, metrics or Metrics(), ready or asyncio.Event())
    async with asyncio.TaskGroup() as tasks:
        for recorder in recorders.values():
            tasks.create_task(recorder.run(), name="scheduler events")
        tasks.create_task(scheduler.run(), name="scheduler")


class Scheduler:
    """The process's state: what is known of the cluster, who waits, and who is on the way to a node."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        config: Configuration,
        emit: Emit,
        metrics: Metrics,
        ready: asyncio.Event,
    ) -> None:
        self.metrics, self._ready = metrics, ready
        self.snapshot = Snapshot()
        self._informers = informers
        self._extenders = _extenders(config)
        self._clock = asyncio.get_running_loop().time
        self._woken = asyncio.Event()
        self._binders = asyncio.Semaphore(BINDERS)
        self._placer: Any = None
        # Taken from the queue, but not yet looked at.
        self._next: Queued | None = None
        self._start = 0
        self.handle = ProcessHandle(
            client,
            self.snapshot,
            emit,
            informers.get,
            activate=self._activate,
            extenders=self._extenders,
            metrics=self.metrics,
        )
        self.profiles = build.profiles(config, self.handle)
        if config.percentage:
            self.profiles = {n: _sampling(p, config.percentage) for n, p in self.profiles.items()}
        self.later = {name: cycle.later(profile) for name, profile in self.profiles.items()}
        self.queue = self._make_queue(config)
        self.feed = Feed(
            self.snapshot, self.queue, self.handle.waiting, self.profiles, self._clock, self._woken.set
        )
        self.handle.watchers = self.feed.watchers
        self.handle.groups = self.feed.groups
        self._batch = self._batch_mode(config)
        self._show_gauges()

    def _batch_mode(self, config: Configuration) -> BatchMode | None:
        """Who gathers the pods of profiles in batch mode; loaded where a profile asks for it."""
        if not any(BATCH in profile.arguments for profile in config.profiles):
            return None
        from sampan.scheduler.batch.mode import BatchMode, modes

        return BatchMode(self, modes(config))

    def _make_queue(self, config: Configuration) -> SchedulingQueue:
        rules = {name: _rules(profile, bool(self._extenders)) for name, profile in self.profiles.items()}
        sort = next(iter(self.profiles.values())).queue_sort[0]
        return SchedulingQueue(rules, first=config.first_backoff, last=config.last_backoff, order=sort.key)

    def _show_gauges(self) -> None:
        show = self.metrics.gauge
        text = "Number of pending pods, by the queue type."
        sizes = self.queue.sizes
        show("scheduler_pending_pods", text, ("queue",), lambda: {(n,): s for n, s in sizes().items()})
        text = "Number of nodes, pods, and assumed (bound) pods in the scheduler cache."
        show("scheduler_cache_size", text, ("type",), self._cache_sizes)
        text = "Number of pods added to scheduling queues by event and queue type."
        show("scheduler_queue_incoming_pods_total", text, ("queue", "event"), self._incoming)
        text = "The number of unschedulable pods broken down by plugin name."
        show("scheduler_unschedulable_pods", text, ("plugin", "profile"), self.queue.rejected)

    def _incoming(self) -> dict[tuple[str, ...], float]:
        return dict(self.queue.incoming.items())

    def _cache_sizes(self) -> dict[tuple[str, ...], float]:
        pods = sum(len(node.pods) for node in self.snapshot.nodes.values())
        assumed = len(self.feed.assumed)
        return {("nodes",): len(self.snapshot.nodes), ("pods",): pods, ("assumed_pods",): assumed}

    async def run(self) -> None:
        """Schedule until cancelled."""
        optional = await outcome.served(self.handle.client, OPTIONAL)
        await self._informers.synced(self.feed.subscribe(self._informers, optional))
        self._ready.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                self.handle.spawn = lambda work, name: tasks.create_task(work, name=name)
                await self._schedule_all()
        finally:
            for extender in self._extenders:
                await extender.close()

    async def _schedule_all(self) -> None:
        turn = self._clock() + TURN
        while True:
            if self._placer is None and len(self.snapshot.nodes) > MANY_NODES:
                await self._load_columns()
            run = self._pop_run()
            if not run:
                await self._wait()
                turn = self._clock() + TURN
                continue
            await self._schedule_run(run)
            if self._clock() > turn:
                await asyncio.sleep(0)
                turn = self._clock() + TURN

    async def _load_columns(self) -> None:
        """Keep the nodes as columns from now on; small clusters do without, and without numpy."""
        loaded = await asyncio.to_thread(importlib.import_module, "sampan.scheduler.columns.placer")
        await asyncio.to_thread(loaded.native.load)
        self._placer = placer = loaded.Placer(self.snapshot, empty=True)
        for _ in placer.fill():
            await asyncio.sleep(0)

    def _pop_run(self) -> list[Queued]:
        """The next pod, with those right behind it that are its equals where columns can place them together."""
        first, self._next = self._next or self.queue.pop(self._clock()), None
        if first is None:
            return []
        run = [first]
        while self._is_ordinary(first) and len(run) < RUN and (item := self.queue.pop(self._clock())):
            if not self._is_ordinary(item) or not self._placer.alike(first.pod, item.pod):
                self._next = item
                break
            run.append(item)
        return run

    def _is_ordinary(self, item: Queued) -> bool:
        """Whether columns alone choose the pod's node."""
        pod = item.pod
        return not (
            self._placer is None
            or gang.group_of(pod.object)
            or (self._batch is not None and self._batch.takes(item))
            or pod.terminating
            or self.snapshot.holds(pod.uid)
            or self._asks_in_steps(self.profiles[pod.scheduler], pod)
        )

    async def _schedule_run(self, run: list[Queued]) -> None:
        """Place equal pods, each where it would go after those before it."""
        began, profile = time.time_ns(), self.profiles[run[0].pod.scheduler]
        nodes: list[str] = []
        if len(run) > 1:
            nodes = self._placer.place_run(profile, [item.pod for item in run])
            for _ in nodes:
                self.metrics.algorithm_seconds.observe((time.time_ns() - began) / 1e9 / len(nodes))
        for number, item in enumerate(run):
            try:
                if number < len(nodes):
                    self.take(item, Reservation(profile, item.pod, nodes[number]), began)
                elif gang.group_of(item.pod.object):
                    self._schedule_gang(item)
                elif self._batch is not None and self._batch.takes(item):
                    self._batch.add(item)
                else:
                    await self.schedule(item)
            except Exception as e:
                # A plugin's fault is one pod's, not everyone's.
                log.exception("cannot schedule %s", item.pod.key)
                self.forget(item.pod.uid)
                self._fail(item, Failure(f"{type(e).__name__}: {e}"), [])

    def _schedule_gang(self, first: Queued) -> None:
        """All waiting pods of a group together; most clusters have none, so its module is loaded here."""
        from sampan.scheduler.gang_cycle import GangCycle

        GangCycle(self, first).run()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self.queue.next_time()):
                await self._woken.wait()
        self._woken.clear()

    def _activate(self, uids: Iterable[str]) -> None:
        self.queue.activate(uids, self._clock())
        self._woken.set()

    # One pod

    async def schedule(self, item: Queued) -> None:
        """Find one pod a node and start its binding, or give it back to the queue."""
        pod, began = item.pod, time.time_ns()
        profile = self.profiles[pod.scheduler]
        if pod.terminating:
            text = f"skip schedule deleting pod: {pod.key}"
            self.handle.emit(pod.object, "Warning", "FailedScheduling", text, profile.name)
            self.queue.done(pod.uid)
            return
        if self.snapshot.holds(pod.uid):
            self.queue.done(pod.uid)
            return
        try:
            decision = await self._choose(profile, pod)
            if not decision.node:
                await self._make_room(item, profile, decision, began)
                return
        except SchedulingError as e:
            self.start_failing(item, Failure(str(e)), began)
            return
        finally:
            self.metrics.algorithm_seconds.observe((time.time_ns() - began) / 1e9)
        self.take(item, Reservation(profile, pod, decision.node), began)

    async def _choose(self, profile: Profile, pod: PodInfo) -> Decision:
        """The node: by single steps where something asks for them, by columns where there are many nodes."""
        if self._asks_in_steps(profile, pod):
            # Where a part is enough, each pod begins with another part.
            self._start += FEW if self._samples(profile) else 0
            return await cycle.choose(profile, self.snapshot, pod, self._extenders, self._start)
        return self.decide(profile, pod)

    def _asks_in_steps(self, profile: Profile, pod: PodInfo) -> bool:
        asked = any(extender.is_interested(pod) for extender in self._extenders)
        return asked or self._samples(profile) or bool(pod.nominated)

    def _samples(self, profile: Profile) -> bool:
        nodes = len(self.snapshot.nodes)
        return cycle.enough(nodes, profile.percentage_of_nodes_to_score) < nodes

    def decide(self, profile: Profile, pod: PodInfo) -> Decision:
        if self._placer is not None:
            found: Decision = self._placer.place(profile, pod)
            return found
        return decide(profile, self.snapshot, pod)

    def take(self, item: Queued, reservation: Reservation, began: int) -> None:
        """Count the pod on its node, reserve, ask for permission; then bind beside the others."""
        pod, node = reservation.pod, reservation.node
        self.snapshot.add_pod(pod, node)
        self.snapshot.withdraw(pod.uid)
        self.feed.assumed[pod.uid] = pod
        refused = self._reserved(reservation)
        if refused is not None:
            self.forget(reservation.pod.uid)
            self.start_failing(item, outcome.on_one_node(pod, node, refused), began)
            return
        self.start_binding(item, reservation, began)

    def start_binding(self, item: Queued, reservation: Reservation, began: int) -> None:
        """Bind, beside the others, a pod that counts on its node and has reserved there."""
        name = f"schedule {reservation.pod.key}"
        self.handle.spawn(self._bind(name, item, reservation, began), name)

    def _reserved(self, reservation: Reservation) -> Status | None:
        name, began = reservation.profile.name, time.perf_counter()
        refused = cycle.reserve(reservation, self.snapshot, self.later[name])
        self._observe("Reserve", refused, name, began)
        return refused or self.permit(reservation)

    def permit(self, reservation: Reservation) -> Status | None:
        """Ask whether the pod may be bound; where not, what it has reserved is given back."""
        began = time.perf_counter()
        if refused := cycle.permit(reservation, self.handle.waiting, self._clock()):
            reservation.unreserve()
        self._observe("Permit", refused, reservation.profile.name, began)
        return refused

    def _observe(self, point: str, found: Status | None, profile: str, began: float) -> None:
        code = found.code if found else Code.SUCCESS
        self.metrics.points.observe(time.perf_counter() - began, point, code, profile)

    def forget(self, uid: str) -> None:
        if self.feed.assumed.pop(uid, None) is not None:
            self.snapshot.remove_pod(uid)

    async def _bind(self, name: str, item: Queued, reservation: Reservation, began: int) -> None:
        with trace.span(name, SERVICE, causes=item.causes) as span:
            span.start = began
            if refused := await self._permitted(reservation):
                self._fail_bound(
                    item, reservation, outcome.on_one_node(item.pod, reservation.node, refused), began
                )
                return
            # From here on the pod is no longer unschedulable, whatever happens: no event is kept for it.
            self.queue.done(item.pod.uid)
            async with self._binders:
                found = await self._bound(reservation)
            if found is not None:
                self._fail_bound(item, reservation, Failure(found.message), began)
                return
            text = f"Successfully assigned {item.pod.key} to {reservation.node}"
            self.handle.emit(item.pod.object, "Normal", "Scheduled", text, reservation.profile.name)
            self._count_scheduled(item, reservation.profile, began)

    async def _permitted(self, reservation: Reservation) -> Status | None:
        waiting = self.handle.waiting.get(reservation.pod.uid)
        if waiting is None:
            return None
        began = self._clock()
        try:
            found = await waiting.decision()
        finally:
            self.handle.waiting.remove(reservation.pod.uid)
        code = found.code if found else Code.SUCCESS
        self.metrics.permit_seconds.observe(self._clock() - began, code)
        return found

    async def _bound(self, reservation: Reservation) -> Status | None:
        try:
            return await cycle.bind(reservation, self._extenders, self._observe)
        except (ApiError, Unavailable, TimeoutError) as e:
            return Status(Code.ERROR, (str(e) or "no answer in time",))
        except Exception as e:
            log.exception("cannot bind %s", reservation.pod.key)
            return Status(Code.ERROR, (f"{type(e).__name__}: {e}",))

    def _count_scheduled(self, item: Queued, profile: Profile, began: int) -> None:
        metrics, now = self.metrics, self._clock()
        metrics.attempts.add("scheduled", profile.name)
        metrics.attempt_seconds.observe((time.time_ns() - began) / 1e9, "scheduled", profile.name)
        metrics.pod_attempts.observe(item.attempts)
        attempts = str(item.attempts) if item.attempts < 15 else "15+"
        metrics.sli_seconds.observe(now - (item.first or now), attempts)
        if item.swept_at >= item.since:
            metrics.after_flush.add()

    # What fails

    async def _make_room(self, item: Queued, profile: Profile, decision: Decision, began: int) -> None:
        """No node will do: let the post-filter plugins try to make one do later."""
        if not decision.nodes:
            self.start_failing(item, outcome.NO_NODES, began)
            return
        told: list[str] = []
        nominated: str | None = None if profile.post_filter else ""
        status: Status | None = None
        start, steps = time.perf_counter(), Cycle(profile, self.snapshot, item.pod)
        if profile.post_filter:
            steps.pre_filter()
        for plugin in profile.post_filter:
            status, found = await plugin.post_filter(steps, outcome.statuses(decision, self.snapshot))
            if status.code is not Code.UNSCHEDULABLE:
                told, nominated = list(status.reasons), found
                break
            told += status.reasons
            nominated = nominated if found is None else found
        self._observe("PostFilter", status, profile.name, start)
        failure = outcome.unfit(decision, ", ".join(told))
        self.start_failing(item, replace(failure, nominated=nominated), began)

    def start_failing(self, item: Queued, failure: Failure, began: int) -> None:
        """Give the pod back to the queue at once, then tell users."""
        name = f"schedule {item.pod.key}"
        causes = list(item.causes)
        if not self._fail(item, failure, causes):
            return
        self._count_failed(item, failure, began)
        self.handle.spawn(self._tell(name, item.pod, failure, causes, began), name)

    def _fail_bound(self, item: Queued, reservation: Reservation, failure: Failure, began: int) -> None:
        """What was placed is not bound: take all back, and try again."""
        reservation.unreserve()
        held = reservation.pod.uid in self.feed.assumed
        self.forget(reservation.pod.uid)
        gone = changed(reservation.pod.object, ("spec", "nodeName"), reservation.node)
        rejected, uid = not failure.is_error, reservation.pod.uid
        if rejected:
            self.start_failing(item, replace(failure, nominated=""), began)
        if held:
            only = (lambda pod: pod.uid != uid) if rejected else None
            self.queue.happened(changes.POD_DELETED, gone, None, self._clock(), only=only)
        if not rejected:
            self.start_failing(item, replace(failure, nominated=""), began)
        self._woken.set()

    def _fail(self, item: Queued, failure: Failure, causes: list[trace.Cause]) -> bool:
        """Back into the queue, if the pod still waits for a node; False where there is nothing to tell."""
        latest = self._informers.get("pods", item.pod.key)
        uid = item.pod.uid
        if latest is None or latest["metadata"].get("uid") != uid or latest["spec"].get("nodeName"):
            self.queue.done(uid)
            return False
        item.pod = PodInfo(latest)
        self.queue.give_back(item, self._clock(), rejectors=failure.rejectors, pending=failure.pending)
        node = item.pod.nominated if failure.nominated is None else failure.nominated
        self.snapshot.withdraw(uid)
        if node:
            self.snapshot.nominate(item.pod, node)
        self._woken.set()
        return True

    def _count_failed(self, item: Queued, failure: Failure, began: int) -> None:
        result = "error" if failure.is_error else "unschedulable"
        self.metrics.attempts.add(result, item.pod.scheduler)
        self.metrics.attempt_seconds.observe((time.time_ns() - began) / 1e9, result, item.pod.scheduler)

    async def _tell(
        self, name: str, pod: PodInfo, failure: Failure, causes: list[trace.Cause], began: int
    ) -> None:
        with trace.span(name, SERVICE, causes=causes) as span:
            span.start = began
            text = outcome.note(failure.message)
            self.handle.emit(pod.object, "Warning", "FailedScheduling", text, pod.scheduler)
            try:
                await outcome.write(self.handle.client, pod, failure)
            except (ApiError, Unavailable) as e:
                log.warning("%s: its status cannot be written: %s", name, e)


def _sampling(profile: Profile, percentage: int) -> Profile:
    """The profile's own percentage goes before the one for all."""
    if profile.percentage_of_nodes_to_score is not None:
        return profile
    return replace(profile, percentage_of_nodes_to_score=percentage)


def _extenders(config: Configuration) -> tuple[Extender, ...]:
    if not config.extenders:
        return ()
    from sampan.scheduler.extenders import Extender

    return tuple(Extender(e) for e in config.extenders)


def _rules(profile: Profile, extenders: bool) -> Rules:
    def passes(plugin: Any) -> Any:
        return lambda pod: plugin.pre_enqueue(pod) is None

    gates = tuple((plugin.name, passes(plugin)) for plugin in profile.pre_enqueue)
    return Rules(hints.of(profile, extenders), gates)
