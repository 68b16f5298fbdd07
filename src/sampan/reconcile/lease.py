"""Leader election on a coordination.k8s.io Lease: of several like processes, one works and the others stand by.

Used where Sampan's components run beside a real cluster (`sampan run`). Source: client-go's
tools/leaderelection: the holder renews every 2 s, gives up after 10 s without success, and others take over
a lease that nobody renewed for 15 s by their own clock, so clocks need not agree. Who stops in order gives the
lease back, so that others need not wait for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sampan.client.api import ApiError, Client, Unavailable
from sampan.machinery.objects import Object, changed

DURATION = 15.0


@dataclass(frozen=True, slots=True)
class Terms:
    """In seconds: how long others leave an unrenewed lease alone, when its holder gives up, how often it renews."""

    duration: float = DURATION
    deadline: float = 10.0
    period: float = 2.0


KIND = "leases.coordination.k8s.io"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Observed:
    """The lease as last read, and when (on our clock) it last changed."""

    revision: str = ""
    since: float = 0.0

    def note(self, lease: Object, now: float) -> None:
        found = lease["metadata"].get("resourceVersion", "")
        if found != self.revision:
            self.revision, self.since = found, now


def may_take(lease: Object, identity: str, unchanged: float) -> bool:
    """Whether `identity` may hold the lease, which has not changed for `unchanged` seconds."""
    spec = lease.get("spec", {})
    holder = spec.get("holderIdentity") or ""
    return holder in ("", identity) or unchanged >= spec.get("leaseDurationSeconds", DURATION)


def held(lease: Object, identity: str, now: str, duration: float = DURATION) -> Object:
    """The lease as `identity` writes it: taken anew, or renewed."""
    spec = lease.get("spec", {})
    seconds = max(1, round(duration))
    renewed = {**spec, "holderIdentity": identity, "renewTime": now, "leaseDurationSeconds": seconds}
    if spec.get("holderIdentity") != identity:
        renewed |= {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", -1) + 1}
    return changed(lease, ("spec",), renewed)


def released(lease: Object, now: str) -> Object:
    """The lease as its holder gives it back: nobody's, and soon over."""
    spec = {**lease["spec"], "holderIdentity": "", "renewTime": now, "leaseDurationSeconds": 1}
    return changed(lease, ("spec",), spec)


async def lead(
    client: Client,
    namespace: str,
    name: str,
    identity: str,
    work: Callable[[], Coroutine[Any, Any, None]],
    terms: Terms = Terms(),
) -> None:
    """Wait until `identity` holds the lease, then run `work` for as long as it does.

    Returns when `work` ends; raises `Lost` when the lease could not be renewed in time: by then `work` is
    cancelled. Where it ends otherwise, by being cancelled too, the lease is given back.
    """
    holding = _Holding(client, namespace, name, identity, terms)
    while not await holding.take():  # noqa: ASYNC110 (what is waited for is not in this process)
        await asyncio.sleep(terms.period)
    log.info("%s leads as %s", identity, name)
    working = asyncio.create_task(work(), name=f"work under lease {name}")
    renewing = asyncio.create_task(holding.renew(), name=f"renewing lease {name}")
    try:
        await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            seconds = f"{terms.deadline:g}"
            raise Lost(f"lease {namespace}/{name} could not be renewed by {identity} for {seconds} s")
        working.result()
    finally:
        lost = renewing.done()
        for task in (working, renewing):
            task.cancel()
        await asyncio.gather(working, renewing, return_exceptions=True)
        if not lost:
            await holding.release()


class Lost(Exception):
    """Another may lead by now; the process should stop and start anew."""


class _Holding:
    """One candidate's view of the lease."""

    def __init__(self, client: Client, namespace: str, name: str, identity: str, terms: Terms) -> None:
        self._client, self._namespace, self._name = client, namespace, name
        self._identity, self._terms = identity, terms
        self._observed = Observed()

    async def renew(self) -> None:
        """Returns when renewing has failed until the deadline."""
        last = _clock()
        while _clock() - last < self._terms.deadline:
            await asyncio.sleep(self._terms.period)
            if await self.take():
                last = _clock()

    async def take(self) -> bool:
        """Take or renew the lease; False where another holds it, or the server does not answer."""
        try:
            async with asyncio.timeout(self._terms.deadline / 2):
                lease = await self._read()
                if lease is None:
                    made = held(self._fresh(), self._identity, _now(), self._terms.duration)
                    self._observed.note(await self._client.create(KIND, made), _clock())
                    return True
                self._observed.note(lease, _clock())
                if not may_take(lease, self._identity, _clock() - self._observed.since):
                    return False
                made = held(lease, self._identity, _now(), self._terms.duration)
                self._observed.note(await self._client.update(KIND, made), _clock())
                return True
        except (ApiError, Unavailable, TimeoutError) as e:
            log.debug("lease %s/%s: %s", self._namespace, self._name, e)
            return False

    async def release(self) -> None:
        """Give the lease back, if it is still ours; who cannot be reached sees that it is over later."""
        try:
            async with asyncio.timeout(self._terms.deadline / 2):
                lease = await self._read()
                if lease and lease.get("spec", {}).get("holderIdentity") == self._identity:
                    await self._client.update(KIND, released(lease, _now()))
        except (ApiError, Unavailable, TimeoutError) as e:
            log.debug("lease %s/%s: %s", self._namespace, self._name, e)

    async def _read(self) -> Object | None:
        try:
            return await self._client.get(KIND, self._name, self._namespace)
        except ApiError as e:
            if e.reason == "NotFound":
                return None
            raise

    def _fresh(self) -> Object:
        meta = {"name": self._name, "namespace": self._namespace}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _clock() -> float:
    return asyncio.get_running_loop().time()
