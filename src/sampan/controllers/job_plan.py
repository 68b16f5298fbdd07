"""What a Job needs next: pods that run to their end, until enough of them succeeded.

    what there is (job_state) ──> whether it ends (job_end) ──> else: pods made or deleted ──> status, finalizers

Source: the concepts' page on Jobs; k8s.io/kubernetes pkg/controller/job; KEP-3939 (replacement), KEP-4368 (managedBy).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sampan.controllers import job_end, job_pods, job_state, pods
from sampan.controllers.job import KIND, TRACKING, Observed, end, is_tracked
from sampan.controllers.job_end import Verdict
from sampan.controllers.job_state import MOST, State
from sampan.machinery import conditions, times
from sampan.machinery.conditions import Conditions
from sampan.machinery.objects import Object, key
from sampan.reconcile.controller import (
    Action,
    Create,
    Delete,
    Emit,
    Patch,
    Plan,
)

# A pod that failed is replaced after 10 s, doubling with each further failure since the last success.
FIRST_BACKOFF = 10.0
LAST_BACKOFF = 600.0


def decide(seen: Observed, now: float) -> Plan:
    untracked = [_untrack(pod) for pod in seen.tracked]
    if seen.job is None:
        return Plan(tuple(untracked))
    claimed = pods.claim(seen.job, "pods", seen.owned, seen.orphans)
    actions: list[Action] = [*untracked, *claimed.actions]
    if end(seen.job):
        return Plan((*actions, *(_untrack(p) for p in claimed.owned if is_tracked(p))))
    step = _Step(job_state.of(seen.job, claimed.owned, now))
    plan = step.plan()
    return Plan((*actions, *plan.actions), plan.again)


@dataclass(slots=True)
class _Step:
    """One step of one job: what it does gathers here."""

    state: State
    conditions: Conditions = ()
    # Deleted or created in this step, and when to look again.
    changes: list[Action] = field(default_factory=list)
    deleted: list[Object] = field(default_factory=list)
    events: list[Action] = field(default_factory=list)
    again: float | None = None

    def plan(self) -> Plan:
        state = self.state
        self.conditions = conditions.of(state.job)
        verdict = job_end.verdict(state)
        if verdict:
            self.delete(state.active, count=True)
        else:
            if not pods.is_terminating(state.job):
                self.manage()
            verdict = job_end.completed(state, len(state.active) - len(self.deleted))
            if not verdict and not pods.is_terminating(state.job):
                self.suspension()
        freed = self.count(verdict)
        if verdict:
            self.conclude(verdict, bool(freed))
        status = _status(self, verdict)
        patches = _status_patch(state.job, status)
        untracked = [_untrack(pod) for pod in freed]
        again = _earliest(self.again, job_end.deadline(state))
        return Plan((*patches, *untracked, *self.changes, *self.events), again)

    # Pods

    def manage(self) -> None:
        """Delete active pods that are too many, or create those that are missing, after the backoff."""
        state = self.state
        if state.spec.get("suspend"):
            self.delete(state.active)
            return
        wanted, active = _wanted(state), len(state.active)
        surplus = _surplus(state, max(0, active - wanted))[:MOST]
        if surplus:
            self.delete(surplus)
            return
        missing = wanted - active - (state.terminating if job_pods.only_failed(state.job) else 0)
        if missing > 0:
            self.create(min(missing, MOST))

    def delete(self, chosen: tuple[Object, ...] | list[Object], *, count: bool = False) -> None:
        """Delete pods; those that are not to be counted as failures lose their finalizers first."""
        for pod in chosen:
            if not count and is_tracked(pod):
                self.changes.append(_untrack(pod))
            self.changes.append(Delete("pods", key(pod), pod["metadata"]["uid"], about=self.state.job))
            self.deleted.append(pod)

    def create(self, count: int) -> None:
        state = self.state
        if state.failed_indexes is None:
            wait = _backoff(*job_pods.failures_in_a_row(state.job, state.pods), state.now)
            if wait > 0:
                self.again = wait
                return
        made = _indexed_pods(self, count) if state.indexed else _plain_pods(state, count)
        self.changes += [Create("pods", pod, state.job) for pod in made]

    # Status

    def suspension(self) -> None:
        before = self.conditions
        if self.state.spec.get("suspend"):
            self.set("Suspended", "True", "JobSuspended", "Job suspended")
            word = "Suspended"
        else:
            if conditions.among(before, "Suspended"):
                self.set("Suspended", "False", "JobResumed", "Job resumed")
            word = "Resumed"
        if self.conditions != before:
            self.events.append(Emit(self.state.job, "Normal", word, f"Job {word.lower()}"))

    def count(self, verdict: Verdict | None) -> list[Object]:
        """Note the pods that have ended, and return those whose finalizers go."""
        state = self.state
        over = {p["metadata"]["uid"] for p in self.deleted}
        known = {uid for uids in state.noted.values() for uid in uids}
        freed = [p for p in state.pods if p["metadata"]["uid"] in known]
        kept = {p["metadata"]["uid"] for p in state.kept.values()}
        fresh = 0
        for pod in (p for p in state.pods if is_tracked(p) and p["metadata"]["uid"] not in known):
            uid = pod["metadata"]["uid"]
            word = _outcome(state, pod, verdict)
            removable = verdict is not None or pods.is_terminating(state.job)
            if not word and not removable and not _ended(state, pod):
                continue
            if (uid in kept and not removable) or (uid in over and verdict is None):
                continue
            if word and state.valid(pod):
                if fresh == MOST:
                    self.again = 0.0
                    break
                state.noted[word].append(uid)
                fresh += 1
            freed.append(pod)
        if state.indexed:
            # The index is enough to know those that succeeded.
            state.noted["succeeded"], state.counted["succeeded"] = [], len(state.done)
        return freed

    def conclude(self, verdict: Verdict, uncounted: bool) -> None:
        """Announce the end; it is final once every pod is gone and counted."""
        self.set(verdict.target, "True", verdict.reason, verdict.message)
        if self.deleted or self.state.terminating or uncounted or any(self.state.noted.values()):
            return
        self.set(verdict.type, "True", verdict.reason, verdict.message)
        if verdict.type == "Failed":
            self.events.append(Emit(self.state.job, "Warning", verdict.reason, verdict.message))
            return
        completions = self.state.completions
        if completions is not None and self.state.succeeded > completions:
            said = "Too many succeeded pods running after completion count reached"
            self.events.append(Emit(self.state.job, "Warning", "TooManySucceededPods", said))
        self.events.append(Emit(self.state.job, "Normal", "Completed", "Job completed"))

    def set(self, type: str, value: str, reason: str, message: str) -> None:
        made = conditions.new(type, value, reason, message, self.state.now)
        self.conditions = conditions.with_(
            self.conditions, {**made, "lastProbeTime": made["lastTransitionTime"]}
        )


def _earliest(*times_: float | None) -> float | None:
    return min((t for t in times_ if t is not None), default=None)


def _wanted(state: State) -> int:
    """How many pods shall be active."""
    parallelism: int = state.spec.get("parallelism", 1)
    if state.completions is None:
        return len(state.active) if state.succeeded else parallelism
    return max(0, min(parallelism, state.completions - state.succeeded))


def _surplus(state: State, count: int) -> list[Object]:
    """The pods to delete: those without an index or with one that is taken, then those missed least."""
    chosen: list[Object] = []
    left = list(state.active)
    if state.indexed:
        left, taken = [], set[int]()
        for pod in sorted(state.active, key=_missed, reverse=True):
            i = job_pods.index(pod)
            (chosen if not state.valid(pod) or i in taken else left).append(pod)
            taken.add(i)
    if len(chosen) < count:
        chosen += sorted(left, key=_missed)[: count - len(chosen)]
    return chosen


def _missed(pod: Object) -> tuple[bool, bool, float]:
    return pods.is_ready(pod), pods.phase(pod) == "Running", -pods.created(pod)


def _plain_pods(state: State, count: int) -> list[Object]:
    seed = (state.job["metadata"]["uid"], state.now)
    base = f"{state.job['metadata']['name']}-"
    return [job_pods.pod(state.job, n) for n in pods.free_names(base, count, state.pods, *seed)]


def _indexed_pods(step: _Step, count: int) -> list[Object]:
    """Pods for the first indexes that have none, those whose own backoff is over."""
    state = step.state
    taken = state.done | (state.failed_indexes or set()) | {job_pods.index(p) for p in state.active}
    if job_pods.only_failed(state.job):
        taken |= {job_pods.index(p) for p in state.pods if pods.is_terminating(p) and not pods.is_finished(p)}
    free = [i for i in range(state.completions or 0) if i not in taken][:count]
    waits = {i: _index_backoff(state, i) for i in free}
    ready = [i for i in free if waits[i] <= 0]
    if not ready and free:
        step.again = min(waits.values())
    seed = (state.job["metadata"]["uid"], state.now)
    base = f"{state.job['metadata']['name']}-"
    return [
        job_pods.pod(state.job, name, i, state.kept.get(i))
        for i in ready
        for name in pods.free_names(f"{base}{i}-", 1, state.pods, *seed)
    ]


def _index_backoff(state: State, i: int) -> float:
    before = state.kept.get(i)
    if before is None:
        return 0.0
    return _backoff(job_pods.all_failures(before) + 1, job_pods.finished_at(before), state.now)


def _backoff(failures: int, last: float, now: float) -> float:
    """Seconds to wait before the next pod."""
    if not failures:
        return 0.0
    return last + min(FIRST_BACKOFF * 2.0 ** min(failures - 1, 10), LAST_BACKOFF) - now


def _ended(state: State, pod: Object) -> bool:
    return pods.phase(pod) == "Succeeded" or job_pods.has_failed(state.job, pod)


def _outcome(state: State, pod: Object, verdict: Verdict | None) -> str:
    """Which count a pod goes to: `succeeded`, `failed` or none."""
    if pods.phase(pod) == "Succeeded":
        return "succeeded"
    # Of a job that fails, every pod has failed.
    if job_pods.has_failed(state.job, pod) or (verdict is not None and verdict.type == "Failed"):
        return "failed" if job_pods.failure(state.job, pod).counted else ""
    return ""


def _status(step: _Step, verdict: Verdict | None) -> Object:
    state, found = step.state, step.conditions
    old = state.job.get("status") or {}
    started = old.get("startTime")
    resumed = conditions.among(found, "Suspended") != conditions.find(state.job, "Suspended")
    if state.spec.get("suspend"):
        started = None if not verdict else started
    elif not started or resumed:
        started = times.time(state.now)
    complete = conditions.among(found, "Complete") is not None
    gone = {p["metadata"]["uid"] for p in step.deleted}
    left = [p for p in state.active if p["metadata"]["uid"] not in gone]
    lost = state.failed_indexes
    return {
        "startTime": started,
        "completionTime": times.time(state.now) if complete else None,
        "active": len(left) or None,
        "ready": sum(1 for p in left if pods.is_ready(p)),
        "terminating": state.terminating + len(step.deleted),
        "succeeded": state.counted["succeeded"] or None,
        "failed": state.counted["failed"] or None,
        "uncountedTerminatedPods": {k: v for k, v in state.noted.items() if v},
        "completedIndexes": job_pods.format_indexes(state.done) or None,
        "failedIndexes": None if lost is None else job_pods.format_indexes(lost),
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


def _untrack(pod: Object) -> Action:
    rest = [f for f in pod["metadata"].get("finalizers") or () if f != TRACKING]
    return Patch("pods", key(pod), {"metadata": {"uid": pod["metadata"]["uid"], "finalizers": rest}})
