"""Jobs: pods that run to their end, until enough of them succeeded; `job_plan` decides.

Source: the concepts' page on Jobs.
"""

from __future__ import annotations

from dataclasses import dataclass

from sampan.controllers import pods
from sampan.controllers.settings import Settings
from sampan.machinery import conditions
from sampan.machinery.objects import Key, Object, owner
from sampan.reconcile.controller import Cache, Controller, Index, Watch, later

KIND = "jobs.batch"
MANAGER = "kubernetes.io/job-controller"
# The finalizer of a pod that was not counted yet.
TRACKING = "batch.kubernetes.io/job-tracking"


@dataclass(frozen=True, slots=True)
class Observed:
    """`job` is None where it is gone; then `tracked` are the pods that still wait for it."""

    job: Object | None
    owned: tuple[Object, ...]
    orphans: tuple[Object, ...]
    tracked: tuple[Object, ...]


def observe(cache: Cache, name: Key) -> Observed | None:
    found = cache.get(KIND, name)
    uid = found["metadata"]["uid"] if found else ""
    tracked = [p for p in cache.index("pods", "tracked", str(name)) if (owner(p) or {}).get("uid") != uid]
    if found is None:
        return Observed(None, (), (), tuple(tracked)) if tracked else None
    if found["spec"].get("managedBy") not in (None, "", MANAGER):
        return None
    owned = tuple(cache.index("pods", "owner", uid))
    return Observed(found, owned, tuple(cache.index("pods", "orphans", name.namespace)), tuple(tracked))


def end(job: Object) -> str:
    """`Complete` or `Failed` where the job has ended, else empty."""
    return next((t for t in ("Complete", "Failed") if conditions.is_true(job, t)), "")


def is_tracked(pod: Object) -> bool:
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def _tracked(pod: Object) -> tuple[str, ...]:
    ref = owner(pod)
    if not ref or ref["kind"] != "Job" or not is_tracked(pod):
        return ()
    return (str(Key(pod["metadata"]["namespace"], ref["name"])),)


def make(settings: Settings) -> Controller:
    return Controller(
        name="job-controller",
        watches=(Watch(KIND), Watch("pods", pods.wakes("Job", KIND))),
        observe=observe,
        decide=later("sampan.controllers.job_plan", "decide"),
        indexes=(pods.ORPHAN_PODS, Index("pods", "tracked", _tracked)),
    )
