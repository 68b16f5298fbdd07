"""Hands a process's spans to the collector in batches, without ever holding up the work that they describe."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from sampan.host.trace import Span

# A batch waits this long for company; what does not fit while the collector is away is dropped, oldest first.
PATIENCE = 0.2
CAPACITY = 10_000
DEADLINE = 5.0

Send = Callable[[list[Span]], Awaitable[None]]


class Exporter:
    """`add` is for `host.trace.export_to`; `run` sends until it is cancelled. A failed batch is tried once more."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[Span] = deque(maxlen=CAPACITY)
        self._some = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def add(self, span: Span) -> None:
        """Take a span, from any thread."""
        self._waiting.append(span)
        if not self._some.is_set():
            self._loop.call_soon_threadsafe(self._some.set)

    async def run(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(PATIENCE)
            self._some.clear()
            await self.flush()

    async def flush(self) -> None:
        """Send what waits; what cannot be sent goes back, as far as there is room."""
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not batch:
            return
        try:
            async with asyncio.timeout(DEADLINE):
                await self._send(batch)
        except Exception:  # the collector's trouble must not become the worker's
            self._waiting.extendleft(reversed(batch[: CAPACITY - len(self._waiting)]))
            await asyncio.sleep(1.0)
