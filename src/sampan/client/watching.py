"""Following a set of objects for ever, through watches that end, expire and fail."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable

from sampan.client.api import ApiError, Change, Client, Unavailable
from sampan.machinery.objects import Key, Object, key

# How long to wait after a watch has ended, at first and at most; a change that came begins anew.
SHORTEST_WAIT, LONGEST_WAIT = 0.05, 5.0
log = logging.getLogger(__name__)


async def follow(
    client: Client,
    kind: str,
    namespace: str = "",
    *,
    labels: str = "",
    fields: str = "",
    failed: Callable[[Exception], None] = lambda e: None,
) -> AsyncIterator[Change]:
    """Every change to the objects, from where the last watch ended, or anew where that is no longer kept.

    Beginning anew tells everything as ADDED, then what has gone meanwhile as DELETED, then a bookmark with `synced`.
    Of what went unseen only `metadata.name`, `namespace` and `uid` are told. `failed` hears of each failure.
    """
    progress = _Progress()
    wait = SHORTEST_WAIT
    while True:
        progress.begin()
        try:
            async for change in client.watch(
                kind, namespace, labels=labels, fields=fields, since=progress.since
            ):
                wait = SHORTEST_WAIT
                for told in progress.take(change):
                    yield told
        except ApiError as e:
            if e.code == 410 or e.reason in ("Expired", "Gone"):
                log.debug("watching %s begins anew: %s", kind, e)
                progress.since = ""
            else:
                log.warning("watching %s was refused, and will be tried again: %s", kind, e)
                failed(e)
        except Unavailable as e:
            log.info("watching %s failed, and will be tried again: %s", kind, e)
            failed(e)
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(wait * 2, LONGEST_WAIT)


class _Progress:
    """How far one has come: the revision to go on from, and which objects there are, by uid."""

    def __init__(self) -> None:
        self.since = ""
        self._uids: dict[Key, str] = {}
        # While everything is told anew: what was.
        self._seen: set[Key] | None = None

    def begin(self) -> None:
        """A new watch from `since`."""
        self._seen = None if self.since else set()

    def take(self, change: Change) -> list[Change]:
        """What one change of the watch means to who follows."""
        told = self._bookmark(change) if change.type == "BOOKMARK" else self._object(change)
        if self._seen is None:
            self.since = change.object["metadata"].get("resourceVersion", self.since)
        return told

    def _bookmark(self, change: Change) -> list[Change]:
        if not change.synced or self._seen is None:
            return [change]
        # All that was seen is known: where no more is known, nothing is gone, and a long look is saved.
        some = len(self._uids) > len(self._seen)
        gone = [at for at in self._uids if at not in self._seen] if some else []
        self._seen = None
        return [*(Change("DELETED", _trace(at, self._uids.pop(at))) for at in gone), change]

    def _object(self, change: Change) -> list[Change]:
        at, uid = key(change.object), change.object["metadata"].get("uid", "")
        before = self._uids.get(at, uid)
        if change.type == "DELETED":
            self._uids.pop(at, None)
            return [change]
        self._uids[at] = uid
        if self._seen is not None:
            self._seen.add(at)
        # Another object of the same name: the end of the first one went unseen.
        return [change] if before == uid else [Change("DELETED", _trace(at, before)), change]


def _trace(at: Key, uid: str) -> Object:
    return {"metadata": {"namespace": at.namespace, "name": at.name, "uid": uid}}
