"""The C library, for the system calls that Python has no function for."""

from __future__ import annotations

import ctypes
import os
from functools import cache


@cache
def library() -> ctypes.CDLL:
    """The C library, loaded once; its calls release the interpreter's lock and set errno."""
    return ctypes.CDLL(None, use_errno=True)


def check(status: int, what: str) -> int:
    """What a call returned; OSError, saying `what` could not be done, where that is negative."""
    if status < 0:
        raise error(what)
    return status


def error(what: str) -> OSError:
    """The error of the last call in this thread, as in `cannot enter /x: Permission denied`."""
    number = ctypes.get_errno()
    return OSError(number, f"cannot {what}: {os.strerror(number)}")
