"""One pod's worker: it looks, decides, and carries out, for as long as the pod is on this node.

What it knows comes from three sides: the pod as the API has it (`update`), the runtime (`touch`), and its own
probes. Whatever takes long runs as a job of its own beside the loop, so that a deletion is seen at once.
Nothing is kept on disk: the runtime and the API hold all that a new process needs to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager
from typing import Any

from sampan.client.api import ApiError, Unavailable
from sampan.host import trace
from sampan.machinery.cri import CriError, messages
from sampan.machinery.objects import Object, changed
from sampan.node import names, pods
from sampan.node.backoff import CRASH, STEP, Backoff
from sampan.node.checks import Target, check
from sampan.node.cleaning import clean
from sampan.node.context import Context
from sampan.node.decide import (
    Action,
    Decision,
    Probed,
    RemoveContainer,
    RemoveSandbox,
    Situation,
    StartContainer,
    StartSandbox,
    StopContainer,
    StopSandbox,
    decide,
    terminate,
)
from sampan.node.observed import Container, Observed
from sampan.node.probes import Prober
from sampan.node.report import Reporter
from sampan.node.resizing import Resizer
from sampan.node.runtime import SERVICE
from sampan.node.start import Starter, StepFailed
from sampan.node.status import Known, status

log = logging.getLogger(__name__)
_SOON = 0.2  # seconds after a change of resources until the runtime is asked what holds
LEAST_GRACE = 2  # seconds that a container gets after its preStop hook used up all others


class Worker:
    """`pod` is the newest known; an orphan's is made up from the runtime's labels and counts as `removed`."""

    def __init__(self, node: Context, pod: Object, cause: str = "", *, removed: bool = False):
        self.node = node
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.removed = removed
        self.observed = Observed()
        self.cause = trace.parse(cause)
        self._wake = asyncio.Event()
        self._looked = False
        # Whether the node took the pod; None until it was asked.
        self._admitted = True if (pod.get("status") or {}).get("startTime") else None
        self._adopted = False
        self._starting = False
        self._stopping: set[str] = set()
        self._crashes: dict[str, Backoff] = {}
        self._held: dict[str, Backoff] = {}
        self._waiting: dict[str, tuple[str, str]] = {}
        self._backing_off: dict[str, str] = {}
        self._probers: dict[str, Prober] = {}
        self._end: tuple[str, str] | None = None
        self._ended = False
        self._until: float | None = None
        self._starter = Starter(node, pod)
        self._resizer = Resizer(node, self._starter.tell)
        self.reporter = Reporter(node, pod)
        self.accepted = self.reporter.accepted

    # What others tell it.

    def update(self, pod: Object, cause: str = "") -> None:
        """The pod has changed in the API."""
        before, self.pod = self.pod, pod
        self._starter.pod = pod
        self.reporter.update(pod)
        self.cause = trace.parse(cause) or self.cause
        if self._until is not None and pods.grace_period(pod) < pods.grace_period(before):
            self._until = min(self._until, self.node.clock() + pods.grace_period(pod))
            self._stopping.clear()  # ask again, with the shorter period
        if before["metadata"].get("labels") != pod["metadata"].get("labels") or before["metadata"].get(
            "annotations"
        ) != pod["metadata"].get("annotations"):
            self.node.volumes.pod_changed(pod)
        self._wake.set()

    def remove(self) -> None:
        """The pod is gone from the API: end it, and report no more."""
        self.removed = True
        self.reporter.close()
        self._wake.set()

    def touch(self) -> None:
        """Something happened to the pod in the runtime."""
        self._looked = False
        self._wake.set()

    def wake(self) -> None:
        """Something else may have changed what to do: a probe, a volume's source."""
        self._held.pop("", None)
        self._wake.set()

    def evict(self, reason: str, message: str) -> None:
        """End the pod, as failed, for the node's own reasons."""
        if self._end is None:
            self._end = (reason, message)
            self._starter.tell("Warning", reason, message)
            self.wake()

    @property
    def deleted(self) -> bool:
        return self.removed or bool(self.pod["metadata"].get("deletionTimestamp"))

    @property
    def takes_room(self) -> bool:
        """Whether the pod counts against what the node has."""
        return bool(self._admitted) and not self._ended

    # The loop.

    async def run(self) -> None:
        """Until nothing of the pod is left on this node and in the API."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            reporting = group.create_task(self.reporter.run())
            await self._live()
            for prober in self._probers.values():
                prober.stop()
            with self._span():
                await self._settle()
            while not self.deleted:
                self._wake.clear()
                self._report()
                await self._wake.wait()
            with self._span():
                await self._clean()
            await self.reporter.finish()
            reporting.cancel()

    async def _live(self) -> None:
        """The stages running and terminating."""
        again: float | None = 0.0
        while not self._ended:
            await self._wait(again)
            if not await self._look():
                again = 1.0
                continue
            decision = self._decide()
            again = decision.again
            self._act(decision)
            if self._end is None and not self._starting:
                again = await self._resize(again)
            self._report()

    async def _wait(self, again: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(again):
                await self._wake.wait()
        self._wake.clear()

    async def _look(self) -> bool:
        """Ask the runtime, where something may have changed; False where it does not answer."""
        if self._looked:
            return True
        self._looked = True
        try:
            self.observed = await self.node.runtime.observe(self.uid)
        except CriError as e:
            log.warning("pod %s: %s", names.full_name(self.pod), e)
            self._looked = False
            return False
        if self._admitted is None and not await self._admit():
            self._looked = False
            return False
        self._probe()
        sandbox = self.observed.sandbox
        if sandbox and not self._starting:
            self._starter.sandbox, self._starter.ips = sandbox.id, sandbox.ips
        if not self._adopted:
            self._adopted = True
            if self.observed.sandboxes and not self.deleted and not pods.is_terminal(self.pod):
                self._job(self._adopt())
        return True

    async def _admit(self) -> bool:
        """Ask the node whether it takes the pod, whose end it is if not; False where that cannot be told now."""
        if not self.deleted and not self.observed.sandboxes:
            try:
                refused = await self.node.admit(self.pod)
            except (ApiError, Unavailable) as e:
                log.warning("pod %s: %s", names.full_name(self.pod), e)
                return False
            if refused:
                self._admitted, self._end = False, refused
                self._starter.tell("Warning", *refused)
                return True
        self._admitted = True
        return True

    def _situation(self) -> Situation:
        return Situation(
            pod=self.pod,
            observed=self.observed,
            now=self.node.clock(),
            started_at=self.accepted,
            starting=self._starting,
            stopping=frozenset(self._stopping),
            probes=self._probed(),
            crashes=self._crashes,
            held=self._held,
        )

    def _decide(self) -> Decision:
        situation = self._situation()
        if self._end is None and (self.deleted or pods.is_terminal(self.pod)):
            known = self.pod.get("status") or {}
            self._end = (
                (known.get("reason", ""), known.get("message", ""))
                if pods.is_terminal(self.pod)
                else ("", "")
            )
        if self._end is None:
            decision = decide(situation)
            if decision.end is None:
                self._back_off(decision)
                return decision
            self._end = decision.end
            if decision.end[0]:
                self._starter.tell("Normal", decision.end[0], decision.end[1])
        decision = terminate(situation)
        self._ended = decision.ended
        return decision

    def _back_off(self, decision: Decision) -> None:
        """Show why crashed containers wait, and tell of it once each time."""
        for name, (reason, message) in decision.waiting.items():
            self._waiting[name] = (reason, message)
            newest = self.observed.latest(name)
            if newest and self._backing_off.get(name) != newest.id:
                self._backing_off[name] = newest.id
                text = f"Back-off restarting failed container {name} in pod {names.full_name(self.pod)}"
                self._starter.tell("Warning", "BackOff", text, pods.named(self.pod, name))

    # Carrying out.

    def _act(self, decision: Decision) -> None:
        starts: list[StartSandbox | StartContainer] = []
        for action in decision.actions:
            if isinstance(action, StartSandbox | StartContainer):
                starts.append(action)
            else:
                self._stopping.add(action.id)
                self._job(self._undo(action))
        if starts and not self._starting:
            self._starting = True
            self._job(self._start(starts))

    async def _resize(self, again: float | None) -> float | None:
        """Bring running containers to the resources of the spec; returns when to look again."""
        try:
            late = await self._resizer.step(self.pod, self.observed)
        except (ApiError, Unavailable) as e:
            log.warning("pod %s: resize: %s", names.full_name(self.pod), e)
            return 1.0
        for change in late:
            if change.id not in self._stopping:
                text = f"Container {change.name} resize requires restart"
                self._stopping.add(change.id)
                self._job(self._undo(StopContainer(change.id, change.name, text)))
        if self._resizer.state.active and not late:
            self._looked = False  # what the runtime says now
        waits = [t for t in (again, self._resizer.again, _SOON if self._resizer.state.active else None) if t]
        return min(waits, default=None)

    def _job(self, work: Coroutine[Any, Any, None]) -> None:
        self._group.create_task(self._guard(work))

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a job within the trace of what caused it; afterwards look again."""
        try:
            with self._span():
                await work
        except Exception:
            log.exception("pod %s: a step failed in an unforeseen way", names.full_name(self.pod))
            self._held[""] = STEP.after(self._held.get(""), self.node.clock())
        self.touch()

    def _span(self) -> AbstractContextManager[trace.Span]:
        """A span that continues what caused the pod's last change."""
        meta = self.pod["metadata"]
        causes = [self.cause] if self.cause else []
        return trace.span(f"sync pod {meta.get('namespace')}/{meta['name']}", SERVICE, causes=causes)

    async def _adopt(self) -> None:
        """A pod that runs already, seen by a new process: its volumes are to be kept up to date again."""
        with contextlib.suppress(StepFailed):
            await self._starter.prepare()

    async def _start(self, actions: list[StartSandbox | StartContainer]) -> None:
        try:
            if not await self._ground(actions):
                return
            for action in actions:
                if self.deleted or self._end is not None:
                    return
                if isinstance(action, StartContainer):
                    await self._start_container(action)
        finally:
            self._starting = False

    async def _ground(self, actions: list[StartSandbox | StartContainer]) -> bool:
        """The sandbox and the volumes, made side by side; False where one of them failed."""
        first = actions[0]
        steps = [self._starter.prepare()]
        if isinstance(first, StartSandbox):
            steps.append(self._sandbox(first.attempt))
        results = await asyncio.gather(*steps, return_exceptions=True)
        for result in results:
            if isinstance(result, StepFailed):
                self._held[""] = STEP.after(self._held.get(""), self.node.clock())
                log.info("pod %s: %s", names.full_name(self.pod), result)
            elif isinstance(result, BaseException):
                raise result
        return not any(results)

    async def _sandbox(self, attempt: int) -> None:
        await self._starter.start_sandbox(attempt)
        self.observed = await self.node.runtime.observe(self.uid)
        if sandbox := self.observed.sandbox:
            self._starter.ips = sandbox.ips
        self._report()

    async def _start_container(self, action: StartContainer) -> None:
        now = self.node.clock()
        # The wait after this run: not before its start, while the last run is still what is seen.
        crash = CRASH.after(self._crashes.get(action.name), now)
        try:
            await self._starter.start_container(action)
        except StepFailed as e:
            self._waiting[action.name] = (e.reason, str(e))
            held = STEP.after(self._held.get(action.name), now) if e.again is None else Backoff(e.again, now)
            self._held[action.name] = held
            if e.reason.startswith(("Err", "Image", "Invalid", "CreateContainerConfig")):
                self._crashes.pop(action.name, None)
            elif action.attempt:
                self._crashes[action.name] = crash
            return
        if action.attempt:
            self._crashes[action.name] = crash
        self._held.pop(action.name, None)
        self._waiting.pop(action.name, None)
        self.touch()

    async def _undo(self, action: Action) -> None:
        id = getattr(action, "id", "")
        try:
            if isinstance(action, StopContainer):
                await self._stop(action)
            elif isinstance(action, RemoveContainer):
                request = messages.RemoveContainerRequest(container_id=id)
                await self.node.runtime.cri.call("RemoveContainer", request)
                self.node.runtime.forget(id)
            elif isinstance(action, StopSandbox):
                request = messages.StopPodSandboxRequest(pod_sandbox_id=id)
                await self.node.runtime.step("stop sandbox", "StopPodSandbox", request)
            elif isinstance(action, RemoveSandbox):
                request = messages.RemovePodSandboxRequest(pod_sandbox_id=id)
                await self.node.runtime.step("remove sandbox", "RemovePodSandbox", request)
        except CriError as e:
            if e.code != "NOT_FOUND":
                log.warning(
                    "pod %s: %s of %s: %s", names.full_name(self.pod), type(action).__name__, id[:12], e
                )
                self._starter.tell("Warning", "FailedKillPod", f"error killing pod: {e}")
                await asyncio.sleep(1.0)
        finally:
            self._stopping.discard(id)

    async def _stop(self, action: StopContainer) -> None:
        """Stop a container: its preStop hook, then SIGTERM, then after the rest of the grace period SIGKILL."""
        now = self.node.clock()
        grace = pods.grace_period(self.pod) if action.grace is None else max(1, action.grace)
        if self._end is not None:
            self._until = self._until or now + grace
            grace = max(0, round(self._until - now))
        container = pods.named(self.pod, action.name) or {"name": action.name}
        self._starter.tell("Normal", "Killing", action.message, container)
        if prober := self._probers.get(action.id):
            prober.stop()
        handler = (container.get("lifecycle") or {}).get("preStop")
        if handler and grace:
            await self._pre_stop(action.id, container, handler, grace)
            grace = max(LEAST_GRACE, round(grace - (self.node.clock() - now)))
        request = messages.StopContainerRequest(container_id=action.id, timeout=grace)
        await self.node.runtime.step(
            f"stop container {action.name}", "StopContainer", request, timeout=grace + 60
        )

    async def _pre_stop(self, id: str, container: Object, handler: Object, grace: float) -> None:
        ips = self._starter.ips
        target = Target(self.pod, container, id, ips[0] if ips else self.node.address)
        try:
            async with asyncio.timeout(grace):
                answer = await check(self.node.runtime, target, handler, grace)
        except TimeoutError:
            return
        if not answer.ok:
            self._starter.tell(
                "Warning", "FailedPreStopHook", f"PreStopHook failed: {answer.output}", container
            )

    # Probes.

    def _probe(self) -> None:
        """A prober for each running container, none for others."""
        running = {c.id: c for c in self.observed.containers if c.state == "running"}
        for id in self._probers.keys() - running.keys():
            self._probers.pop(id).stop()
        for id, seen in running.items():
            container = pods.named(self.pod, seen.name)
            if id not in self._probers and container is not None and self._end is None and not self.deleted:
                self._probers[id] = self._prober(container, seen)

    def _prober(self, container: Object, seen: Container) -> Prober:
        before = self._reported(seen.id)
        sandbox = self.observed.sandbox
        ip = sandbox.ips[0] if sandbox and sandbox.ips else self.node.address
        made = Prober(
            self.node.runtime,
            Target(self.pod, container, seen.id, ip),
            seen.started,
            self._wake.set,
            lambda t, r, m: self._starter.tell(t, r, m, container),
            ready=bool(before.get("ready")),
            started=bool(before.get("started")),
        )
        made.start(self._group)
        return made

    def _reported(self, id: str) -> Object:
        """What the API has as this container's status: a new process goes on from there."""
        known = self.pod.get("status") or {}
        for s in (*(known.get("containerStatuses") or ()), *(known.get("initContainerStatuses") or ())):
            if s.get("containerID", "").endswith(f"//{id}"):
                return dict(s)
        return {}

    def _probed(self) -> dict[str, Probed]:
        return {id: prober.result for id, prober in self._probers.items()}

    def probe_counts(self) -> Iterator[tuple[str, Counter[tuple[str, str]]]]:
        """Of each running container with probes: how often each kind ended with each result."""
        for prober in self._probers.values():
            yield prober.target.container["name"], prober.counts

    # Reporting, and the end.

    def _report(self) -> None:
        if self.removed:
            return
        # A container that runs, or ended for good, waits for nothing any more.
        for name in list(self._waiting):
            newest = self.observed.latest(name)
            if newest and newest.state == "running" and not self._held.get(name):
                del self._waiting[name]
        known = Known(
            pod=changed(self.pod, ("status",), self.reporter.reported),
            observed=self.observed,
            probes=self._probed(),
            waiting=self._waiting,
            runtime=self.node.runtime.name,
            host_ip=self.node.address,
            started_at=self.accepted,
            now=self.node.clock(),
            ended=self._ended,
            end=self._end or ("", ""),
            resizing=self._resizer.state,
        )
        self.reporter.report(status(known), self.cause)

    async def _settle(self) -> None:
        """Nothing runs any more: let go of what the pod held of the node, and report the end."""
        try:
            await self.node.volumes.tear_down(self.uid)
            await self.node.cgroups.remove(self.pod)
        except OSError as e:
            log.warning("pod %s: %s", names.full_name(self.pod), e)
        self._report()

    async def _clean(self) -> None:
        self._report()
        await clean(self.node, self.pod)
        self.node.images.forget(self.uid)


def orphan(labels: dict[str, str]) -> Object:
    """A pod that only the runtime knows any more, from the labels of what is left of it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": labels.get(names.POD_NAME, ""),
            "namespace": labels.get(names.POD_NAMESPACE, ""),
            "uid": labels[names.POD_UID],
        },
        "spec": {"containers": []},
    }
