"""CronJobs: start a Job whenever the schedule says, and clean up the old ones; `cronjob_plan` decides."""

from __future__ import annotations

from dataclasses import dataclass

from sampan.controllers import job, pods
from sampan.controllers.settings import Settings
from sampan.machinery.objects import Key, Object
from sampan.reconcile.controller import Cache, Controller, Watch, by_owner, later

KIND = "cronjobs.batch"


@dataclass(frozen=True, slots=True)
class Observed:
    cronjob: Object
    jobs: tuple[Object, ...]


def observe(cache: Cache, name: Key) -> Observed | None:
    found = cache.get(KIND, name)
    if found is None or pods.is_terminating(found):
        return None
    return Observed(found, tuple(cache.index(job.KIND, "owner", found["metadata"]["uid"])))


def make(settings: Settings) -> Controller:
    return Controller(
        name="cronjob-controller",
        watches=(Watch(KIND), Watch(job.KIND, by_owner("CronJob"))),
        observe=observe,
        decide=later("sampan.controllers.cronjob_plan", "decide"),
    )
