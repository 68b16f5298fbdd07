"""ReplicaSets: as many pods as asked for, made from one template.

Too few: create the difference. Too many: delete those that are missed least (`victims`). The rest is status.
Source: the concepts' page on ReplicaSet; the order of deletion follows upstream's ActivePodsWithRanks.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from sampan.client.api import ApiError
from sampan.controllers import pods
from sampan.controllers.settings import Settings
from sampan.machinery import conditions, selectors
from sampan.machinery.objects import Key, Object, key, owner
from sampan.reconcile.controller import Action, Cache, Controller, Create, Delete, Plan, Watch

KIND = "replicasets.apps"
FAILURE = "ReplicaFailure"
# The most pods that one plan creates or deletes.
BURST = 500
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True, slots=True)
class Observed:
    """`related` are the pods of all ReplicaSets under the same owner: they weigh on a node together.

    `fault` is why pods could not be made or deleted the last time, or empty.
    """

    set: Object
    owned: tuple[Object, ...]
    orphans: tuple[Object, ...]
    related: tuple[Object, ...]
    fault: str = ""


def observe(cache: Cache, name: Key, fault: str = "") -> Observed | None:
    found = cache.get(KIND, name)
    return observed(cache, KIND, found, fault) if found else None


def observed(cache: Cache, kind: str, found: Object, fault: str) -> Observed:
    """What there is of a set of pods of any kind, given in the form of a ReplicaSet."""
    siblings = [found]
    if ref := owner(found):
        siblings = list(cache.index(kind, "owner", ref["uid"]))
    related = [pod for rs in siblings for pod in cache.index("pods", "owner", rs["metadata"]["uid"])]
    return Observed(
        found,
        tuple(cache.index("pods", "owner", found["metadata"]["uid"])),
        tuple(cache.index("pods", "orphans", found["metadata"]["namespace"])),
        tuple(related),
        fault,
    )


def decide(seen: Observed, now: float) -> Plan:
    rs = seen.set
    status, scaling, again = settle(seen, now)
    written = pods.status_patch(KIND, rs, status)
    # A fault is told before what failed is tried again.
    return Plan((*written, *scaling) if seen.fault else (*scaling, *written), again)


def settle(seen: Observed, now: float) -> tuple[Object, list[Action], float | None]:
    """The status as it is now, what makes the pods as many as wanted, and when to look again."""
    rs = seen.set
    claimed = pods.claim(rs, "pods", seen.owned, [p for p in seen.orphans if pods.is_active(p)])
    active = [pod for pod in claimed.owned if pods.is_active(pod)]
    actions: list[Action] = list(claimed.actions)
    scaling: list[Action] = []
    if not pods.is_terminating(rs):
        scaling = _scale(rs, claimed.owned, seen.related, now)
    status = _status(rs, claimed.owned, active, now)
    status["conditions"] = list(_conditions(seen, scaling, now)) or None
    again = pods.until_available(active, rs["spec"].get("minReadySeconds", 0), now)
    return status, actions + scaling, again


def _conditions(seen: Observed, scaling: list[Action], now: float) -> conditions.Conditions:
    """What could not be done is a condition until it can be, or need not be any more."""
    before = conditions.of(seen.set)
    if not seen.fault or not scaling:
        return conditions.without(before, FAILURE)
    reason = "FailedCreate" if isinstance(scaling[0], Create) else "FailedDelete"
    return conditions.with_(before, conditions.new(FAILURE, "True", reason, seen.fault, now))


def _scale(rs: Object, owned: tuple[Object, ...], related: tuple[Object, ...], now: float) -> list[Action]:
    active = [pod for pod in owned if pods.is_active(pod)]
    missing = rs["spec"].get("replicas", 1) - len(active)
    if missing >= 0:
        base = f"{rs['metadata']['name']}-"
        names = pods.free_names(base, min(missing, BURST), owned, rs["metadata"]["uid"], now)
        template = rs["spec"]["template"]
        return [Create("pods", pods.from_template(template, name, rs), rs) for name in names]
    return [
        Delete("pods", key(pod), pod["metadata"]["uid"], about=rs)
        for pod in victims(active, related, min(-missing, BURST), now)
    ]


def victims(active: list[Object], related: tuple[Object, ...], count: int, now: float) -> list[Object]:
    """The `count` pods to delete first.

    First those not yet on a node, then not running, then not ready, cheaper by annotation, sharing their
    node with more related pods, ready for a shorter time, restarted more often, and younger; ages count by
    their order of magnitude.
    """
    crowd = Counter(pod["spec"].get("nodeName", "") for pod in related if pods.is_active(pod))
    return sorted(active, key=lambda pod: _rank(pod, crowd, now))[:count]


def _rank(pod: Object, crowd: Counter[str], now: float) -> tuple[object, ...]:
    node = pod["spec"].get("nodeName", "")
    since = pods.ready_since(pod)
    restarts, sidecar_restarts = _restarts(pod)
    return (
        bool(node),
        _PHASES.get(pods.phase(pod), 0),
        since is not None,
        _cost(pod),
        -crowd[node],
        _magnitude(now - since) if since is not None else 0,
        -restarts,
        -sidecar_restarts,
        _magnitude(now - pods.created(pod)),
        pod["metadata"].get("uid", ""),
    )


def _magnitude(age: float) -> int:
    return int(math.log2(max(age, 0) * 1e9)) if age > 1e-9 else 0


def _cost(pod: Object) -> int:
    try:
        return int((pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _restarts(pod: Object) -> tuple[int, int]:
    """The most restarts of one container, and of one sidecar."""
    status = pod.get("status") or {}
    sidecars = {
        c["name"] for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"
    }
    regular = [c.get("restartCount", 0) for c in status.get("containerStatuses") or ()]
    beside = [
        c.get("restartCount", 0) for c in status.get("initContainerStatuses") or () if c["name"] in sidecars
    ]
    return max(regular, default=0), max(beside, default=0)


def _status(rs: Object, owned: tuple[Object, ...], active: list[Object], now: float) -> Object:
    wanted = selectors.of({"matchLabels": (rs["spec"]["template"].get("metadata") or {}).get("labels") or {}})
    min_ready = rs["spec"].get("minReadySeconds", 0)
    terminating = sum(1 for p in owned if pods.is_terminating(p) and not pods.is_finished(p))
    counts = {
        "fullyLabeledReplicas": sum(1 for p in active if wanted.matches(p["metadata"].get("labels"))),
        "readyReplicas": sum(1 for p in active if pods.is_ready(p)),
        "availableReplicas": sum(1 for p in active if pods.is_available(p, min_ready, now)),
    }
    return {
        "replicas": len(active),
        **{name: count or None for name, count in counts.items()},
        "terminatingReplicas": terminating,
        "observedGeneration": rs["metadata"].get("generation", 0),
    }


def make(settings: Settings) -> Controller:
    faults = Faults()
    return Controller(
        name="replicaset-controller",
        watches=(Watch(KIND), Watch("pods", pods.wakes("ReplicaSet", KIND))),
        observe=lambda cache, name: observe(cache, name, faults.get(name, "")),
        decide=decide,
        failed=faults.note,
        indexes=(pods.ORPHAN_PODS,),
    )


class Faults(dict[Key, str]):
    """Why the last plan for a key was refused; empty where it was not."""

    def note(self, name: Key, error: ApiError | None) -> None:
        if error is None:
            self.pop(name, None)
        elif error.reason not in ("Conflict", "NotFound"):
            self[name] = str(error)
