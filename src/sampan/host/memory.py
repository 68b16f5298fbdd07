"""Memory of this process: giving back what the C library keeps after a large piece of work. Source: malloc_trim(3)."""

from __future__ import annotations

import gc

from sampan.host.mounts import libc


def trim() -> None:
    """Return free memory to the kernel, where the C library can. Blocks for some milliseconds: use a thread."""
    gc.collect()
    if release := getattr(libc(), "malloc_trim", None):
        release(0)
