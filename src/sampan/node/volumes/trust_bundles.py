"""ClusterTrustBundles: certificates of authorities, for pods that project them. Followed once the first pod does.

Source: KEP-3257.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable

from sampan.client.api import ApiError, Client
from sampan.client.watching import follow
from sampan.machinery import selectors
from sampan.machinery.objects import Object

KIND = "clustertrustbundles.certificates.k8s.io"
TIMEOUT = 10.0  # seconds to wait for the first list
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


class TrustBundles:
    """`changed` is called when any bundle changed."""

    def __init__(self, client: Client, changed: Callable[[], None]):
        self._client, self._changed = client, changed
        self._known: dict[str, Object] = {}
        self._synced = asyncio.Event()
        self._refused: ApiError | None = None
        self._task: asyncio.Task[None] | None = None

    async def text(self, source: Object) -> str | None:
        """The certificates that a projection selects, each once; None where there is no such bundle.

        Raises ApiError, TimeoutError.
        """
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow(), name="trust bundles")
        async with asyncio.timeout(TIMEOUT):
            await self._synced.wait()
        if self._refused:
            raise self._refused
        found = chosen(self._known.values(), source)
        return united(b["spec"].get("trustBundle", "") for b in found) if found else None

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        def failed(e: Exception) -> None:
            if isinstance(e, ApiError) and not self._synced.is_set():
                self._refused = e
                self._synced.set()

        async for change in follow(self._client, KIND, failed=failed):
            if change.type == "BOOKMARK":
                if change.synced:
                    self._refused = None
                    self._synced.set()
                continue
            name = change.object["metadata"]["name"]
            if change.type == "DELETED":
                self._known.pop(name, None)
            else:
                self._known[name] = change.object
            if self._synced.is_set():
                self._changed()


def chosen(bundles: Iterable[Object], source: Object) -> list[Object]:
    """By name, or all of a signer that a selector matches: an absent selector matches none, an empty one all."""
    if "name" in source:
        return [b for b in bundles if b["metadata"]["name"] == source["name"]]
    selector = selectors.of(source.get("labelSelector"))
    return [
        b
        for b in sorted(bundles, key=lambda b: str(b["metadata"]["name"]))
        if b["spec"].get("signerName", "") == source.get("signerName")
        and selector.matches(b["metadata"].get("labels"))
    ]


def united(texts: Iterable[str]) -> str:
    """All certificates of several texts in PEM, each once."""
    blocks = dict.fromkeys(block.strip() for text in texts for block in _BLOCK.findall(text))
    return "".join(f"{block}\n" for block in blocks)
