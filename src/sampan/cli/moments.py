"""Moments as people write them on the command line, as the API takes them."""

from __future__ import annotations

import re
import time
from datetime import datetime

from sampan.cli.problem import Problem

_AGO = re.compile(r"(\d+)([smhd])(?: ago)?")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(text: str) -> str:
    """A revision as it is; `10m` or `2h ago`, a time of today, or a local date and time as seconds since the epoch."""
    if text.isdigit():
        return text
    if found := _AGO.fullmatch(text.strip()):
        return f"{time.time() - int(found[1]) * _UNITS[found[2]]:.3f}"
    try:
        today = datetime.now().strftime("%Y-%m-%dT")
        full = f"{today}{text}" if re.fullmatch(r"\d\d?:\d\d(:\d\d)?", text) else text
        return f"{datetime.fromisoformat(full.replace('Z', '+00:00')).timestamp():.3f}"
    except ValueError:
        raise Problem(
            f"{text!r} is no moment: give a revision, 10m (ago), 17:03, or 2026-11-23T17:03:11"
        ) from None
