"""Following a set of objects through watches that end, expire and fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from sampan.client.api import ApiError, Change, Client, Unavailable
from sampan.machinery.objects import Key, key

log = logging.getLogger(__name__)


async def follow(
    client: Client,
    kind: str,
    namespace: str = "",
    *,
    fields: str = "",
    failed: Callable[[Exception], None] = lambda e: None,
) -> AsyncIterator[Change]:
    """Every change to the objects, for ever. After each time it had to begin anew, objects that are gone come
    as DELETED.

    A bookmark with `synced` true comes when all that exists has been told. `failed` hears of each failure.
    """
    known: dict[Key, Change] = {}
    since, wait = "", 0.05
    while True:
        fresh: set[Key] | None = None if since else set()
        try:
            async for change in client.watch(kind, namespace, fields=fields, since=since):
                wait = 0.05
                if change.type == "BOOKMARK":
                    if change.synced and fresh is not None:
                        for gone in [k for k in known if k not in fresh]:
                            yield Change("DELETED", known.pop(gone).object)
                        fresh = None
                    if fresh is None:
                        since = change.object["metadata"].get("resourceVersion", since)
                    yield change
                    continue
                name = key(change.object)
                if change.type == "DELETED":
                    known.pop(name, None)
                else:
                    known[name] = change
                    if fresh is not None:
                        fresh.add(name)
                if fresh is None:
                    since = change.object["metadata"]["resourceVersion"]
                yield change
        except ApiError as e:
            log.debug("watch of %s: %s", kind, e)
            if e.reason in ("Expired", "Gone") or e.code == 410:
                since = ""
                continue
            failed(e)
        except Unavailable as e:
            log.debug("watch of %s: %s", kind, e)
            failed(e)
        await asyncio.sleep(wait)
        wait = min(wait * 2, 5.0)
