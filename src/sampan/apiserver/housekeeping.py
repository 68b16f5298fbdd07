"""How much history is kept: a day or a gigabyte, and of Leases and Events only as much as watchers need.

Source: the design's fourth idea, "Every change knows its cause".
"""

from __future__ import annotations

import asyncio
import logging
import time

from sampan.apiserver.settings import Settings
from sampan.store.api import Conflict, Store, StoreError

# How often to look; a compaction forgets little each time.
EVERY_SECONDS = 300.0
# What these prefixes keep: as upstream, whose compactor leaves five minutes.
SHORT_SECONDS = 300.0
SHORT_LIVED = ("/coordination.k8s.io/leases/", "/core/events/")
# An Event goes an hour after it was last written, as upstream's.
EVENT_SECONDS = 3600.0
EVENTS = "/core/events/"
log = logging.getLogger(__name__)


async def run(store: Store, settings: Settings) -> None:
    """Compact now and then, for ever."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await tidy(store, settings, time.time())
        except StoreError as e:
            log.warning("the history could not be compacted, and will be tried again: %s", e)


async def tidy(store: Store, settings: Settings, now: float) -> None:
    """Forget what is older than it need be, and half of what is left where that is too much."""
    if short := await store.revision_at(now - SHORT_SECONDS):
        for prefix in SHORT_LIVED:
            await store.compact(short, prefix)
    await _expire_events(store, await store.revision_at(now - EVENT_SECONDS))
    if old := await store.revision_at(now - settings.keep_seconds):
        await store.compact(old)
    if await store.size() > settings.keep_bytes:
        await store.compact((store.oldest + store.revision) // 2)


async def _expire_events(store: Store, revision: int) -> None:
    """Delete the Events that nobody has written since `revision`."""
    if not revision:
        return
    for record in (await store.list(EVENTS)).records:
        if record.revision <= revision:
            try:
                await store.delete(record.key, record.revision)
            except Conflict:
                continue  # somebody wrote it, or deleted it, just now
