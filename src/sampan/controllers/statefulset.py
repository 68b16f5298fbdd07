"""StatefulSets: pods with names, volumes and an order of their own.

Pod i is called NAME-i and keeps its claims CLAIM-NAME-i. In order (OrderedReady) each step waits until all
pods before are running, ready and available; Parallel does not wait. One plan goes through:

    history ─> missing pods, lowest ordinal first ─> surplus pods, highest first ─> outdated pods, highest
    first

Source: the concepts' page on StatefulSets; upstream's pkg/controller/statefulset (order of steps).
"""

from __future__ import annotations

from dataclasses import dataclass

from sampan.controllers import pods, revisions, statefulset_pods
from sampan.controllers.rollout import scaled_value
from sampan.controllers.settings import Settings
from sampan.controllers.statefulset_pods import HASH, ordinal
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
    by_owner,
)

KIND = "statefulsets.apps"
CLAIMS = "persistentvolumeclaims"


@dataclass(frozen=True, slots=True)
class Observed:
    """`claims` are the set's PersistentVolumeClaims by name."""

    set: Object
    owned: tuple[Object, ...]
    orphans: tuple[Object, ...]
    revisions: tuple[Object, ...]
    claims: dict[str, Object]


@dataclass(frozen=True, slots=True)
class State:
    """Everything a step needs: the history, and the pods by ordinal, those wanted and those in surplus."""

    set: Object
    history: revisions.History
    current: Object
    claims: dict[str, Object]
    wanted: range
    present: dict[int, Object]
    surplus: tuple[Object, ...]
    now: float

    @property
    def in_order(self) -> bool:
        return bool(self.set["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady")

    @property
    def strategy(self) -> Object:
        found: Object = self.set["spec"].get("updateStrategy") or {}
        return found

    @property
    def partition(self) -> int:
        """Ordinals below this one keep the current revision."""
        return int((self.strategy.get("rollingUpdate") or {}).get("partition") or 0)

    @property
    def max_unavailable(self) -> int:
        value = (self.strategy.get("rollingUpdate") or {}).get("maxUnavailable")
        return max(1, scaled_value(1 if value is None else value, len(self.wanted), up=False))

    def is_available(self, i: int) -> bool:
        """Whether the pod of an ordinal is there, ready for long enough, and to stay."""
        pod, min_ready = self.present.get(i), self.set["spec"].get("minReadySeconds", 0)
        return (
            pod is not None and pods.is_available(pod, min_ready, self.now) and not pods.is_terminating(pod)
        )

    def is_healthy(self, pod: Object) -> bool:
        """Running, ready for long enough, and to stay."""
        min_ready = self.set["spec"].get("minReadySeconds", 0)
        available = pods.phase(pod) == "Running" and pods.is_available(pod, min_ready, self.now)
        return available and not pods.is_terminating(pod)


def observe(cache: Cache, name: Key) -> Observed | None:
    found = cache.get(KIND, name)
    if found is None:
        return None
    uid = found["metadata"]["uid"]
    names = {t["metadata"]["name"] for t in found["spec"].get("volumeClaimTemplates") or ()}
    claims = {c["metadata"]["name"]: c for c in cache.list(CLAIMS, name.namespace)} if names else {}
    return Observed(
        found,
        tuple(cache.index("pods", "owner", uid)),
        tuple(cache.index("pods", "orphans", name.namespace)),
        tuple(cache.index(revisions.KIND, "owner", uid)),
        claims,
    )


def decide(seen: Observed, now: float) -> Plan:
    sts = seen.set
    fits = statefulset_pods.fits(sts)
    claimed = pods.claim(sts, "pods", seen.owned, seen.orphans, fits)
    history = revisions.history(sts, seen.revisions)
    state = _state(seen, history, claimed.owned, now)
    actions = list(claimed.actions)
    if not pods.is_terminating(sts):
        actions += history.actions
        actions += _steps(state)
        live = {pod["metadata"].get("labels", {}).get(HASH, "") for pod in claimed.owned}
        live.add(state.current["metadata"]["name"])
        actions += revisions.expired(history, live, sts["spec"].get("revisionHistoryLimit", 10))
    actions += pods.status_patch(KIND, sts, _status(state, claimed.owned))
    again = pods.until_available(claimed.owned, sts["spec"].get("minReadySeconds", 0), now)
    return Plan(tuple(actions), again)


def _state(seen: Observed, history: revisions.History, owned: tuple[Object, ...], now: float) -> State:
    sts = seen.set
    start = (sts["spec"].get("ordinals") or {}).get("start", 0)
    wanted = range(start, start + sts["spec"].get("replicas", 1))
    name = (sts.get("status") or {}).get("currentRevision", "")
    current = next((r for r in history.all if r["metadata"]["name"] == name), history.update)
    present = {ordinal(pod): pod for pod in owned if ordinal(pod) in wanted}
    surplus = sorted((p for p in owned if ordinal(p) not in wanted), key=ordinal, reverse=True)
    return State(sts, history, current, seen.claims, wanted, present, tuple(surplus), now)


def _steps(state: State) -> list[Action]:
    steps, wait = _fill(state)
    if not wait:
        more, wait = _shrink(state)
        steps += more
    if not wait:
        steps += _update(state)
    return steps


def _fill(state: State) -> tuple[list[Action], bool]:
    """Make the missing pods and replace the finished ones; True where the order says to wait here."""
    steps: list[Action] = []
    for i in state.wanted:
        pod = state.present.get(i)
        if pod is None:
            steps += _create(state, i)
        elif pods.is_finished(pod):
            steps += _replace_finished(state, pod)
        else:
            steps += _missing_claims(state, i)
        if state.in_order and (pod is None or not state.is_healthy(pod)):
            return steps, True
    return steps, False


def _create(state: State, i: int) -> list[Action]:
    made = statefulset_pods.pod(state.set, _revision_for(state, i), i)
    return [*_missing_claims(state, i), Create("pods", made, state.set)]


def _revision_for(state: State, i: int) -> Object:
    """A rolling update leaves ordinals below its partition at the current revision."""
    kept = (
        state.strategy.get("type", "RollingUpdate") == "RollingUpdate"
        and i < state.wanted.start + state.partition
    )
    return state.current if kept else state.history.update


def _replace_finished(state: State, pod: Object) -> list[Action]:
    if pods.is_terminating(pod):
        return []
    kind = "Failed" if pods.phase(pod) == "Failed" else "Terminated"
    name = f"{state.set['metadata']['namespace']}/{state.set['metadata']['name']}"
    message = f"StatefulSet {name} is recreating {kind.lower()} Pod {pod['metadata']['name']}"
    return [Emit(state.set, "Warning", f"Recreating{kind}Pod", message), _delete(state, pod)]


def _missing_claims(state: State, i: int) -> list[Action]:
    return [
        Create(CLAIMS, claim)
        for claim in statefulset_pods.claims(state.set, i)
        if claim["metadata"]["name"] not in state.claims
    ]


def _shrink(state: State) -> tuple[list[Action], bool]:
    """Delete the pods in surplus, highest first; in order, only once the one above is gone."""
    steps: list[Action] = []
    unhealthy = next((p for p in reversed(state.surplus) if not state.is_healthy(p)), None)
    for pod in state.surplus:
        if state.in_order and pods.is_terminating(pod):
            return steps, True
        if pods.is_terminating(pod):
            continue
        if state.in_order and not state.is_healthy(pod) and pod is not unhealthy:
            return steps, True
        steps += [*_hand_over_claims(state, pod), _delete(state, pod)]
        if state.in_order:
            return steps, True
    return steps, False


def _hand_over_claims(state: State, pod: Object) -> list[Action]:
    """With whenScaled Delete, the claims of a pod in surplus become its own, and go with it."""
    policy = state.set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    if policy.get("whenScaled", "Retain") != "Delete":
        return []
    steps: list[Action] = []
    for claim in statefulset_pods.claims(state.set, ordinal(pod)):
        found = state.claims.get(claim["metadata"]["name"])
        refs = (found or {}).get("metadata", {}).get("ownerReferences") or []
        if found and all(ref["uid"] != pod["metadata"]["uid"] for ref in refs):
            refs = [*refs, pods.reference(pod, controller=False)]
            steps.append(Patch(CLAIMS, key(found), {"metadata": {"ownerReferences": refs}}))
    return steps


def _update(state: State) -> list[Action]:
    """Delete pods of another revision, highest first, as long as not too many are unavailable."""
    if state.strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return []
    room = state.max_unavailable - sum(1 for i in state.wanted if not state.is_available(i))
    wanted, steps = state.history.update["metadata"]["name"], []
    outdated = [
        (i, pod)
        for i in reversed(state.wanted)
        if i >= state.wanted.start + state.partition
        and (pod := state.present.get(i))
        and _revision(pod) != wanted
        and not pods.is_terminating(pod)
    ]
    if not state.in_order:
        # Those that are unavailable anyway cost nothing.
        steps = [_delete(state, pod) for i, pod in outdated if not state.is_available(i)]
        outdated = [(i, pod) for i, pod in outdated if state.is_available(i)]
    return steps + [_delete(state, pod) for _, pod in outdated[: max(0, room)]]


def _delete(state: State, pod: Object) -> Action:
    return Delete("pods", key(pod), pod["metadata"]["uid"], about=state.set)


def _revision(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(HASH, ""))


def _status(state: State, owned: tuple[Object, ...]) -> Object:
    update, current = state.history.update["metadata"]["name"], state.current["metadata"]["name"]
    steady = [p for p in owned if not pods.is_terminating(p)]
    running = [p for p in owned if pods.phase(p) == "Running" and pods.is_ready(p)]
    min_ready = state.set["spec"].get("minReadySeconds", 0)
    status = {
        "observedGeneration": state.set["metadata"].get("generation", 0),
        "replicas": len(owned),
        "readyReplicas": len(running) or None,
        "availableReplicas": sum(1 for p in running if pods.is_available(p, min_ready, state.now)),
        "currentReplicas": sum(1 for p in steady if _revision(p) == current) or None,
        "updatedReplicas": sum(1 for p in steady if _revision(p) == update) or None,
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": (state.set.get("status") or {}).get("collisionCount", 0),
        "conditions": (state.set.get("status") or {}).get("conditions"),
    }
    replicas = status["replicas"]
    rolled = status["updatedReplicas"] == replicas and status["readyReplicas"] == replicas
    if state.strategy.get("type", "RollingUpdate") == "RollingUpdate" and rolled:
        status |= {"currentRevision": update, "currentReplicas": status["updatedReplicas"]}
    return status


def make(settings: Settings) -> Controller:
    return Controller(
        name="statefulset-controller",
        watches=(
            Watch(KIND),
            Watch("pods", pods.wakes("StatefulSet", KIND)),
            Watch(revisions.KIND, by_owner("StatefulSet")),
            Watch(CLAIMS, lambda cache, claim: ()),
        ),
        observe=observe,
        decide=decide,
        indexes=(
            pods.ORPHAN_PODS,
            Index(revisions.KIND, "orphans", lambda r: () if owner(r) else (r["metadata"]["namespace"],)),
        ),
    )
