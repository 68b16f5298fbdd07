"""Names and numbers of signals, as images and CRI write them. Plain functions. Source: signal(7)."""

from __future__ import annotations

import re
import signal
from functools import cache

from sampan.machinery.cri import messages

TERM = int(signal.SIGTERM)
_REALTIME = re.compile(r"RTM(IN|AX)(?:(?:\+|-|PLUS|MINUS)(\d+))?")
_ALIASES = {"CLD": "CHLD", "POLL": "IO", "IOT": "ABRT", "STKFLT": "16"}


def number(text: str) -> int:
    """`SIGTERM`, `TERM`, `15` or `SIGRTMIN+3` as a number; 0 for what is none."""
    name = text.strip().upper().removeprefix("SIGNAL_").removeprefix("SIG")
    name = _ALIASES.get(name, name)
    if name.isdigit():
        return int(name) if 0 < int(name) <= 64 else 0
    if match := _REALTIME.fullmatch(name):
        offset = int(match[2] or 0)
        found = 34 + offset if match[1] == "IN" else 64 - offset
        return found if 34 <= found <= 64 else 0
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        return 0


def from_cri(value: int) -> int:
    """The number for a value of CRI's enumeration Signal; 0 for the default or one that nobody knows."""
    try:
        name = messages.Signal.Name(value)
    except ValueError:
        return 0
    return 0 if name == "SIGNAL_RUNTIME_DEFAULT" else number(name)


@cache  # asked for each status of each container
def to_cri(wanted: int) -> int:
    """The value of CRI's enumeration Signal for a number."""
    for name, value in messages.Signal.items():
        if value and number(name) == wanted:
            return int(value)
    return 0
