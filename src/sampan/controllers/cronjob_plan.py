"""CronJobs: start a Job whenever the schedule says, and clean up the old ones.

Source: the concepts' page on CronJobs; upstream's pkg/controller/cronjob. A Job's name comes from its time,
so that none is started twice. Of several missed times only the last is made up for.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from sampan.controllers import cron, job, pods
from sampan.controllers.cronjob import KIND, Observed
from sampan.machinery import times
from sampan.machinery.objects import Object, key
from sampan.reconcile.controller import (
    Action,
    Create,
    Delete,
    Emit,
    Plan,
)

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
# More missed times than this are told, since they may mean a broken clock.
MANY = 100


def decide(seen: Observed, now: float) -> Plan:
    cj = seen.cronjob
    status = _status(seen)
    actions = _clean(seen)
    again: float | None = None
    if not cj["spec"].get("suspend"):
        steps, again, status = _start(seen, status, now)
        actions += steps
    return Plan((*actions, *pods.status_patch(KIND, cj, status)), again)


def _status(seen: Observed) -> Object:
    old = seen.cronjob.get("status") or {}
    ends = [j["status"]["completionTime"] for j in seen.jobs if job.end(j) == "Complete"]
    last = max([*ends, *filter(None, [old.get("lastSuccessfulTime")])], default=None)
    active = [_reference(j) for j in sorted(seen.jobs, key=pods.created) if not job.end(j)]
    return {
        "active": active or None,
        "lastScheduleTime": old.get("lastScheduleTime"),
        "lastSuccessfulTime": last,
    }


def _reference(obj: Object) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        **{k: obj["metadata"][k] for k in ("namespace", "name", "uid")},
    }


def _clean(seen: Observed) -> list[Action]:
    """Delete finished Jobs beyond the history limits, oldest first."""
    steps: list[Action] = []
    for end, field, default in (
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ):
        ended = sorted((j for j in seen.jobs if job.end(j) == end), key=pods.created)
        surplus = len(ended) - seen.cronjob["spec"].get(field, default)
        steps += [_delete(seen, j) for j in ended[: max(0, surplus)] if not pods.is_terminating(j)]
    return steps


def _delete(seen: Observed, found: Object) -> Action:
    return Delete(job.KIND, key(found), found["metadata"]["uid"], about=seen.cronjob)


def schedule(cj: Object, now: float) -> cron.Place:
    """Where we are in the schedule. Raises ValueError and KeyError where schedule or time zone cannot be read."""
    zone = ZoneInfo(cj["spec"]["timeZone"]) if cj["spec"].get("timeZone") else UTC
    since = times.seconds(
        (cj.get("status") or {}).get("lastScheduleTime") or cj["metadata"]["creationTimestamp"]
    )
    deadline = cj["spec"].get("startingDeadlineSeconds")
    if deadline is not None:
        since = max(since, now - deadline)
    return cron.place(
        cj["spec"]["schedule"], datetime.fromtimestamp(since, zone), datetime.fromtimestamp(now, zone)
    )


def _start(seen: Observed, status: Object, now: float) -> tuple[list[Action], float | None, Object]:
    """Start the Job that is due, as the concurrency policy allows; when to look again; and the status then."""
    cj = seen.cronjob
    try:
        found = schedule(cj, now)
    except (ValueError, KeyError) as e:
        return [Emit(cj, "Warning", "UnparseableSchedule", f"unparseable schedule: {e}")], None, status
    again = found.next.timestamp() - now if found.next else None
    if found.due is None:
        return [], again, status
    steps: list[Action] = []
    if found.missed > MANY:
        message = f"too many missed start times: {found.missed}. Check clock skew"
        steps.append(Emit(cj, "Warning", "TooManyMissedTimes", message))
    active = [j for j in seen.jobs if not job.end(j)]
    policy = cj["spec"].get("concurrencyPolicy", "Allow")
    if policy == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return [*steps, Emit(cj, "Normal", "JobAlreadyActive", message)], again, status
    if policy == "Replace":
        steps += [_delete(seen, j) for j in active if not pods.is_terminating(j)]
    made = _job(cj, found.due)
    if all(j["metadata"]["name"] != made["metadata"]["name"] for j in seen.jobs):
        steps.append(Create(job.KIND, made, cj))
    return steps, again, {**status, "lastScheduleTime": times.time(found.due.timestamp())}


def _job(cj: Object, at: datetime) -> Object:
    template = cj["spec"]["jobTemplate"]
    given = template.get("metadata") or {}
    when = at.strftime("%Y-%m-%dT%H:%M:%S%z")
    stamp = when.removesuffix("+0000") + "Z" if when.endswith("+0000") else f"{when[:-2]}:{when[-2:]}"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{cj['metadata']['name']}-{int(at.timestamp()) // 60}",
            "namespace": cj["metadata"]["namespace"],
            **({"labels": given["labels"]} if given.get("labels") else {}),
            "annotations": {**(given.get("annotations") or {}), SCHEDULED: stamp},
            "ownerReferences": [pods.reference(cj)],
        },
        "spec": template["spec"],
    }
