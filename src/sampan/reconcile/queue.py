"""A work queue: each key at most once, never handed out twice at a time, with all causes of its waking.

    add ──> waiting ──pop──> active ──done──> (waiting again, if it was added meanwhile)
    add_at ──(time comes)──> waiting

The queue has no clock of its own: times are given to it, in seconds on any one clock.
Source: the semantics of client-go's workqueue (https://pkg.go.dev/k8s.io/client-go/util/workqueue).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from sampan.host.trace import Cause
from sampan.machinery.objects import Key

FIRST_RETRY = 0.005
LAST_RETRY = 1000.0
# A key that many changes woke remembers this many of them.
MOST_CAUSES = 32


class Queue:
    """Keys to be worked on, in the order of their first waking; a retry waits between `first` and `last` seconds."""

    def __init__(self, first: float = FIRST_RETRY, last: float = LAST_RETRY) -> None:
        self._first, self._last = first, last
        self._waiting: dict[Key, list[Cause]] = {}
        self._meanwhile: dict[Key, list[Cause]] = {}
        self._active: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._later: list[tuple[float, Key]] = []
        self._failures: dict[Key, int] = {}
        # Causes of keys that wait for their time.
        self._carried: dict[Key, list[Cause]] = {}

    def __len__(self) -> int:
        """How many keys wait, not counting those that are due later."""
        return len(self._waiting) + len(self._meanwhile)

    def add(self, key: Key, causes: Iterable[Cause] = ()) -> None:
        """Wake `key` now; while it is being worked on, it waits until that is done."""
        where = self._meanwhile if key in self._active else self._waiting
        _extend(where.setdefault(key, self._carried.pop(key, [])), causes)

    def add_at(self, key: Key, when: float, causes: Iterable[Cause] = ()) -> None:
        """Wake `key` at `when`, unless something wakes it earlier by `add_at`; `causes` wait with it."""
        _extend(self._carried.setdefault(key, []), causes)
        if when < self._due.get(key, float("inf")):
            self._due[key] = when
            heapq.heappush(self._later, (when, key))

    def retry(self, key: Key, now: float, causes: Iterable[Cause] = ()) -> float:
        """Wake `key` after its backoff, with the causes of its failed work; return the delay in seconds."""
        delay = self.backoff(key)
        self.add_at(key, now + delay, causes)
        return delay

    def backoff(self, key: Key) -> float:
        """Count a failure of `key`; the delay before its next try doubles with each failure in a row."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(self._first * 2.0 ** min(failures, 30), self._last)

    def forget(self, key: Key) -> None:
        """The key's work succeeded: its next failure starts the backoff anew."""
        self._failures.pop(key, None)

    def pop(self, now: float) -> tuple[Key, list[Cause]] | None:
        """The next key and its causes, or None where none waits; call `done` when its work is done."""
        self._wake_due(now)
        if not self._waiting:
            return None
        key = next(iter(self._waiting))
        self._active.add(key)
        return key, self._waiting.pop(key)

    def done(self, key: Key) -> None:
        self._active.discard(key)
        if key in self._meanwhile:
            self._waiting[key] = self._meanwhile.pop(key)

    def next_time(self) -> float | None:
        """When the earliest of the later keys is due, or None where there is none."""
        while self._later and self._due.get(self._later[0][1]) != self._later[0][0]:
            heapq.heappop(self._later)
        return self._later[0][0] if self._later else None

    def _wake_due(self, now: float) -> None:
        while (when := self.next_time()) is not None and when <= now:
            _, key = heapq.heappop(self._later)
            del self._due[key]
            self.add(key)


def _extend(known: list[Cause], causes: Iterable[Cause]) -> None:
    known.extend(c for c in causes if c not in known and len(known) < MOST_CAUSES)
