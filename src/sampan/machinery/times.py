"""Times as the API writes them: RFC 3339 in UTC, to the second (Time) or to the microsecond (MicroTime)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

_PATTERN = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)


def time(seconds: float) -> str:
    """Seconds since the epoch as a Time: `2026-01-02T03:04:05Z`."""
    return _whole(int(seconds))


@lru_cache(16)
def _whole(seconds: int) -> str:
    """Many writes fall into the same second."""
    # Not by strftime, which writes early years in fewer digits.
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:19] + "Z"


def micro_time(seconds: float) -> str:
    """Seconds since the epoch as a MicroTime: `2026-01-02T03:04:05.000006Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:26] + "Z"


def seconds(text: str) -> float:
    """The seconds since the epoch of an RFC 3339 time, with any fraction and offset. Raises ValueError."""
    whole, fraction = split(text)
    return whole + fraction / 1e9


def split(text: str) -> tuple[int, int]:
    """An RFC 3339 time as whole seconds since the epoch and nanoseconds. Raises ValueError."""
    match = _PATTERN.fullmatch(text)
    if not match:
        raise ValueError(
            f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse it as an RFC 3339 time'
        )
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    offset = timedelta()
    if match[9]:
        offset = timedelta(hours=int(match[10]), minutes=int(match[11])) * (-1 if match[9] == "-" else 1)
    # datetime has no leap second; it counts as the second after.
    moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone(offset))
    whole = int((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)) + max(0, second - 59)
    return whole, int((match[7] or "0").ljust(9, "0"))


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def duration(text: str) -> float:
    """A duration as Go writes it, such as `1m30s` or `500ms`, in seconds. Raises ValueError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)", text)
    if "".join(n + u for n, u in parts) != text.lstrip("+"):
        raise ValueError(f'"{text}" is no duration')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def human(duration: float) -> str:
    """A duration in seconds as kubectl shows ages: `5s`, `2m30s`, `12m`, `3h12m`, `25h`, `3d2h`, `9d`, `2y30d`.

    The larger the duration, the coarser; what a client with a fast clock sees as the near future is `0s`.
    """
    total = int(duration)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return _pair(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _pair(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _pair(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def age(text: str | None, now: float) -> str:
    """How long ago an RFC 3339 time was, for a table; `<unknown>` where there is none."""
    return human(now - seconds(text)) if text else "<unknown>"
