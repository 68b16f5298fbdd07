"""Batch mode of the running scheduler: the pods of a profile are gathered for a moment, then planned together.

A profile is in this mode when its pluginConfig has an entry for SampanBatch:

    - name: SampanBatch
      args: {objective: FewestNodes, seconds: 2, window: 1}

`window` is how long pods are gathered, in seconds; `seconds` how long the solver may think. The scheduler goes on with
other profiles' pods meanwhile. Pods that the plan leaves out take the ordinary way, one by one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sampan.machinery.objects import Object
from sampan.scheduler.batch import plan
from sampan.scheduler.batch.plan import OBJECTIVES, Wish
from sampan.scheduler.batch.problem import FEWEST_NODES
from sampan.scheduler.configuration import Configuration, ConfigurationError
from sampan.scheduler.cycle import Reservation
from sampan.scheduler.queue import Queued

if TYPE_CHECKING:
    from sampan.scheduler.loop import Scheduler

NAME = "SampanBatch"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mode:
    """What is wished of a plan, and for how many seconds pods are gathered for it."""

    wish: Wish
    window: float


def modes(config: Configuration) -> dict[str, Mode]:
    """The profiles in batch mode, by scheduler name. Raises ConfigurationError."""
    return {p.name: _mode(p.name, p.arguments[NAME] or {}) for p in config.profiles if NAME in p.arguments}


def _mode(profile: str, args: Object) -> Mode:
    where = f"profile {profile}: pluginConfig {NAME}"
    if unknown := set(args) - {"objective", "seconds", "window", "apiVersion", "kind"}:
        raise ConfigurationError(f"{where}: unknown field {sorted(unknown)[0]!r}")
    objective = args.get("objective", FEWEST_NODES)
    if objective not in OBJECTIVES:
        raise ConfigurationError(f"{where}: objective is {objective!r}; it may be {' or '.join(OBJECTIVES)}")
    for name in ("seconds", "window"):
        value = args.get(name, 1)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 600:
            raise ConfigurationError(f"{where}: {name} is {value!r}, not a number of seconds up to 600")
    return Mode(Wish(objective, float(args.get("seconds", 2))), float(args.get("window", 1)))


class BatchMode:
    """The pods that are gathered, by scheduler name, and the plans that are being made."""

    def __init__(self, scheduler: Scheduler, found: dict[str, Mode]) -> None:
        self._scheduler, self._modes = scheduler, found
        self._gathered: dict[str, list[Queued]] = {}

    def takes(self, item: Queued) -> bool:
        """Whether the pod is to be planned with others. One that is tried again takes the ordinary way."""
        return item.pod.scheduler in self._modes and item.attempts == 1 and not item.pod.terminating

    def add(self, item: Queued) -> None:
        """Gather a pod; the first one starts the window."""
        name = item.pod.scheduler
        if name in self._gathered:
            self._gathered[name].append(item)
            return
        self._gathered[name] = [item]
        self._scheduler.handle.spawn(self._run(name), f"batch of {name}")

    async def _run(self, name: str) -> None:
        mode, scheduler = self._modes[name], self._scheduler
        await asyncio.sleep(mode.window)
        items = {item.pod.uid: item for item in self._gathered.pop(name)}
        began = time.time_ns()
        nodes: dict[str, str] = {}
        try:
            profile = scheduler.profiles[name]
            pods = [item.pod for item in items.values()]
            found = await plan.make(profile, scheduler.snapshot, pods, mode.wish)
            nodes = found.nodes
            if found.trouble:
                log.warning("the batch of %s was placed one by one: %s", name, found.trouble)
        except Exception:
            log.exception("the batch of %s cannot be planned; its pods are placed one by one", name)
        for uid, item in items.items():
            if uid in nodes and nodes[uid] in scheduler.snapshot.nodes:
                scheduler.take(item, Reservation(profile, item.pod, nodes[uid]), began)
            else:
                await scheduler.schedule(item)
