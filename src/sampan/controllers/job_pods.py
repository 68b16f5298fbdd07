"""The pods of a Job: their names and indexes, how they failed, and what its failure policy says to that.

Sources: KEP-2214 (indexed jobs), KEP-3329 (pod failure policy).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from sampan.controllers import pods
from sampan.controllers.job import TRACKING
from sampan.machinery import conditions, times
from sampan.machinery.objects import Object, key

INDEX = "batch.kubernetes.io/job-completion-index"
# How often the pods of an index failed before this one: counted failures, and those that the policy ignores.
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
MOST_INDEXES = 2**31 - 1


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def index(pod: Object) -> int:
    """The completion index, or -1."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdigit() else -1


def parse_indexes(text: str, below: int = MOST_INDEXES) -> set[int]:
    """The numbers that a list of ranges such as `1,3-5` means, those under `below`; what is no range is passed over."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found |= set(range(int(first), min(int(last or first) + 1, below)))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """The inverse of `parse_indexes`; three and more in a row become a range, two stay a pair."""
    parts = []
    for _, run in groupby(enumerate(sorted(indexes)), lambda pair: pair[1] - pair[0]):
        numbers = [n for _, n in run]
        if len(numbers) > 2:
            parts.append(f"{numbers[0]}-{numbers[-1]}")
        else:
            parts += [str(n) for n in numbers]
    return ",".join(parts)


def pod(job: Object, name: str, i: int | None = None, before: Object | None = None) -> Object:
    """A new pod of the job, for completion index `i` where it is indexed; `before` is the one that failed there."""
    made = pods.from_template(job["spec"]["template"], name, job)
    meta = made["metadata"]
    meta["finalizers"] = [*meta.get("finalizers", ()), TRACKING]
    if i is not None:
        counts = _failure_counts(job, before) if job["spec"].get("backoffLimitPerIndex") is not None else {}
        meta["annotations"] = {**meta.get("annotations", {}), INDEX: str(i), **counts}
        meta["labels"] = {**meta.get("labels", {}), INDEX: str(i)}
        made["spec"] = {**made["spec"], "hostname": f"{job['metadata']['name']}-{i}"}
        for field in ("containers", "initContainers"):
            if made["spec"].get(field):
                made["spec"][field] = [_with_index(c) for c in made["spec"][field]]
    return made


def _with_index(container: Object) -> Object:
    env = container.get("env") or []
    if any(e["name"] == "JOB_COMPLETION_INDEX" for e in env):
        return container
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
    return {**container, "env": [*env, {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]}


def restarts(pod: Object) -> int:
    status = pod.get("status") or {}
    every = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return sum(s.get("restartCount", 0) for s in every)


def _failure_counts(job: Object, before: Object | None) -> dict[str, str]:
    """What a pod says of the failures of its index before it."""
    if before is None:
        return {FAILURES: "0"}
    counted, ignored = failure_count(before), _number(before, IGNORED_FAILURES)
    if failure(job, before).counted:
        counted += 1
    else:
        ignored += 1
    return {FAILURES: str(counted)} | ({IGNORED_FAILURES: str(ignored)} if ignored else {})


def failure_count(pod: Object) -> int:
    """How often its index failed before it, those not counted that the policy ignores."""
    return _number(pod, FAILURES)


def all_failures(pod: Object) -> int:
    """How often its index failed before it, in any way."""
    return failure_count(pod) + _number(pod, IGNORED_FAILURES)


def _number(pod: Object, annotation: str) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(annotation, "")
    return int(text) if text.isdigit() else 0


def has_failed(job: Object, pod: Object) -> bool:
    """Whether it counts as failed: it did, or it is going, unless only what has ended is to be replaced."""
    if pods.phase(pod) == "Failed":
        return True
    return not only_failed(job) and pods.is_terminating(pod) and pods.phase(pod) != "Succeeded"


def only_failed(job: Object) -> bool:
    """Whether a pod that is going is replaced only once it has ended."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def finished_at(pod: Object) -> float:
    """When its last container ended, as far as is known."""
    status, meta = pod.get("status") or {}, pod["metadata"]
    ends = [
        ((s.get("state") or {}).get("terminated") or {}).get("finishedAt")
        for s in status.get("containerStatuses") or ()
    ]
    if ends and all(ends):
        return max(times.seconds(str(e)) for e in ends)
    ready = conditions.find(pod, "Ready")
    if ready and ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return times.seconds(ready["lastTransitionTime"])
    if meta.get("deletionTimestamp"):
        return times.seconds(meta["deletionTimestamp"]) - (meta.get("deletionGracePeriodSeconds") or 0)
    return pods.created(pod)


def failures_in_a_row(job: Object, owned: Sequence[Object]) -> tuple[int, float]:
    """How many pods failed since the last one succeeded, and when the last failure was."""
    ends = sorted(
        (finished_at(p), pods.phase(p) == "Succeeded")
        for p in owned
        if pods.phase(p) == "Succeeded" or has_failed(job, p)
    )
    failures, last = 0, 0.0
    for when, succeeded in ends:
        failures = 0 if succeeded else failures + 1
        last = when
    return failures, last


class Failure(NamedTuple):
    """What the failure policy says of a failed pod; `action` is empty where no rule matches.

    `message` says why the job fails with it, where it does.
    """

    action: str = ""
    counted: bool = True
    message: str = ""


def failure(job: Object, pod: Object) -> Failure:
    """What the first rule that matches makes of a pod's failure."""
    for i, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        subject = _matched(rule, pod)
        if subject:
            action = str(rule["action"])
            message = f"{subject} matching {action} rule at index {i}" if action == "FailJob" else ""
            return Failure(action, action != "Ignore", message)
    return Failure()


def _matched(rule: Object, pod: Object) -> str:
    """What of a pod a rule is about, in words; empty where it does not match."""
    codes = rule.get("onExitCodes")
    if codes:
        for status in _ended(pod, codes):
            if _code_matches(codes, status):
                code = status["state"]["terminated"]["exitCode"]
                return f"Container {status['name']} for pod {key(pod)} failed with exit code {code}"
        return ""
    for found in conditions.of(pod):
        for pattern in rule.get("onPodConditions") or ():
            if (found["type"], found.get("status")) == (pattern["type"], pattern.get("status", "True")):
                return f"Pod {key(pod)} has condition {found['type']}"
    return ""


def _ended(pod: Object, codes: Object) -> list[Object]:
    """The container statuses that ended with a failure and that the rule looks at."""
    status = pod.get("status") or {}
    every = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    name = codes.get("containerName")
    return [
        s
        for s in every
        if (not name or s["name"] == name)
        and ((s.get("state") or {}).get("terminated") or {}).get("exitCode", 0) != 0
    ]


def _code_matches(codes: Object, status: Object) -> bool:
    listed = status["state"]["terminated"]["exitCode"] in (codes.get("values") or ())
    return listed if codes["operator"] == "In" else not listed
