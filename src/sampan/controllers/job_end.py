"""When a Job is at its end, and why.

    running ─> FailureTarget or SuccessCriteriaMet ─> its pods are gone and counted ─> Failed or Complete

Sources: the concepts' page on Jobs; KEP-3329 (failure policy), KEP-3850 (failed indexes), KEP-3998 (success policy).
"""

from __future__ import annotations

from dataclasses import dataclass

from sampan.controllers import job_pods
from sampan.controllers.job_state import State
from sampan.machinery import conditions, times
from sampan.machinery.objects import Object


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


def verdict(state: State) -> Verdict | None:
    """How the job ends, where it must not go on; an end once announced stays."""
    return (
        _announced(state.job) or _policy(state) or _limits(state) or _indexes(state) or _success_policy(state)
    )


def completed(state: State, active: int) -> Verdict | None:
    """Whether enough pods succeeded, and `active` others are left."""
    enough = state.succeeded > 0 if state.completions is None else state.succeeded >= state.completions
    if not enough or active:
        return None
    return Verdict("Complete", "CompletionsReached", "Reached expected number of succeeded pods")


def deadline(state: State) -> float | None:
    """Seconds until the job has been active for too long."""
    limit, started = state.spec.get("activeDeadlineSeconds"), (state.job.get("status") or {}).get("startTime")
    if limit is None or not started or state.spec.get("suspend"):
        return None
    return times.seconds(started) + float(limit) - state.now


def _announced(job: Object) -> Verdict | None:
    for type_, target in (("Complete", "SuccessCriteriaMet"), ("Failed", "FailureTarget")):
        found = conditions.find(job, target)
        if found and found["status"] == "True":
            return Verdict(type_, found["reason"], found.get("message", ""))
    return None


def _policy(state: State) -> Verdict | None:
    for pod in state.pods:
        if job_pods.has_failed(state.job, pod) and (said := job_pods.failure(state.job, pod)).message:
            return Verdict("Failed", "PodFailurePolicy", said.message)
    return None


def _limits(state: State) -> Verdict | None:
    limit = state.spec.get("backoffLimit", 6)
    if state.failed > limit or _restarted_too_often(state, limit):
        return Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    wait = deadline(state)
    if wait is not None and wait <= 0:
        return Verdict("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    return None


def _restarted_too_often(state: State, limit: int) -> bool:
    """Containers that restart in place are failures too."""
    if state.spec["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(job_pods.restarts(pod) for pod in state.active)
    return restarts > 0 if limit == 0 else restarts >= limit


def _indexes(state: State) -> Verdict | None:
    lost = state.failed_indexes
    if lost is None:
        return None
    most = state.spec.get("maxFailedIndexes")
    if most is not None and len(lost) > most:
        said = "Job has exceeded the specified maximal number of failed indexes"
        return Verdict("Failed", "MaxFailedIndexesExceeded", said)
    if lost and len(lost) + len(state.done) >= (state.completions or 0):
        return Verdict("Failed", "FailedIndexes", "Job has failed indexes")
    return None


def _success_policy(state: State) -> Verdict | None:
    if not state.indexed or not state.done:
        return None
    for i, rule in enumerate((state.spec.get("successPolicy") or {}).get("rules") or ()):
        count, wanted = rule.get("succeededCount"), rule.get("succeededIndexes")
        if wanted is None:
            met = count is not None and len(state.done) >= count
        else:
            indexes = job_pods.parse_indexes(wanted, state.completions or 0)
            there = len(indexes & state.done)
            met = bool(indexes) and (there == len(indexes) or (count is not None and there >= count))
        if met:
            return Verdict("Complete", "SuccessPolicy", f"Matched rules at index {i}")
    return None
