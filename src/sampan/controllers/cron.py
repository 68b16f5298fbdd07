"""Schedules as cron writes them: five fields, names, ranges, steps, `@daily` and the like, and `@every 1h30m`.

Source: the manual page crontab(5); the concepts' page on CronJobs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

_NAMED = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_MONTHS = {
    name: i + 1
    for i, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    )
}
_DAYS = {name: i for i, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}), ("hour", 0, 23, {}), ("day of month", 1, 31, {}), ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)  # fmt: skip
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
_PART = re.compile(r"([0-9.]+)(ms|h|m|s)")
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ms|h|m|s))+")
# A schedule that does not come in this time, such as on 30 February, never does.
_NEVER = timedelta(days=5 * 366)
_LOOKS = (timedelta(hours=2), timedelta(days=2), timedelta(days=60), _NEVER)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The values that each field allows. Days of the week count from Sunday, 0.

    Where both days are restricted, either one will do, as crontab(5) says.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def matches_day(self, at: datetime) -> bool:
        by_month, by_week = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        either = not self.any_day and not self.any_weekday
        return at.month in self.months and (by_month or by_week if either else by_month and by_week)


@lru_cache(256)
def parse(text: str) -> Schedule:
    """A schedule from its text. Raises ValueError, saying which field is wrong."""
    fields = _NAMED.get(text.strip(), text).split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: {text}")
    values = [_values(field, *spec) for field, spec in zip(fields, _FIELDS, strict=True)]
    weekdays = frozenset(day % 7 for day in values[4])
    every = [field[0] in "*?" for field in fields]
    return Schedule(values[0], values[1], values[2], values[3], weekdays, every[2], every[4])


def _values(field: str, what: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span in ("*", "?"):
            begin, end = low, high - (1 if what == "day of week" else 0)
        else:
            begin = _number(first, what, names)
            end = _number(last, what, names) if dash else (high if step else begin)
        every = _number(step, what, {}) if step else 1
        if every < 1 or not low <= begin <= end <= high:
            raise ValueError(f"{what} must be from {low} to {high}: {part}")
        found |= set(range(begin, end + 1, every))
    return frozenset(found)


def _number(text: str, what: str, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if not text.isdigit():
        raise ValueError(f"failed to parse {what} from {text!r}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a time lies in a schedule: the last one due up to it, how many were due before that one, and
    the next to come.

    After a long pause `missed` counts only as far as was looked.
    """

    due: datetime | None
    missed: int
    next: datetime | None


def place(text: str, since: datetime, now: datetime) -> Place:
    """Where `now` lies in the times of a schedule that come after `since`. Raises ValueError."""
    if text.startswith("@every "):
        return _place_every(duration(text.removeprefix("@every ").strip()), since, now)
    schedule = parse(text)
    found = Place(None, 0, None)
    # Looking back bit by bit: a dense schedule is found at once, a sparse one is quickly gone through.
    for back in _LOOKS:
        begin = max(since, now - back)
        found = _scan(schedule, begin, now)
        if found.due or begin == since:
            break
    return found


def _scan(schedule: Schedule, begin: datetime, now: datetime) -> Place:
    due, missed = None, 0
    for at in _matching(schedule, begin):
        if at > now:
            return Place(due, missed, at)
        missed += due is not None
        due = at
    return Place(due, missed, None)


def _place_every(step: float, since: datetime, now: datetime) -> Place:
    every = timedelta(seconds=max(1, int(step)))
    since = since.replace(microsecond=0)
    passed = max(0, (now - since) // every)
    due = since + passed * every if passed else None
    return Place(due, max(0, passed - 1), since + (passed + 1) * every)


def duration(text: str) -> float:
    """Seconds of a duration such as `1h30m` or `1.5s`. Raises ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"invalid duration: {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _matching(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    at = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    limit = at + _NEVER
    while at < limit:
        if not schedule.matches_day(at):
            at = (at + timedelta(days=1)).replace(hour=0, minute=0)
        elif at.hour not in schedule.hours:
            at = at.replace(minute=0) + timedelta(hours=1)
        elif at.minute not in schedule.minutes:
            at += timedelta(minutes=1)
        else:
            yield at
            limit = at + _NEVER
            at += timedelta(minutes=1)
