"""Events: what components tell users about an object, counted and rate limited.

The same event again raises the count of the one Event object; an object that causes a flood gets a burst of
25 and then one in five minutes. Source: the behaviour of client-go's EventCorrelator
(tools/record/events_cache.go).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime

from sampan.client.api import ApiError, Client, Unavailable
from sampan.host import trace
from sampan.machinery.objects import Object

BURST = 25.0
REFILL = 1 / 300  # events each second
REMEMBERED = 4096
MOST_WAITING = 1000

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """An Event object that we wrote: its name and how often it happened."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class _Entry:
    identity: tuple[str, ...]
    about: Object
    type: str
    reason: str
    message: str
    time: str
    cause: trace.Cause | None


class Limiter:
    """A token bucket for each name, forgetting the names that were not used for longest."""

    def __init__(self, burst: float = BURST, refill: float = REFILL) -> None:
        self._burst, self._refill = burst, refill
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, name: str, now: float) -> bool:
        tokens, then = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._refill)
        self._buckets[name] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return tokens >= 1


class Recorder:
    """Writes a component's events. `emit` only queues; `run` writes until it is cancelled, by so many `writers`.

    An event that cannot be written is dropped: events are best effort, as upstream's.
    """

    def __init__(self, client: Client, component: str, host: str = "", *, writers: int = 1) -> None:
        self._client, self._component, self._host = client, component, host
        # What is told again goes to the same writer, so that it is counted.
        self._queues = tuple(asyncio.Queue[_Entry](MOST_WAITING) for _ in range(writers))
        self._known: OrderedDict[tuple[str, ...], _Known] = OrderedDict()
        self._limiter = Limiter()

    def emit(self, about: Object, type: str, reason: str, message: str) -> None:
        """Tell of `about`, an object or an object reference (by its apiVersion, kind and metadata)."""
        meta = about["metadata"]
        subject = (about["kind"], meta.get("namespace", ""), meta["name"], meta.get("uid", ""))
        if not self._limiter.allow("/".join(subject), time.monotonic()):
            return
        span = trace.current()
        entry = _Entry(
            (*subject, type, reason, message),
            about,
            type,
            reason,
            message[:1024],
            _now(),
            span.cause if span else None,
        )
        with contextlib.suppress(asyncio.QueueFull):
            self._queues[hash(entry.identity) % len(self._queues)].put_nowait(entry)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for queue in self._queues:
                tasks.create_task(self._write_all(queue), name=f"{self._component} events")

    async def _write_all(self, queue: asyncio.Queue[_Entry]) -> None:
        while True:
            entry = await queue.get()
            causes = [entry.cause] if entry.cause else []
            try:
                with trace.span(f"event {entry.reason}", self._component, causes=causes):
                    await self._write(entry)
            except (ApiError, Unavailable) as e:
                log.debug("event %s about %s is lost: %s", entry.reason, entry.about["metadata"]["name"], e)

    async def _write(self, entry: _Entry) -> None:
        known = self._known.pop(entry.identity, None)
        if known and await self._count(entry, known):
            return
        name = f"{entry.about['metadata']['name']}.{os.urandom(8).hex()}"
        await self._client.create("events", self._event(entry, name))
        self._remember(entry, _Known(name, 1))

    async def _count(self, entry: _Entry, known: _Known) -> bool:
        """Raise the count of the Event written before; False where the server has dropped it by now."""
        known.count += 1
        patch = {"count": known.count, "lastTimestamp": entry.time, "message": entry.message}
        try:
            await self._client.patch("events", known.name, _namespace(entry.about), patch)
        except ApiError as e:
            if e.reason != "NotFound":
                raise
            return False
        self._remember(entry, known)
        return True

    def _remember(self, entry: _Entry, known: _Known) -> None:
        self._known[entry.identity] = known
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _event(self, entry: _Entry, name: str) -> Object:
        meta = entry.about["metadata"]
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": _namespace(entry.about)},
            "involvedObject": {
                "apiVersion": entry.about["apiVersion"],
                "kind": entry.about["kind"],
                "name": meta["name"],
                **{k: v for k in ("namespace", "uid", "resourceVersion") if (v := meta.get(k))},
                **({"fieldPath": entry.about["fieldPath"]} if "fieldPath" in entry.about else {}),
            },
            "type": entry.type,
            "reason": entry.reason,
            "message": entry.message,
            "source": {"component": self._component, **({"host": self._host} if self._host else {})},
            "reportingComponent": self._component,
            "reportingInstance": self._host,
            "firstTimestamp": entry.time,
            "lastTimestamp": entry.time,
            "count": 1,
        }


def _namespace(about: Object) -> str:
    """Events about cluster-scoped objects live in `default`."""
    return about["metadata"].get("namespace") or "default"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
