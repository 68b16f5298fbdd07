"""The pods of a Job: their names and indexes, how they failed, and what its failure policy says to that.

Sources: KEP-2214 (indexed jobs), KEP-3329 (pod failure policy).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from sampan.controllers import pods
from sampan.machinery import conditions, times
from sampan.machinery.objects import Object, key

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def index(pod: Object) -> int:
    """The completion index, or -1."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdigit() else -1


def parse_indexes(text: str) -> set[int]:
    """The numbers that a list of ranges such as `1,3-5` means."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
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


def pod(job: Object, name: str, i: int | None = None) -> Object:
    """A new pod of the job, for completion index `i` where it is indexed."""
    made = pods.from_template(job["spec"]["template"], name, job)
    meta = made["metadata"]
    meta["finalizers"] = [*meta.get("finalizers", ()), TRACKING]
    if i is not None:
        meta["annotations"] = {**meta.get("annotations", {}), INDEX: str(i)}
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


def finished_at(pod: Object, now: float) -> float:
    """When its last container ended, as far as is known."""
    ends = []
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (status.get("state") or {}).get("terminated") or {}
        if ended.get("finishedAt"):
            ends.append(times.seconds(ended["finishedAt"]))
    if not ends and (ready := conditions.find(pod, "Ready")) and ready.get("lastTransitionTime"):
        ends.append(times.seconds(ready["lastTransitionTime"]))
    return max(ends, default=now)


def failures_in_a_row(owned: Sequence[Object], now: float) -> tuple[int, float]:
    """How many pods failed since the last one succeeded, and when the last failure was."""
    ends = sorted((finished_at(p, now), pods.phase(p)) for p in owned if pods.is_finished(p))
    failures, last = 0, 0.0
    for when, phase in ends:
        failures = failures + 1 if phase == "Failed" else 0
        last = when
    return failures, last


def failure_action(job: Object, pod: Object) -> str:
    """What the pod failure policy does about a failed pod: FailJob, Ignore or Count."""
    rule = _rule(job, pod)
    return str(rule[1]["action"]) if rule else "Count"


def failure_message(job: Object, pod: Object) -> str:
    found = _rule(job, pod)
    assert found is not None
    i, rule = found
    if rule.get("onExitCodes"):
        status = next(s for s in _ended(pod, rule["onExitCodes"]) if _code_matches(rule["onExitCodes"], s))
        code = status["state"]["terminated"]["exitCode"]
        subject = f"Container {status['name']} for pod {key(pod)} failed with exit code {code}"
    else:
        subject = f"Pod {key(pod)} has condition matching"
    return f"{subject} matching {rule['action']} rule at index {i}"


def _rule(job: Object, pod: Object) -> tuple[int, Object] | None:
    """The first rule that matches the pod."""
    if pods.phase(pod) != "Failed":
        return None
    for i, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        codes = rule.get("onExitCodes")
        if codes and any(_code_matches(codes, s) for s in _ended(pod, codes)):
            return i, rule
        for pattern in rule.get("onPodConditions") or ():
            found = conditions.find(pod, pattern["type"])
            if found and found["status"] == pattern.get("status", "True"):
                return i, rule
    return None


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
