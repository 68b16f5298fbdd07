"""DaemonSets: one pod on every node that fits.

Each pod is pinned to its node by a node affinity on the node's name; the scheduler binds it. An update
replaces pods node by node, within maxUnavailable, or with maxSurge beside the old ones. Source: the
concepts' page on DaemonSets; upstream's pkg/controller/daemon.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sampan.controllers import pods, revisions
from sampan.controllers.rollout import scaled_value
from sampan.controllers.settings import Settings
from sampan.machinery import generated, placement
from sampan.machinery.objects import Key, Object, changed, key, owner
from sampan.reconcile.controller import (
    Action,
    Cache,
    Controller,
    Create,
    Delete,
    Emit,
    Index,
    Plan,
    Watch,
    by_owner,
)

KIND = "daemonsets.apps"
# How long a pod that failed stays before it is replaced, so that a failure at once does not become a storm.
REPLACE_AFTER = 5.0


@dataclass(frozen=True, slots=True)
class Observed:
    set: Object
    owned: tuple[Object, ...]
    orphans: tuple[Object, ...]
    revisions: tuple[Object, ...]
    nodes: tuple[Object, ...]


@dataclass(frozen=True, slots=True)
class State:
    """`on` are the set's pods by node; `runs` the nodes that should have one, `stays` those that may keep one."""

    set: Object
    history: revisions.History
    on: dict[str, list[Object]]
    runs: tuple[str, ...]
    stays: frozenset[str]
    now: float

    @property
    def hash(self) -> str:
        return str(self.history.update["metadata"]["labels"][revisions.HASH])

    @property
    def rolling(self) -> Object | None:
        """The rolling update's parameters; None where pods are replaced only when someone deletes them."""
        strategy = self.set["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return None
        return strategy.get("rollingUpdate") or {}

    def is_new(self, pod: Object) -> bool:
        return (pod["metadata"].get("labels") or {}).get(revisions.HASH) == self.hash

    def is_available(self, pod: Object) -> bool:
        return pods.is_available(pod, self.set["spec"].get("minReadySeconds", 0), self.now)


def observe(cache: Cache, name: Key) -> Observed | None:
    found = cache.get(KIND, name)
    if found is None:
        return None
    uid = found["metadata"]["uid"]
    return Observed(
        found,
        tuple(cache.index("pods", "owner", uid)),
        tuple(cache.index("pods", "orphans", name.namespace)),
        tuple(cache.index(revisions.KIND, "owner", uid)),
        tuple(cache.list("nodes")),
    )


def decide(seen: Observed, now: float) -> Plan:
    ds = seen.set
    claimed = pods.claim(ds, "pods", seen.owned, seen.orphans)
    history = revisions.history(ds, seen.revisions)
    state = _state(seen, history, claimed.owned, now)
    actions = list(claimed.actions)
    again = pods.until_available(claimed.owned, ds["spec"].get("minReadySeconds", 0), now)
    if not pods.is_terminating(ds):
        actions += history.actions
        steps, wait = _place(state)
        actions += steps
        if not steps and state.rolling is not None:
            actions += _roll(state, state.rolling)
        live = {(p["metadata"].get("labels") or {}).get(revisions.HASH, "") for p in claimed.owned}
        names = {
            r["metadata"]["name"]
            for r in history.all
            if (r["metadata"].get("labels") or {}).get(revisions.HASH) in live
        }
        actions += revisions.expired(history, names, ds["spec"].get("revisionHistoryLimit", 10))
        again = min((t for t in (again, wait) if t is not None), default=None)
    actions += pods.status_patch(KIND, ds, _status(state))
    return Plan(tuple(actions), again)


def _state(seen: Observed, history: revisions.History, owned: Iterable[Object], now: float) -> State:
    on: dict[str, list[Object]] = defaultdict(list)
    for pod in owned:
        on[node_of(pod)].append(pod)
    spec = _pod_spec(seen.set, "")
    runs, stays = [], set()
    for node in seen.nodes:
        run, stay = fits(spec, node)
        if run:
            runs.append(node["metadata"]["name"])
        if stay:
            stays.add(node["metadata"]["name"])
    return State(seen.set, history, dict(on), tuple(runs), frozenset(stays), now)


def node_of(pod: Object) -> str:
    """The node that a daemon pod is on, or is pinned to."""
    if name := pod["spec"].get("nodeName"):
        return str(name)
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in affinity.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name" and field.get("values"):
                return str(field["values"][0])
    return ""


def fits(spec: Object, node: Object) -> tuple[bool, bool]:
    """Whether a daemon pod should run on the node, and whether one that is there may stay."""
    affine = placement.affinity_matches(spec, node) and spec.get("nodeName") in (
        None,
        node["metadata"]["name"],
    )
    taints = node["spec"].get("taints") or ()
    borne = spec.get("tolerations") or ()
    run = placement.untolerated(borne, taints, ("NoSchedule", "NoExecute")) is None
    stay = placement.untolerated(borne, taints, ("NoExecute",)) is None
    return affine and run, affine and stay


def _place(state: State) -> tuple[list[Action], float | None]:
    """Pods for nodes without one, and away with those that failed, are too many, or are on a wrong node."""
    steps: list[Action] = []
    wait: float | None = None
    for node in state.runs:
        if node not in state.on:
            steps.append(_create(state, node))
    for node, there in state.on.items():
        staying = [p for p in there if not pods.is_terminating(p)]
        if node not in state.stays:
            steps += [_delete(state, p) for p in staying]
            continue
        for pod in (p for p in staying if pods.is_finished(p)):
            age = state.now - pods.created(pod)
            if age < REPLACE_AFTER:
                wait = min(wait or REPLACE_AFTER, REPLACE_AFTER - age)
            else:
                steps += [*_tell_finished(state, pod, node), _delete(state, pod)]
        steps += [_delete(state, p) for p in _too_many(state, staying)]
    return steps, wait


def _too_many(state: State, staying: list[Object]) -> list[Object]:
    """All but the oldest of each generation; in a surge, one old and one new may stand together."""
    running = sorted((p for p in staying if not pods.is_finished(p)), key=pods.created)
    if not _surge(state):
        return running[1:]
    new = [p for p in running if state.is_new(p)]
    old = [p for p in running if not state.is_new(p)]
    return new[1:] + old[1:]


def _surge(state: State) -> int:
    return scaled_value((state.rolling or {}).get("maxSurge", 0), len(state.runs), up=True)


def _tell_finished(state: State, pod: Object, node: str) -> list[Action]:
    word = "failed" if pods.phase(pod) == "Failed" else "succeeded"
    verb = "kill" if word == "failed" else "delete"
    message = f"Found {word} daemon pod {key(pod)} on node {node}, will try to {verb} it"
    kind = "Warning" if word == "failed" else "Normal"
    return [Emit(state.set, kind, f"{word.capitalize()}DaemonPod", message)]


def _roll(state: State, rolling: Object) -> list[Action]:
    if surge := _surge(state):
        return _roll_with_surge(state, surge)
    budget = scaled_value(rolling.get("maxUnavailable", 1), len(state.runs), up=True)
    free: list[Object] = []
    costly: list[Object] = []
    for node in state.runs:
        there = [p for p in state.on.get(node, ()) if not pods.is_terminating(p)]
        if len(there) != 1 or not state.is_available(there[0]):
            budget -= 1
        if len(there) == 1 and not state.is_new(there[0]):
            (costly if state.is_available(there[0]) else free).append(there[0])
    return [_delete(state, pod) for pod in free + costly[: max(0, budget)]]


def _roll_with_surge(state: State, budget: int) -> list[Action]:
    """New pods come up beside the old ones, which go once the new are available."""
    steps: list[Action] = []
    free: list[str] = []
    costly: list[str] = []
    for node in state.runs:
        there = [p for p in state.on.get(node, ()) if not pods.is_terminating(p)]
        new = [p for p in there if state.is_new(p)]
        old = [p for p in there if not state.is_new(p)]
        if new and old and state.is_available(new[0]):
            steps += [_delete(state, p) for p in old]
        elif new and old:
            budget -= 1
        elif old:
            (costly if state.is_available(old[0]) else free).append(node)
    return steps + [_create(state, node) for node in free + costly[: max(0, budget)]]


def _create(state: State, node: str) -> Action:
    base = f"{state.set['metadata']['name']}-"
    name = generated.name(base, state.set["metadata"]["uid"], node, state.now)
    made = pods.from_template(state.set["spec"]["template"], name, state.set)
    made = changed(made, ("metadata", "labels", revisions.HASH), state.hash)
    made["spec"] = _pod_spec(state.set, node)
    return Create("pods", made, state.set)


def _pod_spec(ds: Object, node: str) -> Object:
    """The template's spec, pinned to `node` where it is given, tolerating what a daemon must bear."""
    spec: Object = ds["spec"]["template"]["spec"]
    borne = [*(spec.get("tolerations") or ()), *_tolerations(spec)]
    spec = {**spec, "tolerations": borne}
    if not node:
        return spec
    path = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    pin = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(path[2]) or {}
    terms = required.get("nodeSelectorTerms") or [{}]
    pinned = {"nodeSelectorTerms": [{**term, "matchFields": pin} for term in terms]}
    return changed(spec, path, pinned)


def _tolerations(spec: Object) -> list[Object]:
    bears = [
        (placement.NOT_READY, "NoExecute"),
        (placement.UNREACHABLE, "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        (placement.UNSCHEDULABLE, "NoSchedule"),
    ]
    if spec.get("hostNetwork"):
        bears.append(("node.kubernetes.io/network-unavailable", "NoSchedule"))
    known = spec.get("tolerations") or ()
    made = [{"key": name, "operator": "Exists", "effect": effect} for name, effect in bears]
    return [t for t in made if t not in known]


def _delete(state: State, pod: Object) -> Action:
    return Delete("pods", key(pod), pod["metadata"]["uid"], about=state.set)


def _status(state: State) -> Object:
    wanted = set(state.runs)
    current = ready = available = updated = 0
    for node in state.runs:
        there = sorted(state.on.get(node, ()), key=pods.created)
        if not there:
            continue
        current += 1
        ready += any(pods.is_ready(p) for p in there)
        available += any(state.is_available(p) for p in there)
        updated += any(state.is_new(p) for p in there)
    return {
        "currentNumberScheduled": current,
        "desiredNumberScheduled": len(wanted),
        "numberMisscheduled": sum(1 for node, there in state.on.items() if there and node not in wanted),
        "numberReady": ready,
        "updatedNumberScheduled": updated or None,
        "numberAvailable": available or None,
        "numberUnavailable": len(wanted) - available or None,
        "observedGeneration": state.set["metadata"].get("generation", 0),
        "collisionCount": (state.set.get("status") or {}).get("collisionCount"),
        "conditions": (state.set.get("status") or {}).get("conditions"),
    }


def _any_daemon(cache: Cache, node: Object) -> Iterable[Key]:
    """A node that comes, goes, or changes its labels and taints matters to every DaemonSet."""
    return [key(ds) for ds in cache.list(KIND)]


def make(settings: Settings) -> Controller:
    return Controller(
        name="daemon-set-controller",
        watches=(
            Watch(KIND),
            Watch("pods", pods.wakes("DaemonSet", KIND)),
            Watch(revisions.KIND, by_owner("DaemonSet")),
            Watch("nodes", _any_daemon),
        ),
        observe=observe,
        decide=decide,
        indexes=(
            pods.ORPHAN_PODS,
            Index(revisions.KIND, "orphans", lambda r: () if owner(r) else (r["metadata"]["namespace"],)),
        ),
    )
