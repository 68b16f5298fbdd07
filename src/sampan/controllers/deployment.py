"""Deployments: replace the pods of one template by those of the next, step by step.

Each template has a ReplicaSet; a rollout moves replicas from the old sets to the new one (`rollout` has the
arithmetic), or for Recreate, empties the old ones first. Which branch is taken:

    deleted ─> status only          paused, or scaled ─> resize the sets ─> status
    Recreate ─> empty the old, wait until their pods are gone, then fill the new
    RollingUpdate ─> grow the new; else shrink the old; else clean up

Annotations, reasons and messages are upstream's, since `kubectl rollout` reads them.
Source: the concepts' page on Deployments; upstream's pkg/controller/deployment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sampan.controllers import deployment_status, pods, rollout
from sampan.controllers.rollout import Limits, Sized
from sampan.controllers.settings import Settings
from sampan.machinery import generated
from sampan.machinery.objects import Key, Object, changed, key, owner
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

KIND = "deployments.apps"
SETS = "replicasets.apps"
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
# What a ReplicaSet does not inherit of its Deployment's annotations.
_OWN = {
    REVISION, HISTORY, DESIRED, MOST,
    "kubectl.kubernetes.io/last-applied-configuration", "deprecated.deployment.rollback.to",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Observed:
    """`named` are all ReplicaSets of the namespace by name, for finding hash collisions."""

    deployment: Object
    owned: tuple[Object, ...]
    orphans: tuple[Object, ...]
    pods: tuple[Object, ...]
    named: dict[str, Object]


@dataclass(frozen=True, slots=True)
class Rollout:
    """A Deployment and its ReplicaSets: `new` has its present template; `old` are the others, oldest first."""

    deployment: Object
    new: Object | None
    old: tuple[Object, ...]
    bounds: Limits

    @property
    def sets(self) -> tuple[Object, ...]:
        return (*self.old, self.new) if self.new else self.old

    @property
    def desired(self) -> int:
        return self.bounds.replicas


def observe(cache: Cache, name: Key) -> Observed | None:
    found = cache.get(KIND, name)
    if found is None or not found["spec"].get("selector"):
        return None
    owned = tuple(cache.index(SETS, "owner", found["metadata"]["uid"]))
    mine = [pod for rs in owned for pod in cache.index("pods", "owner", rs["metadata"]["uid"])]
    named = {rs["metadata"]["name"]: rs for rs in cache.list(SETS, name.namespace)}
    orphans = tuple(cache.index(SETS, "orphans", name.namespace))
    return Observed(found, owned, orphans, tuple(mine), named)


def decide(seen: Observed, now: float) -> Plan:
    d = seen.deployment
    claimed = pods.claim(d, SETS, seen.owned, seen.orphans)
    state = _rollout(d, claimed.owned)
    actions = list(claimed.actions)
    made: Action | None = None
    if not pods.is_terminating(d):
        steps, made = _steps(seen, state, now)
        actions += steps
    status = deployment_status.status(
        d,
        state.new,
        state.old,
        made.object if isinstance(made, Create) else None,
        seen.pods,
        state.bounds,
        now,
    )
    collided = any(isinstance(a, Patch) and a.subresource == "status" for a in actions)
    if not collided:
        actions += pods.status_patch(KIND, d, status)
    return Plan(tuple(actions), deployment_status.deadline(d, status, now))


def _rollout(d: Object, owned: Iterable[Object]) -> Rollout:
    spec = d["spec"]
    sets = sorted(owned, key=lambda rs: (pods.created(rs), rs["metadata"]["name"]))
    by_hash = f"{d['metadata']['name']}-{_hash(d)}"
    # By its template, or by the name that we gave it: what the server stored may differ in what it defaulted.
    new = next((rs for rs in sets if _template(rs) == _bare(spec["template"])), None)
    new = new or next((rs for rs in sets if rs["metadata"]["name"] == by_hash), None)
    old = tuple(rs for rs in sets if rs is not new)
    replicas = spec.get("replicas", 1)
    bounds = Limits(replicas)
    if _is_rolling(d):
        rolling = spec.get("strategy", {}).get("rollingUpdate") or {}
        bounds = rollout.limits(
            replicas, rolling.get("maxSurge", "25%"), rolling.get("maxUnavailable", "25%")
        )
    return Rollout(d, new, old, bounds)


def _hash(d: Object) -> str:
    return generated.code(_bare(d["spec"]["template"]), (d.get("status") or {}).get("collisionCount", 0))


def _is_rolling(d: Object) -> bool:
    return bool(d["spec"].get("strategy", {}).get("type", "RollingUpdate") == "RollingUpdate")


def _template(rs: Object) -> Object:
    """A ReplicaSet's template as its Deployment gave it: without the hash."""
    return _bare(changed(rs["spec"]["template"], ("metadata", "labels", HASH), None))


def _bare(template: Object) -> Object:
    """The template without empty maps and nulls, which mean nothing."""
    meta = {k: v for k, v in (template.get("metadata") or {}).items() if v}
    return {"metadata": meta, "spec": template["spec"]}


def _steps(seen: Observed, state: Rollout, now: float) -> tuple[list[Action], Action | None]:
    """What to do besides status; and the creation of the new ReplicaSet, if that is part of it."""
    if state.deployment["spec"].get("paused") or _scaled(state):
        steps = _annotate(state) + _resize(state)
        return steps + (_clean(state) if state.deployment["spec"].get("paused") else []), None
    if _is_rolling(state.deployment):
        return _roll(seen, state, now)
    return _recreate(seen, state, now)


def _scaled(state: Rollout) -> bool:
    """Whether spec.replicas changed since the sets were last sized: that is done before any rollout step."""
    return any(
        _annotation(rs, DESIRED) not in ("", str(state.desired)) for rs in state.sets if _replicas(rs) > 0
    )


def _roll(seen: Observed, state: Rollout, now: float) -> tuple[list[Action], Action | None]:
    if state.new is None:
        return _create_new(seen, state, now)
    steps = _annotate(state)
    total = sum(_replicas(rs) for rs in state.sets)
    size = rollout.new_size(state.bounds, _replicas(state.new), total)
    if size != _replicas(state.new):
        return steps + _scale(state, state.new, size), None
    shrunk = rollout.old_sizes(state.bounds, _sized(state.new), [_sized(rs) for rs in state.old])
    if shrunk:
        for rs in state.old:
            steps += _scale(state, rs, shrunk.get(rs["metadata"]["name"], _replicas(rs)))
        return steps, None
    return steps + _clean_when_complete(state), None


def _recreate(seen: Observed, state: Rollout, now: float) -> tuple[list[Action], Action | None]:
    active = [rs for rs in state.old if _replicas(rs) > 0]
    if active:
        return _annotate(state) + [step for rs in active for step in _scale(state, rs, 0)], None
    old = {rs["metadata"]["uid"] for rs in state.old}
    if any((owner(pod) or {}).get("uid") in old and not pods.is_finished(pod) for pod in seen.pods):
        return [], None
    if state.new is None:
        return _create_new(seen, state, now)
    steps = _annotate(state) + _scale(state, state.new, state.desired)
    return steps + _clean_when_complete(state), None


def _create_new(seen: Observed, state: Rollout, now: float) -> tuple[list[Action], Action | None]:
    d = state.deployment
    collisions = (d.get("status") or {}).get("collisionCount", 0)
    total = sum(_replicas(rs) for rs in state.old)
    size = rollout.new_size(state.bounds, 0, total) if _is_rolling(d) else state.desired
    new = _new_set(state, size)
    if new["metadata"]["name"] in seen.named:
        # The name is taken by a set that is not ours: salt the hash.
        return [
            Patch(KIND, key(d), {"status": {"collisionCount": collisions + 1}}, subresource="status")
        ], None
    create = Create(SETS, new)
    steps: list[Action] = [create]
    if size > 0:
        name = new["metadata"]["name"]
        message = f"Scaled up replica set {name} from 0 to {size}"
        steps.append(Emit(d, "Normal", "ScalingReplicaSet", message))
    return steps + _number(d, new["metadata"]["annotations"][REVISION]), create


def _new_set(state: Rollout, size: int) -> Object:
    d = state.deployment
    spec = d["spec"]
    hashed = _hash(d)
    label = {HASH: hashed}
    labels = {**((spec["template"].get("metadata") or {}).get("labels") or {}), **label}
    selector = {**spec["selector"], "matchLabels": {**(spec["selector"].get("matchLabels") or {}), **label}}
    revision = str(_next_revision(state))
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{d['metadata']['name']}-{hashed}",
            "namespace": d["metadata"]["namespace"],
            "labels": labels,
            "annotations": {**_inherited(d), **_size_notes(state), REVISION: revision},
            "ownerReferences": [pods.reference(d)],
        },
        "spec": {
            "replicas": size,
            "minReadySeconds": spec.get("minReadySeconds", 0),
            "selector": selector,
            "template": changed(spec["template"], ("metadata", "labels"), labels),
        },
    }


def _next_revision(state: Rollout) -> int:
    return max((revision(rs) for rs in state.old), default=0) + 1


def revision(obj: Object) -> int:
    """The revision that a Deployment or ReplicaSet is annotated with; 0 where none or not a number."""
    text = _annotation(obj, REVISION)
    return int(text) if text.isdigit() else 0


def _annotate(state: Rollout) -> list[Action]:
    """Keep the new set's revision, inherited annotations and minReadySeconds, and the Deployment's revision, right."""
    if state.new is None:
        return []
    have = state.new["metadata"].get("annotations") or {}
    want = dict(_inherited(state.deployment))
    number = _next_revision(state)
    if revision(state.new) < number:
        want[REVISION] = str(number)
        if past := have.get(REVISION):
            want[HISTORY] = ",".join(filter(None, (have.get(HISTORY), past)))
    patch: Object = {}
    if fresh := {k: v for k, v in want.items() if have.get(k) != v}:
        patch["metadata"] = {"annotations": fresh}
    min_ready = state.deployment["spec"].get("minReadySeconds", 0)
    if state.new["spec"].get("minReadySeconds", 0) != min_ready:
        patch["spec"] = {"minReadySeconds": min_ready}
    steps: list[Action] = [Patch(SETS, key(state.new), patch)] if patch else []
    return steps + _number(state.deployment, want.get(REVISION, have.get(REVISION, "")))


def _number(d: Object, number: str) -> list[Action]:
    if not number or _annotation(d, REVISION) == number:
        return []
    return [Patch(KIND, key(d), {"metadata": {"annotations": {REVISION: number}}})]


def _inherited(d: Object) -> dict[str, str]:
    return {k: v for k, v in (d["metadata"].get("annotations") or {}).items() if k not in _OWN}


def _size_notes(state: Rollout) -> dict[str, str]:
    return {DESIRED: str(state.desired), MOST: str(state.bounds.most)}


def _scale(state: Rollout, rs: Object, size: int) -> list[Action]:
    """Size one set, and note on it what sizes its Deployment wants."""
    have = rs["metadata"].get("annotations") or {}
    notes = {k: v for k, v in _size_notes(state).items() if have.get(k) != v}
    before = _replicas(rs)
    patch: Object = {"metadata": {"annotations": notes}} if notes else {}
    steps: list[Action] = []
    if size != before:
        patch["spec"] = {"replicas": size}
        verb = "up" if size > before else "down"
        message = f"Scaled {verb} replica set {rs['metadata']['name']} from {before} to {size}"
        steps.append(Emit(state.deployment, "Normal", "ScalingReplicaSet", message))
    return [Patch(SETS, key(rs), patch), *steps] if patch else []


def _resize(state: Rollout) -> list[Action]:
    """Bring all sets to a changed spec.replicas, without going on with a rollout."""
    active = [rs for rs in state.sets if _replicas(rs) > 0]
    if len(active) <= 1:
        only = active[0] if active else state.new or (state.old[-1] if state.old else None)
        return _scale(state, only, state.desired) if only else []
    if state.new and _saturated(state):
        return [step for rs in state.old if _replicas(rs) > 0 for step in _scale(state, rs, 0)]
    if not _is_rolling(state.deployment):
        return []
    sizes = rollout.proportional_sizes(state.bounds, [_sized(rs) for rs in state.sets])
    return [step for rs in active for step in _scale(state, rs, sizes[rs["metadata"]["name"]])]


def _saturated(state: Rollout) -> bool:
    """Whether the new set alone is what the Deployment wants."""
    new = state.new
    assert new is not None
    available = (new.get("status") or {}).get("availableReplicas", 0)
    return (
        _annotation(new, DESIRED) == str(state.desired)
        and _replicas(new) == state.desired
        and available == state.desired
    )


def _clean_when_complete(state: Rollout) -> list[Action]:
    return (
        _clean(state)
        if deployment_status.is_complete(state.deployment, state.deployment.get("status") or {})
        else []
    )


def _clean(state: Rollout) -> list[Action]:
    """Delete the oldest sets beyond the history limit, if they are empty."""
    limit = state.deployment["spec"].get("revisionHistoryLimit", 10)
    alive = sorted((rs for rs in state.old if not pods.is_terminating(rs)), key=revision)
    return [
        Delete(SETS, key(rs), rs["metadata"]["uid"])
        for rs in alive[: max(0, len(alive) - limit)]
        if _is_empty(rs)
    ]


def _is_empty(rs: Object) -> bool:
    status = rs.get("status") or {}
    fresh = status.get("observedGeneration", 0) >= rs["metadata"].get("generation", 0)
    return fresh and _replicas(rs) == 0 and not status.get("replicas")


def _replicas(rs: Object) -> int:
    return int(rs["spec"].get("replicas", 1))


def _annotation(obj: Object, name: str) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(name, ""))


def _sized(rs: Object) -> Sized:
    most = _annotation(rs, MOST)
    available = (rs.get("status") or {}).get("availableReplicas", 0)
    return Sized(rs["metadata"]["name"], _replicas(rs), available, int(most) if most.isdigit() else 0)


def _of_pod(cache: Cache, pod: Object) -> Iterable[Key]:
    """Recreate waits for old pods to be gone: a pod wakes the Deployment above its ReplicaSet."""
    ref = owner(pod)
    if not ref or ref["kind"] != "ReplicaSet":
        return ()
    namespace = pod["metadata"]["namespace"]
    rs = cache.get(SETS, Key(namespace, ref["name"]))
    above = owner(rs) if rs else None
    if not above or above["kind"] != "Deployment":
        return ()
    name = Key(namespace, above["name"])
    d = cache.get(KIND, name)
    return (name,) if d and not _is_rolling(d) else ()


def make(settings: Settings) -> Controller:
    return Controller(
        name="deployment-controller",
        watches=(Watch(KIND), Watch(SETS, pods.wakes("Deployment", KIND)), Watch("pods", _of_pod)),
        observe=observe,
        decide=decide,
        indexes=(Index(SETS, "orphans", lambda rs: () if owner(rs) else (rs["metadata"]["namespace"],)),),
    )
