"""Python's collector of reference cycles, kept from stopping a process that holds much.

A full collection walks every object there is: over 10,000 decoded Pods it takes a quarter of a second. What an API
server, an informer or a kubelet holds has no cycles, and goes when nothing refers to it any more, without the
collector. So whatever survives a full collection is set aside, and the next one walks only what came since.
"""

from __future__ import annotations

import gc
import time

# What was set aside may have become garbage in a cycle: an old connection, say. So now and then all is walked.
_THOROUGH_SECONDS = 24 * 3600.0
# Python's own thresholds, save the last: a full collection comes after 14,000 new objects, not 70,000, and takes about
# 2 ms instead of 10.
_THRESHOLDS = 700, 10, 2


def set_aside_survivors() -> None:
    """Set aside all there is now, and from now on whatever survives a full collection. Call once in a process."""
    due = time.monotonic() + _THOROUGH_SECONDS

    def collected(phase: str, info: dict[str, int]) -> None:
        nonlocal due
        if phase != "stop" or info["generation"] < 2:
            return
        if time.monotonic() < due:
            gc.freeze()
        else:
            due = time.monotonic() + _THOROUGH_SECONDS
            gc.unfreeze()  # the next full collection walks all

    gc.set_threshold(*_THRESHOLDS)
    gc.callbacks.append(collected)
    gc.freeze()
