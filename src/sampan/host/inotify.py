"""Waiting for changes to files without polling, by inotify(7)."""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path

from sampan.host import libc

MODIFY, ATTRIB, CREATE, DELETE, MOVED_TO, MOVED_FROM = 0x2, 0x4, 0x100, 0x200, 0x80, 0x40
ANY = MODIFY | ATTRIB | CREATE | DELETE | MOVED_TO | MOVED_FROM
_NONBLOCK, _CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC


class Watch:
    """Tells that something changed in a directory or a file; what it was is for the caller to look.

    Use it as a context manager. Raises OSError where the path cannot be watched.
    """

    def __init__(self, path: Path):
        self._fd = libc.check(libc.library().inotify_init1(_NONBLOCK | _CLOEXEC), "watch files")
        if libc.library().inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(ANY)) < 0:
            failed = libc.error(f"watch {path}")
            os.close(self._fd)
            raise failed
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._drain)

    def _drain(self) -> None:
        try:
            os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        self._changed.set()

    async def wait(self, timeout: float) -> bool:
        """True once something changed since the last call, False after `timeout` seconds without."""
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
