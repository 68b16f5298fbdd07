"""What there is of a Job: its pods, how many of them ended and how, and which of its indexes are done.

Every pod carries the finalizer `batch.kubernetes.io/job-tracking` until it is counted, so that none is counted twice or
missed, whoever deletes it and whenever we die. A finished pod passes through:

    finished ─> its uid stands in status.uncountedTerminatedPods ─> its finalizer goes ─> counted, the uid goes

Source: KEP-2307 (tracking), KEP-2214 (indexed jobs), KEP-3850 (backoff for each index).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sampan.controllers import job_pods, pods
from sampan.controllers.job import is_tracked
from sampan.machinery.objects import Object

# The most pods that are counted, created or deleted in one step.
MOST = 500


@dataclass(slots=True)
class State:
    """`succeeded` and `failed` count all, also those that the status does not yet."""

    job: Object
    now: float
    pods: tuple[Object, ...]
    active: tuple[Object, ...] = ()
    terminating: int = 0
    # What the status has counted for good, and the uids that it names until their finalizers are gone.
    counted: dict[str, int] = field(default_factory=dict)
    noted: dict[str, list[str]] = field(default_factory=dict)
    succeeded: int = 0
    failed: int = 0
    done: set[int] = field(default_factory=set)
    # None where a failed index does not end it.
    failed_indexes: set[int] | None = None
    # The last failed pod of each index that is to be tried again: it is kept until its successor is there.
    kept: dict[int, Object] = field(default_factory=dict)

    @property
    def spec(self) -> Object:
        found: Object = self.job["spec"]
        return found

    @property
    def completions(self) -> int | None:
        found: int | None = self.spec.get("completions")
        return found

    @property
    def indexed(self) -> bool:
        return job_pods.is_indexed(self.job)

    def valid(self, pod: Object) -> bool:
        """Whether a pod counts at all: of an indexed job, it must have an index."""
        return not self.indexed or 0 <= job_pods.index(pod) < (self.completions or 0)

    def uncounted(self) -> Iterable[Object]:
        """The pods that are to be counted still, in the order of their indexes."""
        known = {uid for uids in self.noted.values() for uid in uids}
        tracked = (p for p in self.pods if is_tracked(p) and p["metadata"]["uid"] not in known)
        return sorted((p for p in tracked if self.valid(p)), key=job_pods.index)


def of(job: Object, owned: tuple[Object, ...], now: float) -> State:
    """The state of a job whose pods are `owned`."""
    found = State(job, now, owned)
    found.active = tuple(p for p in owned if pods.is_active(p))
    found.terminating = sum(1 for p in owned if pods.is_terminating(p) and not pods.is_finished(p))
    _settle(found)
    fresh = list(found.uncounted())
    succeeded = sum(1 for p in fresh if pods.phase(p) == "Succeeded")
    failed = sum(1 for p in fresh if job_pods.has_failed(job, p) and job_pods.failure(job, p).counted)
    found.succeeded = found.counted["succeeded"] + len(found.noted["succeeded"]) + succeeded
    found.failed = found.counted["failed"] + len(found.noted["failed"]) + failed
    if found.indexed:
        _index(found)
    return found


def _settle(found: State) -> None:
    """Count those noted whose finalizers are gone."""
    status = found.job.get("status") or {}
    noted = status.get("uncountedTerminatedPods") or {}
    tracked = {p["metadata"]["uid"] for p in found.pods if is_tracked(p)}
    for word in ("succeeded", "failed"):
        waiting = [uid for uid in noted.get(word) or () if uid in tracked]
        found.counted[word] = status.get(word, 0) + len(noted.get(word) or ()) - len(waiting)
        found.noted[word] = waiting


def _index(found: State) -> None:
    status, most = found.job.get("status") or {}, found.completions or 0
    tracked = [p for p in found.pods if is_tracked(p) and found.valid(p)]
    found.done = job_pods.parse_indexes(status.get("completedIndexes", ""), most)
    found.done |= {job_pods.index(p) for p in tracked if pods.phase(p) == "Succeeded"}
    found.succeeded = len(found.done)
    if found.spec.get("backoffLimitPerIndex") is None:
        return
    found.failed_indexes = job_pods.parse_indexes(status.get("failedIndexes") or "", most)
    found.failed_indexes |= {job_pods.index(p) for p in tracked if _fails_index(found.job, p)}
    _keep(found)


def _fails_index(job: Object, pod: Object) -> bool:
    """Whether an index is lost with a pod."""
    if not job_pods.has_failed(job, pod):
        return False
    said = job_pods.failure(job, pod)
    if said.action == "FailIndex":
        return True
    return said.counted and job_pods.failure_count(pod) >= job["spec"]["backoffLimitPerIndex"]


def _keep(found: State) -> None:
    over = found.done | (found.failed_indexes or set()) | {job_pods.index(p) for p in found.active}
    for pod in found.uncounted():
        i = job_pods.index(pod)
        if i in over or not job_pods.has_failed(found.job, pod):
            continue
        other = found.kept.get(i)
        if other is None or _later(pod, other):
            found.kept[i] = pod


def _later(pod: Object, other: Object) -> bool:
    more = job_pods.all_failures(pod) >= job_pods.all_failures(other)
    return more and job_pods.finished_at(pod) >= job_pods.finished_at(other)
