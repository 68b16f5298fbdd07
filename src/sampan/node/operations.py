"""Counts what the node asks of the runtime: how often, how long, how often in vain."""

from __future__ import annotations

import bisect
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from sampan.machinery.cri import Cri, CriError

# Seconds; upstream's buckets for this metric.
BUCKETS = tuple(0.005 * 2.5**n for n in range(14))
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Operations:
    """A Cri that counts. `seconds` has for each operation one count for each bucket, the last for what took longer."""

    def __init__(self, cri: Cri) -> None:
        self._cri = cri
        self.errors: Counter[str] = Counter()
        self.counts: dict[str, list[int]] = {}
        self.sums: dict[str, float] = {}

    async def call(self, method: str, request: Any, *, timeout: float = 120.0) -> Any:
        began = time.monotonic()
        try:
            return await self._cri.call(method, request, timeout=timeout)
        except CriError:
            self.errors[method] += 1
            raise
        finally:
            self._count(method, time.monotonic() - began)

    def events(self) -> AsyncIterator[Any]:
        return self._cri.events()

    def _count(self, method: str, seconds: float) -> None:
        counts = self.counts.setdefault(method, [0] * (len(BUCKETS) + 1))
        counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.sums[method] = self.sums.get(method, 0.0) + seconds


def upstream_name(method: str) -> str:
    """As the kubelet's metrics call an operation: `list_containers`."""
    return _WORDS.sub("_", method).lower()
