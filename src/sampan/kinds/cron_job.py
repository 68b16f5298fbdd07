"""CronJob (batch/v1): Jobs by the clock."""

from __future__ import annotations

import re

from sampan.kinds import faults, job, metadata, strategy
from sampan.kinds.columns import AGE, NAME, NONE, UNSET, at, container_columns, count, since
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get

_POLICIES = ("Allow", "Forbid", "Replace")
_NICKNAMES = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_FIELD = re.compile(
    r"(\*|\?|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/[0-9]+)?(,(\*|\?|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/[0-9]+)?)*"
)


def _suspended(obj: Object, now: float) -> str:
    value = get(obj, "spec.suspend")
    return UNSET if value is None else str(value)


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    values = (
        ("concurrencyPolicy", "Allow"),
        ("suspend", False),
        ("successfulJobsHistoryLimit", 3),
        ("failedJobsHistoryLimit", 1),
    )
    for name, value in values:
        if spec.get(name) in (None, ""):
            spec[name] = value
    job.default_spec(spec.setdefault("jobTemplate", {}).setdefault("spec", {}))


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    name = obj["metadata"].get("name", "")
    found: list[Invalid] = []
    if len(name) > 52:
        found.append(faults.invalid("metadata.name", name, "must be no more than 52 characters"))
    if not spec.get("schedule"):
        found.append(faults.required("spec.schedule"))
    else:
        found += _schedule(spec["schedule"])
    found += faults.one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), _POLICIES, needed=True)
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        found += faults.not_negative(f"spec.{field}", spec.get(field))
    return found + job.validate_spec(get(spec, "jobTemplate.spec", {}), "spec.jobTemplate.spec")


def _schedule(text: str) -> list[Invalid]:
    """Five fields, a nickname or `@every` with a duration."""
    if "TZ" in text:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        return [faults.invalid("spec.schedule", text, detail)]
    if text in _NICKNAMES or text.startswith("@every "):
        return []
    parts = text.split()
    if len(parts) != 5:
        detail = f"expected exactly 5 fields, found {len(parts)}: {parts}"
        return [faults.invalid("spec.schedule", text, detail)]
    wrong = [p for p in parts if not _FIELD.fullmatch(p)]
    return [faults.invalid("spec.schedule", text, f"failed to parse {p}") for p in wrong]


KIND = Kind(
    group="batch",
    version="v1",
    kind="CronJob",
    plural="cronjobs",
    namespaced=True,
    short_names=("cj",),
    categories=("all",),
    subresources=("status",),
    columns=(
        NAME,
        Column("Schedule", at("spec.schedule"), description="When its Jobs start."),
        Column("Timezone", at("spec.timeZone", NONE), description="The time zone of the schedule."),
        Column("Suspend", _suspended, type="boolean", description="Whether it starts no Jobs now."),
        Column("Active", count("status.active"), type="integer", description="How many of its Jobs run."),
        Column(
            "Last Schedule", since("status.lastScheduleTime", NONE), description="When the last Job started."
        ),
        AGE,
        *container_columns("spec.jobTemplate.spec.template.spec", "spec.jobTemplate.spec.selector"),
    ),
    default=_default,
    prepare=strategy.counted,
    validate=metadata.checked(_validate),
)
