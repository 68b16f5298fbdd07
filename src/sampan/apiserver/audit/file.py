"""The file of the audit log: lines of JSON, appended in the order of the events, rotated by size.

What is full is renamed to `NAME-TIME.log` beside it, and the oldest of those go, as with upstream's log backend.
"""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger(__name__)
# How many events may wait for the disk before calls do.
MOST = 10_000


class LogFile:
    """`size` bytes make a file full; of full ones `backups` are kept. One thread writes."""

    def __init__(self, path: Path, *, size: int = 100 << 20, backups: int = 10) -> None:
        self._path, self._size, self._backups = path, size, backups
        self._waiting: list[bytes] = []
        self._writing: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "audit")
        self._fd = -1
        self._used = 0
        self._failing = False

    def write(self, line: bytes) -> None:
        """Have a line written, with those that come in the same turn of the loop."""
        self._waiting.append(line)
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._flush())

    async def ready(self) -> None:
        """Wait until there is room for more."""
        if len(self._waiting) > MOST and self._writing:
            await asyncio.shield(self._writing)

    async def _flush(self) -> None:
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        while self._waiting:
            lines, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(self._thread, self._append, lines)
                self._failing = False
            except OSError as e:
                if not self._failing:
                    log.error("the audit log %s cannot be written, and lacks events: %s", self._path, e)
                self._failing = True
        self._writing = None

    async def close(self) -> None:
        """Write what waits."""
        while self._writing:
            await asyncio.shield(self._writing)
        await asyncio.to_thread(self._thread.shutdown)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # In the thread

    def _append(self, lines: list[bytes]) -> None:
        for start in range(0, len(lines), 100):
            data = b"".join(lines[start : start + 100])
            if self._fd >= 0 and self._used + len(data) > self._size:
                self._rotate()
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
                self._used = os.fstat(self._fd).st_size
            while data:
                written = os.write(self._fd, data)
                self._used += written
                data = data[written:]

    def _rotate(self) -> None:
        os.close(self._fd)
        self._fd = -1
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
        os.rename(self._path, self._path.with_name(f"{self._path.stem}-{now}{self._path.suffix}"))
        full = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"))
        for old in full[: -self._backups] if self._backups else full:
            old.unlink(missing_ok=True)
