"""The C library's memory of this process. Source: malloc_trim(3)."""

from __future__ import annotations

from sampan.host import libc


def trim() -> None:
    """Return free memory to the kernel after a large piece of work, where the C library can. Use a thread."""
    if release := getattr(libc.library(), "malloc_trim", None):
        release(0)
