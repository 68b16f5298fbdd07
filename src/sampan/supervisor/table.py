"""When a supervised process is started, restarted and stopped: a table, without processes or clocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

State = Literal["waiting", "starting", "ready", "stopping", "stopped"]
Happening = Literal["due", "notified", "exited", "asked to stop"]
Action = Literal["", "spawn", "terminate"]

# What follows from a happening in a state: the next state, and what is to be done. Whatever is not here is ignored.
TRANSITIONS: dict[tuple[State, Happening], tuple[State, Action]] = {
    ("waiting", "due"): ("starting", "spawn"),
    ("waiting", "asked to stop"): ("stopped", ""),
    ("starting", "notified"): ("ready", ""),
    ("starting", "exited"): ("waiting", ""),
    ("starting", "asked to stop"): ("stopping", "terminate"),
    ("ready", "exited"): ("waiting", ""),
    ("ready", "asked to stop"): ("stopping", "terminate"),
    ("stopping", "exited"): ("stopped", ""),
}

FIRST_DELAY = 0.05
LONGEST_DELAY = 10.0
# One that had been ready was most likely killed, and others wait for it.
LONGEST_DELAY_ONCE_READY = 1.0
# A process that lived this long is healthy: the next failure is its first.
HEALTHY_AFTER = 10.0


@dataclass(frozen=True, slots=True)
class Life:
    """Where one process stands. Times are seconds of a monotonic clock; `due` is when a waiting one starts."""

    state: State = "waiting"
    due: float = 0.0
    since: float = 0.0
    delay: float = 0.0
    restarts: int = 0


def step(life: Life, happening: Happening, now: float) -> tuple[Life, Action]:
    """The life after a happening, and what is to be done about it."""
    state, action = TRANSITIONS.get((life.state, happening), (life.state, ""))
    if state == life.state:
        return life, ""
    after = replace(life, state=state)
    if action == "spawn":
        after = replace(after, since=now)
    if happening == "exited" and state == "waiting":
        longest = LONGEST_DELAY_ONCE_READY if life.state == "ready" else LONGEST_DELAY
        after = _wait(after, now, longest)
    return after, action


def _wait(life: Life, now: float, longest: float) -> Life:
    """Restart at once after a healthy life, else after a delay that doubles up to `longest` seconds."""
    healthy = now - life.since >= HEALTHY_AFTER
    delay = FIRST_DELAY if healthy else min(max(life.delay * 2, FIRST_DELAY), longest)
    return replace(life, due=now + delay, delay=delay, restarts=life.restarts + 1)
