"""A priority level: how many seats it has, who sits, who waits, and whose turn is next.

Waiting requests stand in queues. Each flow has a hand of queues, dealt by its name, and joins the shortest of them, so
that a few greedy flows cannot fill every queue of the others. The next to go is from the queue that has been served
least: a queue's `served` grows with the seat-seconds that its requests took. No clock, no I/O.

Source: KEP-1040, "Fair Queuing for Server Requests" and "Assigning requests to queues: shuffle sharding".
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

from sampan.machinery.objects import Object, get

T = TypeVar("T")


class Full(Exception):
    """There is no room, and no place to wait: come again."""


@dataclass(slots=True)
class Queue(Generic[T]):
    waiting: deque[tuple[T, int]] = field(default_factory=deque)
    served: float = 0.0
    sitting: int = 0


@dataclass(slots=True)
class Level(Generic[T]):
    """`seats` is what it may use by right, `lendable` what of this others may borrow; no `queues`: it rejects."""

    name: str
    uid: str = ""
    exempt: bool = False
    seats: int = 1
    lendable: int = 0
    hand: int = 1
    longest: int = 0
    queues: list[Queue[T]] = field(default_factory=list)
    used: int = 0
    waiting: int = 0
    # How much the least served queue that is at work has had: a queue that begins to wait starts there.
    _now: float = 0.0

    def enqueue(self, flow: str, item: T, width: int) -> Queue[T]:
        """Let an item wait for `width` seats. Raises Full."""
        if not self.queues:
            raise Full(self.name)
        hand = _hand(flow, len(self.queues), self.hand)
        queue = min((self.queues[n] for n in hand), key=lambda q: len(q.waiting) + q.sitting)
        if len(queue.waiting) >= self.longest:
            raise Full(self.name)
        if not queue.waiting and not queue.sitting:
            queue.served = max(queue.served, self._now)
        queue.waiting.append((item, width))
        self.waiting += 1
        return queue

    def next(self) -> tuple[T, int, Queue[T]] | None:
        """Whose turn it is, taken out of its queue."""
        queue = min((q for q in self.queues if q.waiting), key=lambda q: q.served, default=None)
        if queue is None:
            return None
        item, width = queue.waiting.popleft()
        self.waiting -= 1
        self._now = max(self._now, queue.served)
        return item, width, queue

    def sit(self, queue: Queue[T] | None, width: int) -> None:
        self.used += width
        if queue:
            queue.sitting += 1

    def stand(self, queue: Queue[T] | None, width: int, seconds: float) -> None:
        """A request has ended that sat so long."""
        self.used -= width
        if queue:
            queue.sitting -= 1
            queue.served += width * seconds

    def forget(self, queue: Queue[T], item: T) -> bool:
        """Take out an item that waits no longer; whether it still did."""
        for entry in queue.waiting:
            if entry[0] is item:
                queue.waiting.remove(entry)
                self.waiting -= 1
                return True
        return False


@lru_cache(10_000)
def _hand(flow: str, queues: int, size: int) -> tuple[int, ...]:
    """The queues of a flow: different ones, dealt by its name."""
    number = int.from_bytes(hashlib.sha256(flow.encode()).digest())
    left, hand = list(range(queues)), []
    for _ in range(min(size, queues)):
        number, at = divmod(number, len(left))
        hand.append(left.pop(at))
    return tuple(hand)


def read(objects: list[Object], total: int) -> dict[str, Level[T]]:
    """The levels that the objects describe, which share `total` seats by their shares, rounded up."""
    shares = {o["metadata"]["name"]: _part(o, "nominalConcurrencyShares") for o in objects}
    whole = sum(shares.values()) or 1
    return {
        name: _level(o, -(-total * shares[name] // whole))
        for o in objects
        for name in [o["metadata"]["name"]]
    }


def _part(obj: Object, field_: str) -> int:
    kind = "exempt" if get(obj, "spec.type") == "Exempt" else "limited"
    return int(get(obj, f"spec.{kind}.{field_}", 0))


def _level(obj: Object, seats: int) -> Level[T]:
    exempt = get(obj, "spec.type") == "Exempt"
    queuing = get(obj, "spec.limited.limitResponse.queuing") or {}
    queued = get(obj, "spec.limited.limitResponse.type") == "Queue"
    return Level(
        obj["metadata"]["name"],
        obj["metadata"].get("uid", ""),
        exempt,
        seats,
        seats * _part(obj, "lendablePercent") // 100,
        int(queuing.get("handSize", 1)),
        int(queuing.get("queueLengthLimit", 0)),
        [Queue() for _ in range(int(queuing.get("queues", 0)) if queued else 0)],
    )
