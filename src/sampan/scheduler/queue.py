"""The pods that wait for a node: which is next, and when one that was rejected is worth another try.

    add ──> active ──pop──> in flight ──bound──> (gone)
              ^ ^               │ rejected
              │ │               v
              │ └─event─── unschedulable ──event, its backoff not over──> backoff
              └──────────────────(its time comes, or nobody else is active)──┘

An event moves only the pods that it may help: each was rejected by some plugins, and one of these must say so
(`hints`). Events that come while a pod is in flight are kept and weighed when it comes back, so none is lost.
Pods that came back by an error, such as an API server that is away, wait for their backoff whatever happens.
A pod with a gate (a plugin at preEnqueue that holds it) is unschedulable until the gate opens.

No clock and no I/O: every method is given the time, in seconds on any one clock. Source: kube-scheduler 1.37,
pkg/scheduler/backend/queue; KEP-4247 (queueing hints), KEP-5142 (pop from the backoff queue).
"""

from __future__ import annotations

import heapq
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.host.trace import Cause
from sampan.machinery.objects import Object
from sampan.scheduler import changes
from sampan.scheduler.events import ClusterEvent, EventHint
from sampan.scheduler.pods import PodInfo

# A pod that no event has helped is tried again after this time; looked at this often.
SWEEP, SWEEP_PERIOD = 300.0, 30.0
FIRST_BACKOFF, LAST_BACKOFF = 1.0, 10.0
# A pod that many changes woke remembers this many of them.
MOST_CAUSES = 32
ACTIVE, BACKOFF, ERRORS, UNSCHEDULABLE, IN_FLIGHT, GONE = (
    "active", "backoff", "errors", "unschedulable", "in flight", "gone",
)  # fmt: skip
SKIP, AFTER_BACKOFF, AT_ONCE = 0, 1, 2
ADDED = changes.label(changes.UNSCHEDULED_POD_ADDED)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """What one profile's plugins say of waiting.

    `hints` are by plugin; a gate gives True where it lets a pod pass.
    """

    hints: Mapping[str, Sequence[EventHint]] = field(default_factory=dict)
    gates: tuple[tuple[str, Callable[[PodInfo], bool]], ...] = ()


@dataclass(slots=True, eq=False)
class Queued:
    """A waiting pod. `rejectors` and `pending` are the plugins that said no, and those that said: not yet.

    `since` is when it came into the queue, the last time; `first`, when it was first active.
    """

    pod: PodInfo
    since: float
    first: float | None = None
    attempts: int = 0
    rejections: int = 0
    errors: int = 0
    rejectors: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    gate: str = ""
    swept_at: float = -math.inf
    causes: list[Cause] = field(default_factory=list)
    where: str = GONE
    # The plugins by which it is found among the unschedulable ones.
    group: frozenset[str] = frozenset()
    # Which entry of a heap is the valid one; others are left to be skipped.
    ticket: int = 0
    retry_at: float | None = None


def by_priority(pod: PodInfo, since: float) -> tuple[int, float]:
    """The usual order (PrioritySort): the higher priority first, then who has waited longest."""
    return -pod.priority, since


@dataclass(frozen=True, slots=True)
class _Happened:
    """An event to be weighed for pods in flight; `uid`, where set, names the only pod it is about."""

    event: ClusterEvent
    old: Object | None
    new: Object | None
    uid: str = ""
    causes: tuple[Cause, ...] = ()


class SchedulingQueue:
    """The waiting pods of all profiles; `profiles` has the rules by scheduler name, `order` gives what is sorted by.

    `incoming` counts, for metrics, by queue and event, how many pods came in.
    """

    def __init__(
        self,
        profiles: Mapping[str, Rules],
        *,
        first: float = FIRST_BACKOFF,
        last: float = LAST_BACKOFF,
        order: Callable[[PodInfo, float], Any] = by_priority,
    ) -> None:
        self._profiles, self._first, self._last, self._order = profiles, first, last, order
        self._items: dict[str, Queued] = {}
        self._active: list[tuple[Any, int, Queued]] = []
        self._backoff: list[tuple[float, Any, int, Queued]] = []
        self._errors: list[tuple[float, int, Queued]] = []
        # By the plugins that rejected them, so that an event skips those it cannot help at once.
        self._unschedulable: dict[frozenset[str], dict[str, Queued]] = {}
        self._flying: dict[str, int] = {}
        self._log: list[_Happened] = []
        self._dropped = 0
        self._tickets = 0
        self._sizes: Counter[str] = Counter()
        self._next_sweep = math.inf
        self._concerns: dict[tuple[str, ClusterEvent], dict[str, list[EventHint]]] = {}
        self.incoming: Counter[tuple[str, str]] = Counter()

    # What is there

    def __len__(self) -> int:
        """All waiting pods, without those in flight."""
        return len(self._items)

    def get(self, uid: str) -> Queued | None:
        return self._items.get(uid)

    def items(self) -> Iterable[Queued]:
        return self._items.values()

    def is_flying(self, uid: str) -> bool:
        return uid in self._flying

    def sizes(self) -> dict[str, int]:
        """How many wait in each queue; the gated ones apart."""
        gated = sum(1 for same in self._unschedulable.values() for item in same.values() if item.gate)
        return {
            "active": self._sizes[ACTIVE],
            "backoff": self._sizes[BACKOFF] + self._sizes[ERRORS],
            "unschedulable": self._sizes[UNSCHEDULABLE] - gated,
            "gated": gated,
        }

    def rejected(self) -> dict[tuple[str, ...], float]:
        """How many waiting pods each plugin refused, by plugin and profile."""
        found: Counter[tuple[str, ...]] = Counter()
        for item in self._items.values():
            found.update((plugin, item.pod.scheduler) for plugin in item.rejectors | item.pending)
        return dict(found)

    # Pods come, change and go

    def add(self, pod: PodInfo, now: float, causes: Iterable[Cause] = ()) -> None:
        """A new pod without a node."""
        item = Queued(pod, now)
        if causes:
            _extend(item.causes, causes)
        self._activate(item, now, ADDED)

    def update(self, old: Object, new: PodInfo, now: float, causes: Iterable[Cause] = ()) -> None:
        """A waiting pod has changed; an unknown one is added."""
        if new.uid in self._flying:
            for event in changes.of_pod(old, new.object, target=True):
                self._log.append(_Happened(event, old, new.object, new.uid, tuple(causes)))
            return
        item = self._items.get(new.uid)
        if item is None:
            self.add(new, now, causes)
            return
        item.pod = new
        if item.where != UNSCHEDULABLE:
            return
        for event in changes.of_pod(old, new.object, target=True):
            if strategy := self._worth(item, event, old, new.object):
                _extend(item.causes, causes)
                self._requeue(item, strategy, now, changes.label(event))
                break

    def delete(self, uid: str) -> None:
        """The pod needs no node any more. One in flight must still be `done`."""
        if item := self._items.get(uid):
            self._take(item)

    # Scheduling

    def pop(self, now: float) -> Queued | None:
        """The next pod to place; it is in flight until `done` or `give_back`."""
        self.tick(now)
        item = self._pop_active() or self._pop_backoff()
        if item is None:
            return None
        self._take(item, IN_FLIGHT)
        item.attempts += 1
        self._flying[item.pod.uid] = self._dropped + len(self._log)
        return item

    def pop_all(self, chosen: Callable[[PodInfo], bool]) -> list[Queued]:
        """All waiting pods of these, but the gated ones, wherever they wait; in flight like a popped one."""
        found = [item for item in self._items.values() if not item.gate and chosen(item.pod)]
        for item in found:
            self._take(item, IN_FLIGHT)
            item.attempts += 1
            self._flying[item.pod.uid] = self._dropped + len(self._log)
        return sorted(found, key=lambda item: self._order(item.pod, item.since))

    def done(self, uid: str) -> None:
        """The pod will not come back by `give_back`: the events kept for it may be forgotten."""
        if self._flying.pop(uid, None) is None or not self._log:
            return
        kept = next(iter(self._flying.values()), self._dropped + len(self._log))
        del self._log[: kept - self._dropped]
        self._dropped = kept

    def give_back(
        self,
        item: Queued,
        now: float,
        *,
        rejectors: Iterable[str] = (),
        pending: Iterable[str] = (),
    ) -> None:
        """A pod in flight was rejected by these plugins; or by none, where it failed by an error."""
        if item.pod.uid in self._items:
            self.done(item.pod.uid)
            return
        item.rejectors, item.pending = frozenset(rejectors), frozenset(pending)
        if item.rejectors or item.pending:
            item.rejections += 1
            item.errors = 0
        else:
            item.errors += 1
        item.since, item.retry_at = now, None
        strategy = self._worth_meanwhile(item)
        self.done(item.pod.uid)
        self._requeue(item, strategy, now, "ScheduleAttemptFailure")

    def happened(
        self,
        event: ClusterEvent,
        old: Object | None,
        new: Object | None,
        now: float,
        *,
        causes: tuple[Cause, ...] = (),
        only: Callable[[PodInfo], bool] | None = None,
    ) -> bool:
        """Something changed: move those that it may help. True where some pod may be tried now.

        `only` restricts it to some pods, and does not hold for those in flight.
        """
        concerned = self._concerned(event)
        if concerned is not None and not concerned:
            return False
        moved = False
        for rejectors, same in list(self._unschedulable.items()):
            if concerned is not None and rejectors and rejectors.isdisjoint(concerned):
                continue
            for item in [i for i in same.values() if only is None or only(i.pod)]:
                if item.gate and concerned is not None and item.gate not in concerned:
                    continue
                if strategy := self._worth(item, event, old, new):
                    _extend(item.causes, causes)
                    moved |= self._requeue(item, strategy, now, changes.label(event))
        if self._flying:
            self._log.append(_Happened(event, old, new, causes=causes))
        return moved

    def activate(self, uids: Iterable[str], now: float) -> None:
        """Try these at once, whatever rejected them; one in flight when it comes back."""
        for uid in uids:
            item = self._items.get(uid)
            if item is not None and item.where != ACTIVE:
                self._activate(item, now, "ForceActivate")
            elif uid in self._flying:
                self._log.append(_Happened(changes.ANYTHING, None, None, uid))

    # Time

    def tick(self, now: float) -> None:
        """Move what has waited long enough."""
        for heap, where in ((self._backoff, BACKOFF), (self._errors, ERRORS)):
            while (item := self._front(heap, where)) and heap[0][0] < math.floor(now):
                self._activate(item, now, "BackoffComplete")
        if now >= self._next_sweep:
            self._sweep(now)

    def next_time(self) -> float | None:
        """When `tick` has something to do next; pods that are active or backing off may be popped now."""
        times = [self._next_sweep]
        if self._front(self._errors, ERRORS):
            times.append(self._errors[0][0] + 1.0)
        found = min(times)
        return None if found == math.inf else found

    def _sweep(self, now: float) -> None:
        for same in list(self._unschedulable.values()):
            for item in list(same.values()):
                if now - max(item.since, item.swept_at) > SWEEP:
                    item.swept_at = now
                    self._requeue(item, AFTER_BACKOFF, now, "UnschedulableTimeout")
        self._next_sweep = now + SWEEP_PERIOD if self._unschedulable else math.inf

    # What an event is worth

    def _concerned(self, event: ClusterEvent) -> frozenset[str] | None:
        """The plugins, of any profile, with an interest in the event; None for all."""
        if event == changes.ANYTHING:
            return None
        return frozenset(name for profile in self._profiles for name in self._hints(profile, event))

    def _hints(self, profile: str, event: ClusterEvent) -> dict[str, list[EventHint]]:
        """The hints of the plugins that the event concerns."""
        at = (profile, event)
        if at not in self._concerns:
            rules = self._profiles.get(profile) or Rules()
            matching = {p: [h for h in hints if h.event.covers(event)] for p, hints in rules.hints.items()}
            self._concerns[at] = {p: hints for p, hints in matching.items() if hints}
        return self._concerns[at]

    def _worth(self, item: Queued, event: ClusterEvent, old: Object | None, new: Object | None) -> int:
        """Whether the event makes the pod worth another try, and how soon."""
        if event == changes.ANYTHING or not (item.rejectors or item.pending):
            return AFTER_BACKOFF
        found = SKIP
        for plugin, hints in self._hints(item.pod.scheduler, event).items():
            if plugin not in item.rejectors and plugin not in item.pending:
                continue
            if not any(_says_yes(hint, plugin, item.pod, old, new) for hint in hints):
                continue
            if plugin in item.pending:
                return AT_ONCE
            found = AFTER_BACKOFF
        return found

    def _worth_meanwhile(self, item: Queued) -> int:
        """The same, of all that happened while the pod was in flight."""
        if item.pod.uid not in self._flying or not (item.rejectors or item.pending):
            return AFTER_BACKOFF
        found = SKIP
        for one in self._log[self._flying[item.pod.uid] - self._dropped :]:
            if one.uid and one.uid != item.pod.uid:
                continue
            worth = self._worth(item, one.event, one.old, one.new)
            if worth:
                _extend(item.causes, one.causes)
            found = max(found, worth)
        return found

    # Between the queues

    def _requeue(self, item: Queued, strategy: int, now: float, event: str) -> bool:
        """Put it where the strategy says; True where it may be tried now."""
        if strategy == SKIP:
            self._hold(item, now, event)
            return False
        if strategy == AFTER_BACKOFF and self._retry_at(item) >= math.floor(now):
            return self._back_off(item, now, event)
        return self._activate(item, now, event)

    def _activate(self, item: Queued, now: float, event: str) -> bool:
        if item.where not in (BACKOFF, ERRORS) and self._is_gated(item):
            self._hold(item, now, event)
            return False
        if item.first is None:
            item.first = now
        self._put(item, ACTIVE, event)
        heapq.heappush(self._active, (self._order(item.pod, item.since), item.ticket, item))
        return True

    def _back_off(self, item: Queued, now: float, event: str) -> bool:
        if self._is_gated(item):
            self._hold(item, now, event)
            return False
        until = self._retry_at(item)
        if item.rejectors or item.pending:
            self._put(item, BACKOFF, event)
            entry = (until, self._order(item.pod, item.since), item.ticket, item)
            heapq.heappush(self._backoff, entry)
            return True
        self._put(item, ERRORS, event)
        heapq.heappush(self._errors, (until, item.ticket, item))
        return False

    def _hold(self, item: Queued, now: float, event: str) -> None:
        self._put(item, UNSCHEDULABLE, event)
        item.group = item.rejectors | item.pending
        self._unschedulable.setdefault(item.group, {})[item.pod.uid] = item
        self._next_sweep = min(self._next_sweep, now + SWEEP_PERIOD)

    def _put(self, item: Queued, where: str, event: str) -> None:
        came = item.where != where
        self._take(item, where)
        self._items[item.pod.uid] = item
        self._sizes[where] += 1
        self._tickets += 1
        item.ticket = self._tickets
        if came:
            self.incoming[where, event] += 1

    def _take(self, item: Queued, where: str = GONE) -> None:
        if item.where == UNSCHEDULABLE:
            same = self._unschedulable[item.group]
            del same[item.pod.uid]
            if not same:
                del self._unschedulable[item.group]
        if self._items.pop(item.pod.uid, None) is not None:
            self._sizes[item.where] -= 1
        item.where = where

    def _is_gated(self, item: Queued) -> bool:
        """Ask the gates, the one that held it last first."""
        rules = self._profiles.get(item.pod.scheduler)
        gates = rules.gates if rules else ()
        if item.gate:
            gates = tuple(sorted(gates, key=lambda gate: gate[0] != item.gate))
        for name, lets_pass in gates:
            if not lets_pass(item.pod):
                item.rejectors, item.gate = item.rejectors | {name}, name
                return True
        item.gate = ""
        return False

    def _retry_at(self, item: Queued) -> float:
        """The second in which the pod's backoff ends."""
        if item.retry_at is None:
            count = item.errors or item.rejections
            if not count or not self._last:
                return -math.inf
            delay = min(self._first * 2.0 ** min(count - 1, 60), self._last)
            item.retry_at = float(math.floor(item.since + delay))
        return item.retry_at

    def _pop_active(self) -> Queued | None:
        heap = self._active
        while heap:
            _, ticket, item = heapq.heappop(heap)
            if item.ticket == ticket and item.where == ACTIVE:
                return item
        return None

    def _pop_backoff(self) -> Queued | None:
        """Nobody is active: the one whose backoff ends first need not wait."""
        item = self._front(self._backoff, BACKOFF)
        if item is not None:
            self.incoming[ACTIVE, "PopFromBackoffQ"] += 1
        return item

    def _front(self, heap: list[Any], where: str) -> Queued | None:
        while heap:
            *_, ticket, item = heap[0]
            if item.ticket == ticket and item.where == where:
                found: Queued = item
                return found
            heapq.heappop(heap)
        return None


def _says_yes(hint: EventHint, plugin: str, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    if hint.hint is None:
        return True
    try:
        return hint.hint(pod, old, new)
    except Exception:
        # Rather one try too many than a pod that waits for ever.
        log.exception("the hint of %s about %s failed", plugin, changes.label(hint.event))
        return True


def _extend(known: list[Cause], causes: Iterable[Cause]) -> None:
    known.extend(c for c in causes if c not in known and len(known) < MOST_CAUSES)
