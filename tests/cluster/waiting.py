"""Waiting for what a cluster does in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(what: Callable[[], object], seconds: float = 30.0) -> object:
    """Wait until `what()` is true, and return it; its last false answer is in the failure."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, f"still {answer!r}"
        time.sleep(0.1)
    return answer
