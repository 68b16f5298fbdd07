"""Waits that double: for crashing containers, images that cannot be pulled, and steps that fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """`delay` seconds from `since`; it is forgotten when it was not renewed for twice the longest delay."""

    delay: float
    since: float

    def left(self, now: float, since: float | None = None) -> float:
        """How long still to wait; counted from `since` where that is given (such as a container's end)."""
        return max(0.0, self.delay - (now - (self.since if since is None else since)))


@dataclass(frozen=True, slots=True)
class Doubling:
    first: float
    longest: float

    def after(self, last: Backoff | None, now: float) -> Backoff:
        """The wait that follows `last` at `now`."""
        if last is None or now - last.since > 2 * self.longest:
            return Backoff(self.first, now)
        return Backoff(min(last.delay * 2, self.longest), now)


# Upstream's MaxContainerBackOff, its image backoff, and what a worker waits after a failed step.
CRASH = Doubling(10.0, 300.0)
PULL = Doubling(10.0, 300.0)
STEP = Doubling(1.0, 30.0)


def duration(seconds: float) -> str:
    """As Go prints a whole number of seconds: `10s`, `1m20s`, `5m0s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
