"""Jobs: pods that run to their end, until enough of them succeeded.

Every pod carries the finalizer `batch.kubernetes.io/job-tracking` until it is counted, so that none is
counted twice or missed, whoever deletes it and whenever we die. A finished pod passes through:

    finished ─> its uid stands in status.uncountedTerminatedPods ─> its finalizer goes ─> counted, the uid
    goes

and a job through: running ─> FailureTarget or SuccessCriteriaMet ─> its pods are gone ─> Failed or Complete.
Source: the concepts' page on Jobs; KEP-2307 (tracking), KEP-3329 (pod failure policy), KEP-2214 (indexed).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sampan.controllers import job_pods, pods
from sampan.controllers.job_pods import TRACKING
from sampan.controllers.settings import Settings
from sampan.machinery import conditions, times
from sampan.machinery.conditions import Conditions
from sampan.machinery.objects import Key, Object, key, owner
from sampan.reconcile.controller import (
    Action,
    Cache,
    Controller,
    Create,
    Delete,
    Emit,
    Index,
    Patch,
    Plan,
    Watch,
)

KIND = "jobs.batch"
# A pod that failed is replaced after 10 s, doubling with each further failure since the last success.
FIRST_BACKOFF = 10.0
LAST_BACKOFF = 600.0


@dataclass(frozen=True, slots=True)
class Observed:
    """`job` is None where it is gone; then `tracked` are the pods that still wait for it."""

    job: Object | None
    owned: tuple[Object, ...]
    orphans: tuple[Object, ...]
    tracked: tuple[Object, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a job ends: `type` is Complete or Failed."""

    type: str
    reason: str
    message: str

    @property
    def target(self) -> str:
        """The condition that announces the end while pods are still going."""
        return "SuccessCriteriaMet" if self.type == "Complete" else "FailureTarget"


@dataclass(frozen=True, slots=True)
class State:
    """A job's pods, and its counts with those pods that this plan newly finds finished."""

    job: Object
    now: float
    owned: tuple[Object, ...]
    active: tuple[Object, ...]
    terminating: int
    finished: tuple[Object, ...]
    counted: Object
    succeeded: int
    failed: int
    done_indexes: frozenset[int] = frozenset()

    @property
    def spec(self) -> Object:
        found: Object = self.job["spec"]
        return found


def observe(cache: Cache, name: Key) -> Observed | None:
    found = cache.get(KIND, name)
    uid = found["metadata"]["uid"] if found else ""
    tracked = [p for p in cache.index("pods", "tracked", str(name)) if (owner(p) or {}).get("uid") != uid]
    if found is None:
        return Observed(None, (), (), tuple(tracked)) if tracked else None
    owned = tuple(cache.index("pods", "owner", uid))
    return Observed(found, owned, tuple(cache.index("pods", "orphans", name.namespace)), tuple(tracked))


def decide(seen: Observed, now: float) -> Plan:
    untracked = [_untrack(pod) for pod in seen.tracked]
    if seen.job is None:
        return Plan(tuple(untracked))
    claimed = pods.claim(seen.job, "pods", seen.owned, seen.orphans)
    actions: list[Action] = [*untracked, *claimed.actions]
    if end(seen.job):
        return Plan((*actions, *(_untrack(p) for p in claimed.owned if TRACKING in _finalizers(p))))
    state = _count(seen.job, claimed.owned, now)
    plan = _end_or_go_on(state)
    return Plan((*actions, *plan.actions), plan.again)


def end(job: Object) -> str:
    """`Complete` or `Failed` where the job has ended, else empty."""
    return next((t for t in ("Complete", "Failed") if conditions.is_true(job, t)), "")


def _count(job: Object, owned: tuple[Object, ...], now: float) -> State:
    """Count what is finished: pods whose uid was noted and whose finalizer is gone; note those newly found."""
    status = job.get("status") or {}
    noted = status.get("uncountedTerminatedPods") or {}
    tracked = {p["metadata"]["uid"] for p in owned if TRACKING in _finalizers(p)}
    indexed = job_pods.is_indexed(job)
    finished = [p for p in owned if p["metadata"]["uid"] in tracked and _is_over(p)]
    counts, uncounted = {}, {}
    for word, phase in (("succeeded", "Succeeded"), ("failed", "Failed")):
        waiting = [uid for uid in noted.get(word) or () if uid in tracked]
        counts[word] = status.get(word, 0) + len(noted.get(word) or ()) - len(waiting)
        fresh = [p["metadata"]["uid"] for p in finished if _outcome(job, p) == phase]
        uncounted[word] = waiting + [uid for uid in fresh if uid not in waiting]
    done = job_pods.parse_indexes(status.get("completedIndexes", ""))
    if indexed:
        done |= {job_pods.index(p) for p in finished if pods.phase(p) == "Succeeded"}
        uncounted["succeeded"], counts["succeeded"] = [], len(done)
    counted = {**counts, "uncountedTerminatedPods": {k: v for k, v in uncounted.items() if v}}
    return State(
        job=job,
        now=now,
        owned=owned,
        active=tuple(p for p in owned if pods.is_active(p)),
        terminating=sum(1 for p in owned if pods.is_terminating(p) and not pods.is_finished(p)),
        finished=tuple(finished),
        counted=counted,
        succeeded=counts["succeeded"] + len(uncounted["succeeded"]),
        failed=counts["failed"] + len(uncounted["failed"]),
        done_indexes=frozenset(done),
    )


def _is_over(pod: Object) -> bool:
    """Whether no more will come of it: it ended, or it is deleted before it got to a node."""
    return pods.is_finished(pod) or (pods.is_terminating(pod) and not pod["spec"].get("nodeName"))


def _outcome(job: Object, pod: Object) -> str:
    if pods.phase(pod) == "Succeeded":
        return "Succeeded"
    return "" if job_pods.failure_action(job, pod) == "Ignore" else "Failed"


def _end_or_go_on(state: State) -> Plan:
    verdict = _verdict(state)
    found: Conditions = conditions.of(state.job)
    steps: list[Action] = []
    again: float | None = None
    if verdict:
        found = _with(found, state, verdict.target, "True", verdict.reason, verdict.message)
        steps = [_delete(state, pod) for pod in state.active]
        if not state.active and not state.terminating:
            found = _with(found, state, verdict.type, "True", verdict.reason, verdict.message)
            steps.append(_told(state, verdict))
    elif state.spec.get("suspend"):
        found = _suspended(found, state, "True", "JobSuspended", "Job suspended")
        steps = [_delete(state, pod) for pod in state.active]
    else:
        if conditions.among(found, "Suspended"):
            found = _suspended(found, state, "False", "JobResumed", "Job resumed")
        if not pods.is_terminating(state.job):
            steps, again = _manage(state)
    status = _status(state, found, verdict)
    patches = _status_patch(state.job, status)
    removed = [_untrack(pod) for pod in state.finished]
    return Plan((*patches, *removed, *steps), _earliest(again, _deadline(state)))


def _earliest(*times_: float | None) -> float | None:
    return min((t for t in times_ if t is not None), default=None)


def _verdict(state: State) -> Verdict | None:
    """Whether the job is at its end; an end once announced stays."""
    for type_, target in (("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")):
        if (announced := conditions.find(state.job, target)) and announced["status"] == "True":
            return Verdict(type_, announced["reason"], announced["message"])
    for pod in state.finished:
        if pods.phase(pod) == "Failed" and job_pods.failure_action(state.job, pod) == "FailJob":
            message = job_pods.failure_message(state.job, pod)
            return Verdict("Failed", "PodFailurePolicy", message)
    if _past_backoff(state):
        return Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    wait = _deadline(state)
    if wait is not None and wait <= 0:
        return Verdict("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    completions = state.spec.get("completions")
    drained = state.succeeded > 0 and not state.active
    if drained if completions is None else state.succeeded >= completions:
        return Verdict("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    return None


def _past_backoff(state: State) -> bool:
    limit = state.spec.get("backoffLimit", 6)
    if state.failed > limit:
        return True
    if state.spec["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(job_pods.restarts(pod) for pod in state.active)
    return restarts > 0 if limit == 0 else restarts >= limit


def _deadline(state: State) -> float | None:
    """Seconds until the job has been active for too long."""
    limit, started = state.spec.get("activeDeadlineSeconds"), (state.job.get("status") or {}).get("startTime")
    if limit is None or not started or state.spec.get("suspend"):
        return None
    return times.seconds(started) + float(limit) - state.now


def _manage(state: State) -> tuple[list[Action], float | None]:
    """Delete active pods that are too many, or create those that are missing, after the backoff."""
    parallelism = state.spec.get("parallelism", 1)
    completions = state.spec.get("completions")
    if completions is None:
        wanted = len(state.active) if state.succeeded else parallelism
        wanted = min(wanted, parallelism)
    else:
        wanted = min(parallelism, completions - state.succeeded)
    surplus = len(state.active) - wanted
    if surplus > 0:
        order = sorted(
            state.active, key=lambda p: (pods.is_ready(p), pods.phase(p) == "Running", -pods.created(p))
        )
        return [_delete(state, pod) for pod in order[:surplus]], None
    missing = -surplus
    if state.spec.get("podReplacementPolicy") == "Failed" or state.spec.get("podFailurePolicy"):
        missing = max(0, missing - state.terminating)
    if not missing:
        return [], None
    wait = _backoff(state)
    if wait > 0:
        return [], wait
    return [Create("pods", pod, state.job) for pod in _new_pods(state, missing)], None


def _new_pods(state: State, count: int) -> list[Object]:
    seed = (state.job["metadata"]["uid"], state.now)
    base = f"{state.job['metadata']['name']}-"
    if not job_pods.is_indexed(state.job):
        return [job_pods.pod(state.job, n) for n in pods.free_names(base, count, state.owned, *seed)]
    taken = state.done_indexes | {job_pods.index(p) for p in state.active}
    free = [i for i in range(state.spec.get("completions", 1)) if i not in taken][:count]
    return [
        job_pods.pod(state.job, name, i)
        for i in free
        for name in pods.free_names(f"{base}{i}-", 1, state.owned, *seed)
    ]


def _backoff(state: State) -> float:
    """Seconds to wait before the next pod, after the failures since the last success."""
    failures, last = job_pods.failures_in_a_row(state.owned, state.now)
    if not failures:
        return 0.0
    delay = min(FIRST_BACKOFF * 2.0 ** min(failures - 1, 10), LAST_BACKOFF)
    return last + delay - state.now


def _status(state: State, found: Conditions, verdict: Verdict | None) -> Object:
    old = state.job.get("status") or {}
    ended = any(conditions.among(found, t) for t in ("Complete", "Failed"))
    started = old.get("startTime")
    if state.spec.get("suspend") and not verdict:
        started = None
    elif not started:
        started = times.time(state.now)
    counted = state.counted
    if ended:
        counted = {
            **counted,
            "succeeded": state.succeeded,
            "failed": state.failed,
            "uncountedTerminatedPods": {},
        }
    complete = conditions.among(found, "Complete") is not None
    indexes = job_pods.format_indexes(state.done_indexes)
    return {
        **{k: old[k] for k in ("failedIndexes",) if k in old},
        "startTime": started,
        "completionTime": times.time(state.now) if complete else None,
        "active": len(state.active) or None,
        "ready": sum(1 for p in state.active if pods.is_ready(p)),
        "terminating": state.terminating,
        "succeeded": counted["succeeded"] or None,
        "failed": counted["failed"] or None,
        "uncountedTerminatedPods": counted["uncountedTerminatedPods"],
        "completedIndexes": indexes or None,
        "conditions": list(found) or None,
    }


def _status_patch(job: Object, status: Object) -> tuple[Action, ...]:
    """The status as a patch that holds only for the job as it was seen: a count must never go back."""
    version = {"resourceVersion": job["metadata"].get("resourceVersion")}
    made = []
    for action in pods.status_patch(KIND, job, status):
        assert isinstance(action, Patch)
        after = dict(action.patch["status"])
        if "uncountedTerminatedPods" in after:
            # A merge patch keeps what it does not name.
            after["uncountedTerminatedPods"] = {
                "succeeded": None,
                "failed": None,
                **after["uncountedTerminatedPods"],
            }
        made.append(replace(action, patch={"metadata": version, "status": after}))
    return tuple(made)


def _with(found: Conditions, state: State, type_: str, value: str, reason: str, message: str) -> Conditions:
    made = conditions.new(type_, value, reason, message, state.now)
    return conditions.with_(found, {**made, "lastProbeTime": made["lastTransitionTime"]})


def _suspended(found: Conditions, state: State, value: str, reason: str, message: str) -> Conditions:
    return _with(found, state, "Suspended", value, reason, message)


def _told(state: State, verdict: Verdict) -> Action:
    if verdict.type == "Complete":
        return Emit(state.job, "Normal", "Completed", "Job completed")
    return Emit(state.job, "Warning", verdict.reason, verdict.message)


def _delete(state: State, pod: Object) -> Action:
    return Delete("pods", key(pod), pod["metadata"]["uid"], about=state.job)


def _finalizers(pod: Object) -> list[str]:
    return list(pod["metadata"].get("finalizers") or ())


def _untrack(pod: Object) -> Action:
    rest = [f for f in _finalizers(pod) if f != TRACKING]
    return Patch("pods", key(pod), {"metadata": {"uid": pod["metadata"]["uid"], "finalizers": rest}})


def _tracked(pod: Object) -> tuple[str, ...]:
    ref = owner(pod)
    if not ref or ref["kind"] != "Job" or TRACKING not in _finalizers(pod):
        return ()
    return (str(Key(pod["metadata"]["namespace"], ref["name"])),)


def make(settings: Settings) -> Controller:
    return Controller(
        name="job-controller",
        watches=(Watch(KIND), Watch("pods", pods.wakes("Job", KIND))),
        observe=observe,
        decide=decide,
        indexes=(pods.ORPHAN_PODS, Index("pods", "tracked", _tracked)),
    )
