"""Leader election on a coordination.k8s.io Lease: of several like processes, one works and the others stand by.

Used where Sampan's components run beside a real cluster (`sampan run`). Source: client-go's
tools/leaderelection: the holder renews every 2 s, gives up after 10 s without success, and others take over
a lease that nobody renewed for 15 s by their own clock, so clocks need not agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sampan.client.api import ApiError, Client, Unavailable
from sampan.machinery.objects import Object, changed

DURATION = 15.0
DEADLINE = 10.0
PERIOD = 2.0
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


def held(lease: Object, identity: str, now: str) -> Object:
    """The lease as `identity` writes it: taken anew, or renewed."""
    spec = lease.get("spec", {})
    renewed = {**spec, "holderIdentity": identity, "renewTime": now, "leaseDurationSeconds": int(DURATION)}
    if spec.get("holderIdentity") != identity:
        renewed |= {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", -1) + 1}
    return changed(lease, ("spec",), renewed)


async def lead(
    client: Client, namespace: str, name: str, identity: str, work: Callable[[], Awaitable[None]]
) -> None:
    """Wait until `identity` holds the lease, then run `work` for as long as it does.

    Returns when `work` ends; raises `Lost` when the lease could not be renewed in time: by then `work` is
    cancelled.
    """
    observed = Observed()
    while True:
        if await _try(client, namespace, name, identity, observed):
            break
        await asyncio.sleep(PERIOD)
    log.info("%s leads as %s", identity, name)
    working = asyncio.ensure_future(work())
    renewing = asyncio.create_task(_renew(client, namespace, name, identity, observed))
    try:
        await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Lost(f"lease {namespace}/{name} could not be renewed by {identity} for {DEADLINE:.0f} s")
        working.result()
    finally:
        for task in (working, renewing):
            task.cancel()
        await asyncio.gather(working, renewing, return_exceptions=True)


class Lost(Exception):
    """Another may lead by now; the process should stop and start anew."""


async def _renew(client: Client, namespace: str, name: str, identity: str, observed: Observed) -> None:
    """Returns when renewing has failed for `DEADLINE`."""
    clock = asyncio.get_running_loop().time
    last = clock()
    while clock() - last < DEADLINE:
        await asyncio.sleep(PERIOD)
        if await _try(client, namespace, name, identity, observed):
            last = clock()


async def _try(client: Client, namespace: str, name: str, identity: str, observed: Observed) -> bool:
    """Take or renew the lease; False where another holds it, or the server does not answer."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        async with asyncio.timeout(DEADLINE / 2):
            try:
                lease = await client.get(KIND, name, namespace)
            except ApiError as e:
                if e.reason != "NotFound":
                    raise
                fresh = {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": {"name": name, "namespace": namespace},
                }
                observed.note(await client.create(KIND, held(fresh, identity, now)), _clock())
                return True
            observed.note(lease, _clock())
            if not may_take(lease, identity, _clock() - observed.since):
                return False
            observed.note(await client.update(KIND, held(lease, identity, now)), _clock())
            return True
    except (ApiError, Unavailable, TimeoutError) as e:
        log.debug("lease %s/%s: %s", namespace, name, e)
        return False


def _clock() -> float:
    return asyncio.get_running_loop().time()
