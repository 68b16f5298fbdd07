"""When a CronJob is due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sampan.controllers import cron, cronjob, cronjob_plan, job
from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.reconcile.controller import Create, Delete, Emit

NOON = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("schedule", "due", "following"),
    [
        ("* * * * *", "2026-03-04T12:00:00", "2026-03-04T12:01:00"),
        ("*/25 * * * *", "2026-03-04T12:00:00", "2026-03-04T12:25:00"),
        ("30 9-11/2 * * mon-fri", "2026-03-04T11:30:00", "2026-03-05T09:30:00"),
        ("0 0 1 * *", "2026-03-01T00:00:00", "2026-04-01T00:00:00"),
        ("0 0 13 * fri", "2026-02-27T00:00:00", "2026-03-06T00:00:00"),
        ("@weekly", "2026-03-01T00:00:00", "2026-03-08T00:00:00"),
        ("0 0 29 feb *", None, "2028-02-29T00:00:00"),
        ("0 0 30 2 *", None, None),
        ("@every 90m", "2026-03-04T10:30:00", "2026-03-04T12:00:00"),
    ],
)
def test_the_last_time_and_the_next(schedule: str, due: str | None, following: str | None) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    if schedule.startswith("@every"):
        since, now = datetime(2026, 3, 4, 9, 0, tzinfo=UTC), datetime(2026, 3, 4, 11, 59, tzinfo=UTC)
    else:
        now = NOON
    found = cron.place(schedule, since, now)
    assert found.due == (datetime.fromisoformat(f"{due}+00:00") if due else None)
    assert found.next == (datetime.fromisoformat(f"{following}+00:00") if following else None)


@pytest.mark.parametrize(
    "schedule", ["* * * *", "61 * * * *", "* * * * funday", "*/0 * * * *", "@every soon"]
)
def test_what_is_no_schedule(schedule: str) -> None:
    with pytest.raises(ValueError):
        cron.place(schedule, NOON, NOON)


def cronjob_of(**spec: object) -> Object:
    template = {"spec": {"template": {"spec": {"containers": [], "restartPolicy": "Never"}}}}
    meta = {
        "name": "nightly",
        "namespace": "default",
        "uid": "c",
        "creationTimestamp": "2026-03-04T11:58:30Z",
    }
    kind = {"apiVersion": "batch/v1", "kind": "CronJob"}
    return {**kind, "metadata": meta, "spec": {"schedule": "* * * * *", "jobTemplate": template, **spec}}


def job_of(name: str, end: str = "") -> Object:
    meta = {"name": name, "namespace": "default", "uid": name, "creationTimestamp": "2026-03-04T11:59:00Z"}
    conditions = (
        [{"type": end, "status": "True", "lastTransitionTime": "2026-03-04T11:59:30Z"}] if end else []
    )
    status = {"conditions": conditions, "completionTime": "2026-03-04T11:59:30Z"}
    return {"metadata": meta, "spec": {}, "status": status}


def actions(cj: Object, *jobs: Object) -> list[str]:
    plan = cronjob_plan.decide(cronjob.Observed(cj, jobs), NOON.timestamp())
    told = []
    for action in plan.actions:
        match action:
            case Create(kind=job.KIND):
                told.append(f"create {action.object['metadata']['name']}")
            case Delete():
                told.append(f"delete {action.key.name}")
            case Emit():
                told.append(action.reason)
    return told


def test_only_the_last_of_several_missed_times_is_made_up_for() -> None:
    minute = int(NOON.timestamp()) // 60
    assert actions(cronjob_of()) == [f"create nightly-{minute}"]
    served = cronjob_of()
    served["status"] = {"lastScheduleTime": times.time(minute * 60)}
    assert actions(served) == []


def test_concurrency_policies() -> None:
    running = job_of("nightly-1")
    minute = int(NOON.timestamp()) // 60
    assert actions(cronjob_of(concurrencyPolicy="Allow"), running) == [f"create nightly-{minute}"]
    assert actions(cronjob_of(concurrencyPolicy="Forbid"), running) == ["JobAlreadyActive"]
    assert actions(cronjob_of(concurrencyPolicy="Replace"), running) == [
        "delete nightly-1",
        f"create nightly-{minute}",
    ]


def test_history_limits_and_suspension() -> None:
    done = [job_of(f"nightly-{i}", "Complete") for i in range(3)]
    assert actions(cronjob_of(suspend=True, successfulJobsHistoryLimit=1), *done) == [
        "delete nightly-0",
        "delete nightly-1",
    ]


def test_what_cannot_be_read_is_told() -> None:
    assert actions(cronjob_of(schedule="never")) == ["UnparseableSchedule"]
    assert actions(cronjob_of(timeZone="Atlantis/Capital")) == ["UnparseableSchedule"]
