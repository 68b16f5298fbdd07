"""The status of a Deployment: counts, and whether its rollout progresses, is complete, or is stuck.

`kubectl rollout status` and `kubectl wait` read these conditions, so types, reasons and messages are
upstream's (pkg/controller/deployment: progress.go, sync.go).
"""

from __future__ import annotations

from sampan.controllers.rollout import Limits
from sampan.machinery import conditions, times
from sampan.machinery.conditions import Conditions
from sampan.machinery.objects import Object

# Upstream's way to say that there is no deadline.
NO_DEADLINE = 2**31 - 1
COMPLETE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"


def status(
    d: Object,
    new: Object | None,
    old: tuple[Object, ...],
    created: Object | None,
    owned_pods: tuple[Object, ...],
    bounds: Limits,
    now: float,
) -> Object:
    """The whole status. `created` is the new ReplicaSet where this plan makes it."""
    counts = _counts(d, new, old, owned_pods)
    before: Conditions = conditions.of(d)
    found = _paused(d, before, now)
    found = _available(found, counts, bounds, now)
    found = _failure(found, new, old)
    if not _has_deadline(d):
        found = conditions.without(found, "Progressing")
    elif created:
        message = f'Created new replica set "{created["metadata"]["name"]}"'
        found = _set(found, _progressing("True", "NewReplicaSetCreated", message, now))
    else:
        found = _progress(d, new, counts, found, now)
    return {
        "observedGeneration": d["metadata"].get("generation", 0),
        **{name: count or None for name, count in counts.items() if name != "terminatingReplicas"},
        "terminatingReplicas": counts["terminatingReplicas"],
        "collisionCount": (d.get("status") or {}).get("collisionCount"),
        "conditions": list(found),
    }


def _counts(
    d: Object, new: Object | None, old: tuple[Object, ...], owned_pods: tuple[Object, ...]
) -> dict[str, int]:
    sets = (*old, new) if new else old

    def total(field: str) -> int:
        return sum((rs.get("status") or {}).get(field, 0) for rs in sets)

    wanted = sum(rs["spec"].get("replicas", 1) for rs in sets)
    return {
        "replicas": total("replicas"),
        "updatedReplicas": (new.get("status") or {}).get("replicas", 0) if new else 0,
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": total("availableReplicas"),
        "unavailableReplicas": max(0, wanted - total("availableReplicas")),
        "terminatingReplicas": total("terminatingReplicas"),
    }


def _has_deadline(d: Object) -> bool:
    return d["spec"].get("progressDeadlineSeconds", NO_DEADLINE) not in (None, NO_DEADLINE)


def is_complete(d: Object, status: Object) -> bool:
    """Whether all pods are of the new template, available, and none is left of the old."""
    replicas = d["spec"].get("replicas", 1)
    return bool(
        (status.get("updatedReplicas") or 0) == replicas
        and (status.get("replicas") or 0) == replicas
        and (status.get("availableReplicas") or 0) == replicas
        and status.get("observedGeneration", 0) >= d["metadata"].get("generation", 0)
    )


def _available(found: Conditions, counts: dict[str, int], bounds: Limits, now: float) -> Conditions:
    if counts["availableReplicas"] >= bounds.fewest:
        reason, message, state = "MinimumReplicasAvailable", "Deployment has minimum availability.", "True"
    else:
        reason, state = "MinimumReplicasUnavailable", "False"
        message = "Deployment does not have minimum availability."
    return _set(found, _with_update(conditions.new("Available", state, reason, message, now)))


def _failure(found: Conditions, new: Object | None, old: tuple[Object, ...]) -> Conditions:
    """A ReplicaSet that cannot make its pods is the Deployment's trouble too, the new one's before the others'."""
    sets = (new, *old) if new else old
    for rs in sets:
        if condition := conditions.find(rs, "ReplicaFailure"):
            return _set(found, _with_update(condition))
    return conditions.without(found, "ReplicaFailure")


def _paused(d: Object, found: Conditions, now: float) -> Conditions:
    current = conditions.among(found, "Progressing")
    reason = current["reason"] if current else ""
    if not _has_deadline(d) or reason == TIMED_OUT:
        return found
    if d["spec"].get("paused") and reason != "DeploymentPaused":
        return _set(found, _progressing("Unknown", "DeploymentPaused", "Deployment is paused", now))
    if not d["spec"].get("paused") and reason == "DeploymentPaused":
        return _set(found, _progressing("Unknown", "DeploymentResumed", "Deployment is resumed", now))
    return found


def _progress(
    d: Object, new: Object | None, counts: dict[str, int], found: Conditions, now: float
) -> Conditions:
    """The Progressing condition of a rollout under way; a complete one stays complete until the template changes."""
    current = conditions.among(found, "Progressing")
    if counts["replicas"] == counts["updatedReplicas"] and current and current["reason"] == COMPLETE:
        return found
    subject = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{d["metadata"]["name"]}"'
    generation = d["metadata"].get("generation", 0)
    if is_complete(d, {**counts, "observedGeneration": generation}):
        return _set(found, _progressing("True", COMPLETE, f"{subject} has successfully progressed.", now))
    if _moved(d.get("status") or {}, counts):
        fresh = _progressing("True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        if current and current["status"] == "True":
            fresh["lastTransitionTime"] = current["lastTransitionTime"]
        return (*conditions.without(found, "Progressing"), fresh)
    if _timed_out(d, current, now):
        return _set(found, _progressing("False", TIMED_OUT, f"{subject} has timed out progressing.", now))
    return found


def _moved(before: Object, counts: dict[str, int]) -> bool:
    """Whether any count went the way of the rollout since the last status."""
    was = {name: before.get(name, 0) for name in counts}
    old_before = was["replicas"] - was["updatedReplicas"]
    old_now = counts["replicas"] - counts["updatedReplicas"]
    grown = any(counts[n] > was[n] for n in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return grown or old_now < old_before


def _timed_out(d: Object, current: Object | None, now: float) -> bool:
    if current is None or current["reason"] in (COMPLETE, "DeploymentPaused"):
        return False
    return current["reason"] == TIMED_OUT or _expires(d, current) < now


def _expires(d: Object, current: Object) -> float:
    since = times.seconds(current.get("lastUpdateTime") or current["lastTransitionTime"])
    return since + float(d["spec"]["progressDeadlineSeconds"])


def deadline(d: Object, status: Object, now: float) -> float | None:
    """Seconds until a rollout that does not move must be called stuck."""
    current = conditions.among(status["conditions"], "Progressing")
    if not _has_deadline(d) or current is None or current["reason"] in (COMPLETE, TIMED_OUT):
        return None
    if is_complete(d, status) or d["spec"].get("paused"):
        return None
    return max(0.0, _expires(d, current) - now) + 1


def _progressing(state: str, reason: str, message: str, now: float) -> Object:
    return _with_update(conditions.new("Progressing", state, reason, message, now))


def _with_update(condition: Object) -> Object:
    return {**condition, "lastUpdateTime": condition["lastTransitionTime"]}


def _set(found: Conditions, condition: Object) -> Conditions:
    return conditions.with_(found, condition)
