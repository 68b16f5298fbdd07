"""PodDisruptionBudgets: how many of the matching pods may be evicted now. The eviction subresource reads and lowers it.

Source: the concepts' page on disruptions; upstream's pkg/controller/disruption.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.controllers import pods
from sampan.controllers.rollout import scaled_value
from sampan.controllers.settings import Settings
from sampan.machinery import conditions, selectors, times
from sampan.machinery.objects import Key, Object, key, owner
from sampan.reconcile.controller import Cache, Controller, Patch, Plan, Watch

KIND = "poddisruptionbudgets.policy"
# An eviction that was granted must show as a deletion within this time, or it counts no longer.
EVICTION_TAKES = 120.0
_SCALED = {
    "ReplicaSet": "replicasets.apps",
    "StatefulSet": "statefulsets.apps",
    "Deployment": "deployments.apps",
}


@dataclass(frozen=True, slots=True)
class Observed:
    """`expected` is what the pods' controllers want in all, where they are known."""

    budget: Object
    pods: tuple[Object, ...]
    expected: int


def observe(cache: Cache, name: Key) -> Observed | None:
    budget = cache.get(KIND, name)
    if budget is None:
        return None
    selector = selectors.of(budget["spec"].get("selector"))
    matching = tuple(
        p for p in cache.list("pods", name.namespace) if selector.matches(p["metadata"].get("labels"))
    )
    return Observed(budget, matching, _expected(cache, budget, matching))


def _expected(cache: Cache, budget: Object, matching: tuple[Object, ...]) -> int:
    """A whole minAvailable counts pods; all else counts what the controllers want."""
    if isinstance(budget["spec"].get("minAvailable"), int):
        return len(matching)
    total = 0
    counted = set()
    for pod in matching:
        above = _controller(cache, pod)
        if above is None:
            total += 1
        elif above["metadata"]["uid"] not in counted:
            counted.add(above["metadata"]["uid"])
            total += above["spec"].get("replicas", 1)
    return total


def _controller(cache: Cache, pod: Object) -> Object | None:
    """What scales the pod: its ReplicaSet's Deployment, or its StatefulSet or ReplicaSet."""
    found: Object | None = None
    below = pod
    while (ref := owner(below)) and ref["kind"] in _SCALED:
        above = cache.get(_SCALED[ref["kind"]], Key(pod["metadata"]["namespace"], ref["name"]))
        if above is None or above["metadata"]["uid"] != ref["uid"]:
            break
        found = below = above
    return found


def decide(seen: Observed, now: float) -> Plan:
    spec, status = seen.budget["spec"], seen.budget.get("status") or {}
    if spec.get("maxUnavailable") is not None:
        wanted = max(0, seen.expected - scaled_value(spec["maxUnavailable"], seen.expected, up=True))
    else:
        wanted = scaled_value(spec.get("minAvailable", 1), seen.expected, up=True)
    evicted = _evicted(status.get("disruptedPods") or {}, seen.pods, now)
    healthy = [p for p in seen.pods if _is_healthy(p) and p["metadata"]["name"] not in evicted]
    allowed = max(0, len(healthy) - wanted) if seen.expected > 0 else 0
    counts = {
        "disruptionsAllowed": allowed,
        "currentHealthy": len(healthy),
        "desiredHealthy": wanted,
        "expectedPods": seen.expected,
        "observedGeneration": seen.budget["metadata"].get("generation", 0),
    }
    reason, state = ("SufficientPods", "True") if allowed else ("InsufficientPods", "False")
    made = conditions.new("DisruptionAllowed", state, reason, "", now)
    made["observedGeneration"] = counts["observedGeneration"]
    after = list(conditions.with_(tuple(status.get("conditions") or ()), made))
    want = {**counts, "disruptedPods": evicted, "conditions": after}
    known = {**status, "disruptedPods": status.get("disruptedPods") or {}}
    again = min((times.seconds(when) + EVICTION_TAKES - now for when in evicted.values()), default=None)
    if all(known.get(k) == v for k, v in want.items()):
        return Plan(again=again)
    gone = {name: None for name in known["disruptedPods"] if name not in evicted}
    # The eviction subresource writes here too: only what was seen may be replaced.
    meta = {"resourceVersion": seen.budget["metadata"].get("resourceVersion")}
    patch = {"metadata": meta, "status": {**want, "disruptedPods": {**evicted, **gone}}}
    return Plan((Patch(KIND, key(seen.budget), patch, subresource="status"),), again)


def _evicted(known: dict[str, str], matching: tuple[Object, ...], now: float) -> dict[str, str]:
    """Evictions that were granted but whose pods are not deleted yet."""
    staying = {p["metadata"]["name"] for p in matching if not pods.is_terminating(p)}
    return {n: w for n, w in known.items() if n in staying and times.seconds(w) + EVICTION_TAKES > now}


def _is_healthy(pod: Object) -> bool:
    return pods.is_active(pod) and pods.is_ready(pod)


def _budgets(cache: Cache, pod: Object) -> Iterable[Key]:
    labels = pod["metadata"].get("labels")
    return [
        key(budget)
        for budget in cache.list(KIND, pod["metadata"]["namespace"])
        if selectors.of(budget["spec"].get("selector")).matches(labels)
    ]


def _scaled(cache: Cache, obj: Object) -> Iterable[Key]:
    """Scaling changes what is expected, whatever the pods do."""
    return [key(budget) for budget in cache.list(KIND, obj["metadata"]["namespace"])]


def make(settings: Settings) -> Controller:
    return Controller(
        name="disruption-controller",
        watches=(
            Watch(KIND),
            Watch("pods", _budgets),
            *(Watch(kind, _scaled) for kind in _SCALED.values()),
        ),
        observe=observe,
        decide=decide,
    )
