"""Probes of a running container: a task for each, counting successes and failures against their thresholds.

`count` is the state machine, a plain function; `Prober` holds the tasks of one container.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sampan.host import trace
from sampan.machinery.objects import Object
from sampan.node.checks import Answer, Target, check
from sampan.node.decide import Probed
from sampan.node.runtime import SERVICE, Runtime

KINDS = ("startup", "readiness", "liveness")


@dataclass(frozen=True, slots=True)
class Count:
    """`passed` is the verdict that stands; `row` how many equal answers came in a row."""

    passed: bool
    row: int = 0
    last: bool | None = None


def count(before: Count, ok: bool, probe: Object) -> Count:
    """One more answer: the verdict changes once a threshold is reached."""
    row = before.row + 1 if before.last is ok else 1
    threshold = probe.get("successThreshold", 1) if ok else probe.get("failureThreshold", 3)
    return Count(ok if row >= threshold else before.passed, row, ok)


Tell = Callable[[str, str, str], None]  # type, reason, message


@dataclass(slots=True)
class Prober:
    """The probes of one container. `changed` is called when a verdict changes.

    `ready` and `started` are what was known before, when the node process itself was restarted.
    """

    runtime: Runtime
    target: Target
    began: float
    changed: Callable[[], None]
    tell: Tell
    ready: bool = False
    started: bool = False
    failed: str = ""
    # How often each kind of probe ended with each result.
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _startup_passed: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, group: asyncio.TaskGroup) -> None:
        container = self.target.container
        self.started = self.started or "startupProbe" not in container
        self.ready = self.ready or "readinessProbe" not in container
        if self.started:
            self._startup_passed.set()
        for kind in KINDS:
            if f"{kind}Probe" in container and not (kind == "startup" and self.started):
                self._tasks.append(group.create_task(self._run(kind, container[f"{kind}Probe"])))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    @property
    def result(self) -> Probed:
        return Probed(self.ready and self.started, self.started, self.failed)

    async def _run(self, kind: str, probe: Object) -> None:
        if kind != "startup":
            await self._startup_passed.wait()
        await asyncio.sleep(max(0.0, self.began + probe.get("initialDelaySeconds", 0) - time.time()))
        standing = Count(kind == "liveness" or (kind == "readiness" and self.ready))
        while True:
            answer = await self._ask(kind, probe)
            standing = count(standing, answer.ok, probe)
            self.counts[kind, "successful" if answer.ok else "failed"] += 1
            if not answer.ok:
                self.tell("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {answer.output}")
            if self._settle(kind, standing, probe):
                return
            await asyncio.sleep(probe.get("periodSeconds", 10))

    async def _ask(self, kind: str, probe: Object) -> Answer:
        timeout = float(probe.get("timeoutSeconds", 1))
        name = self.target.container["name"]
        if standing_well(kind, self.ready, self.started):
            return await check(self.runtime, self.target, probe, timeout)
        with trace.span("probe", SERVICE, attributes={"container": name, "probe": kind}):
            return await check(self.runtime, self.target, probe, timeout)

    def _settle(self, kind: str, standing: Count, probe: Object) -> bool:
        """Take over a verdict; True where this probe has nothing more to do."""
        before = self.result
        if kind == "readiness":
            self.ready = standing.passed
        elif kind == "startup" and standing.passed:
            self.started = True
            self._startup_passed.set()
        elif standing.last is False and standing.row >= probe.get("failureThreshold", 3):
            self.failed = kind
        if self.result != before:
            self.changed()
        return bool(self.failed) or (kind == "startup" and self.started)


def standing_well(kind: str, ready: bool, started: bool) -> bool:
    """Whether a probe repeats what is known: such are no spans, or they would drown the rest."""
    return kind == "liveness" or (kind == "readiness" and ready)
