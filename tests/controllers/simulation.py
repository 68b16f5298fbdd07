"""A cluster of plain values in simulated time: controllers decide, their plans are applied at once, a
kubelet plays along.

There is no I/O and no real clock, so that hours pass in milliseconds and every run is the same. Only the
decisions are real: how objects are stored, and what a node does, is played as simply as the controllers
under test need it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan import controllers
from sampan.kinds import registry
from sampan.machinery import times
from sampan.machinery.objects import Key, Object, key, owner
from sampan.machinery.patches import merge_patch
from sampan.reconcile.controller import (
    Absent,
    Action,
    Controller,
    Create,
    Delete,
    DeleteAll,
    Emit,
    Patch,
    Update,
)
from sampan.scheduler.decide import decide
from sampan.scheduler.plugins import default_profile
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot

PROFILE = default_profile()
START = times.seconds("2026-01-01T00:00:00Z")
# How long a pod takes to become ready, and to end when it is deleted.
STARTS_IN, ENDS_IN = 2.0, 1.0
# How often a node says that it lives.
LEASE = 10.0
MOST_ROUNDS = 100
# What the API server's admission gives every pod: five minutes on a node that is not ready.
TOLERATED = [
    {
        "key": f"node.kubernetes.io/{name}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    for name in ("not-ready", "unreachable")
]


@dataclass
class Simulation:
    """`log` gets a line for each action; `mute` hides patches of status, which end states show better."""

    chosen: Iterable[Controller] = ()
    mute: bool = True
    now: float = START
    log: list[str] = field(default_factory=list)
    # Nodes that no longer answer: their pods neither start nor end.
    silent: set[str] = field(default_factory=set)
    # Asked after every change: raises where something that must always hold does not.
    watchdog: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.objects: dict[str, dict[Key, Object]] = defaultdict(dict)
        self.indexes: dict[tuple[str, str], Callable[[Object], Iterable[str]]] = {}
        self.again: dict[tuple[str, Key], float] = {}
        self.due: dict[str, float] = {}
        self._counter = self._changes = 0
        self._told: set[tuple[str, str, str]] = set()
        self.all = tuple(self.chosen) or controllers.build(controllers.Settings(started=START))
        for controller in self.all:
            for index in controller.indexes:
                self.indexes[index.kind, index.name] = index.values

    # The cache, as controllers see it.

    def get(self, kind: str, name: Key) -> Object | None:
        return self.objects[kind].get(name)

    def list(self, kind: str, namespace: str = "") -> list[Object]:
        return [o for k, o in sorted(self.objects[kind].items()) if not namespace or k.namespace == namespace]

    def index(self, kind: str, index: str, value: str) -> Sequence[Object]:
        values = self.indexes.get((kind, index)) or _owner
        return [o for _, o in sorted(self.objects[kind].items()) if value in values(o)]

    # The store.

    def put(self, kind: str, obj: Object) -> None:
        """Store an object; a changed spec is a new generation."""
        old = self.objects[kind].get(key(obj))
        self._changes += 1
        self._counter += 1
        meta = {**obj["metadata"], "resourceVersion": str(self._counter)}
        if old and old.get("spec") != obj.get("spec"):
            meta["generation"] = old["metadata"].get("generation", 0) + 1
        if "deletionTimestamp" in meta and not meta.get("finalizers") and kind != "pods":
            self.objects[kind].pop(key(obj), None)
        else:
            self.objects[kind][key(obj)] = {**obj, "metadata": meta}
        self.watchdog()

    def create(self, kind: str, obj: Object) -> None:
        assert key(obj) not in self.objects[kind], f"{kind} {key(obj)} is there already"
        self._counter += 1
        uid = f"{kind.split('.')[0]}-{self._counter}"
        meta = {"uid": uid, "creationTimestamp": times.time(self.now), "generation": 1, **obj["metadata"]}
        obj = json.loads(json.dumps({**obj, "metadata": meta}))
        known = registry.of(obj["apiVersion"], obj["kind"])
        known.default(obj)
        if kind == "jobs.batch" and known.prepare:
            known.prepare(obj, None, "")
        if kind == "pods":
            obj["status"] = {"phase": "Pending"}
            obj["spec"].setdefault("tolerations", []).extend(TOLERATED)
        self.put(kind, obj)

    def patch(self, kind: str, name: Key, patch: Object) -> None:
        found = self.objects[kind].get(name)
        if found:
            patch = json.loads(json.dumps(patch))
            patch.get("metadata", {}).pop("resourceVersion", None)
            merged = merge_patch(found, patch)
            if "apiVersion" in merged:
                registry.of(merged["apiVersion"], merged["kind"]).default(merged)
            self.put(kind, merged)

    def delete(self, kind: str, name: Key, grace: int | None = None, propagation: str = "Background") -> None:
        found = self.objects[kind].get(name)
        if found is None:
            return
        finalizers = list(found["metadata"].get("finalizers") or ())
        finalizers += {"Foreground": ["foregroundDeletion"], "Orphan": ["orphan"]}.get(propagation, [])
        lingers = kind == "pods" and grace != 0 and found["spec"].get("nodeName")
        if not finalizers and not lingers:
            del self.objects[kind][name]
            self._changes += 1
            self.watchdog()
        elif "deletionTimestamp" not in found["metadata"]:
            meta = {"deletionTimestamp": times.time(self.now), "finalizers": finalizers or None}
            self.put(kind, merge_patch(found, {"metadata": meta}))

    # What happens.

    def run(self) -> None:
        """Everybody acts until nobody has anything left to do at this moment."""
        for _ in range(MOST_ROUNDS):
            if not (self._decide() | self._schedule() | self._kubelets()):
                return
        raise AssertionError("the controllers never come to rest:\n" + "\n".join(self.log[-20:]))

    def advance(self, seconds: float) -> None:
        """Let time pass, from one due moment to the next."""
        end = self.now + seconds
        self.run()
        while True:
            moments = [t for t in (*self.again.values(), *self.due.values()) if t > self.now]
            if not moments or min(moments) > end:
                break
            self.now = min(moments)
            self.run()
        self.now = end
        self.run()

    def _decide(self) -> bool:
        before = self._changes
        for controller in self.all:
            for name in self._keys(controller):
                observed = controller.observe(self, name)
                if observed is None:
                    continue
                plan = controller.decide(observed, self.now)
                self.again.pop((controller.name, name), None)
                if plan.again is not None:
                    self.again[controller.name, name] = self.now + max(plan.again, 0.001)
                for action in plan.actions:
                    if not self.perform(controller.name, action):
                        break
        return self._changes != before

    def _keys(self, controller: Controller) -> Sequence[Key]:
        found = dict.fromkeys(controller.always)
        for watch in controller.watches:
            for obj in self.list(watch.kind):
                found.update(dict.fromkeys(watch.keys(self, obj)))
        return sorted(found)

    def perform(self, who: str, action: Action) -> bool:
        """Apply one action; False where the plan must stop."""
        if isinstance(action, Create) and not self._may_create(action):
            return False
        self._tell(who, action)
        match action:
            case Create():
                self.create(action.kind, action.object)
            case Update():
                self.put(action.kind, action.object)
            case Patch():
                self.patch(action.kind, action.key, action.patch)
            case Delete():
                self.delete(action.kind, action.key, action.grace, action.propagation)
            case DeleteAll():
                for obj in self.list(action.kind, action.namespace):
                    self.delete(action.kind, key(obj))
            case Absent():
                found = self.get(action.kind, action.key)
                return found is None or action.uid not in ("", found["metadata"]["uid"])
        return True

    def _may_create(self, action: Create) -> bool:
        """As the API server: not twice, and not in a namespace that is going."""
        name = key(action.object)
        namespace = self.get("namespaces", Key("", name.namespace))
        going = namespace is not None and "deletionTimestamp" in namespace["metadata"]
        return not going and name not in self.objects[action.kind]

    def _tell(self, who: str, action: Action) -> None:
        name = who.removesuffix("-controller")
        match action:
            case Create():
                text = f"create {action.kind} {action.object['metadata']['name']}"
            case Patch():
                if self.mute and action.subresource == "status":
                    return
                where = f"{action.kind}/{action.subresource}" if action.subresource else action.kind
                text = f"patch {where} {action.key.name} {json.dumps(_brief(action.patch), sort_keys=True)}"
            case Update():
                text = (
                    f"update {action.kind} {action.object['metadata']['name']} {action.subresource}".rstrip()
                )
            case Delete():
                text = f"delete {action.kind} {action.key.name}"
            case Emit():
                told = (who, action.about["metadata"]["name"], action.message)
                if told in self._told:
                    return
                self._told.add(told)
                text = f"event {action.type} {action.reason}: {action.message}"
            case _:
                return
        self.log.append(f"{self.now - START:>6.1f} {name}: {text}")

    def _schedule(self) -> bool:
        waiting = [
            p for p in self.list("pods") if not p["spec"].get("nodeName") and _stays(p) and not _done(p)
        ]
        if not waiting:
            return False
        snapshot = Snapshot()
        for node in self.list("nodes"):
            snapshot.set_node(node)
        for pod in self.list("pods"):
            if pod["spec"].get("nodeName") and not _done(pod):
                snapshot.add_pod(PodInfo(pod))
        bound = False
        for info in sorted(map(PodInfo, waiting), key=_order):
            if found := decide(PROFILE, snapshot, info).node:
                snapshot.add_pod(info, found)
                self.patch("pods", info.key, {"spec": {"nodeName": found}})
                bound = True
        return bound

    def _kubelets(self) -> bool:
        """Pods on nodes that answer become ready and, when deleted, go away; each takes its time."""
        acted = self._renew_leases()
        for pod in self.list("pods"):
            uid, node = pod["metadata"]["uid"], pod["spec"].get("nodeName")
            if not node or node in self.silent or Key("", node) not in self.objects["nodes"]:
                continue
            going = not _stays(pod)
            if not going and (
                pod["status"]["phase"] != "Pending" or pod["metadata"].get("labels", {}).get("broken")
            ):
                continue
            moment = self.due.setdefault(f"{uid} {going}", self.now + (ENDS_IN if going else STARTS_IN))
            if moment <= self.now:
                acted = True
                if going and not _done(pod):
                    self.set_phase(key(pod), "Succeeded")
                elif going and not pod["metadata"].get("finalizers"):
                    del self.objects["pods"][key(pod)]
                    self.watchdog()
                elif not going:
                    self.set_phase(key(pod), "Running")
                else:
                    acted = False
        return acted

    def _renew_leases(self) -> bool:
        acted = False
        for name in [n["metadata"]["name"] for n in self.list("nodes")]:
            if name not in self.silent and self.due.get(f"lease {name}", START) <= self.now:
                acted = True
                self.due[f"lease {name}"] = self.now + LEASE
                meta = {"name": name, "namespace": "kube-node-lease"}
                spec = {"renewTime": times.micro_time(self.now)}
                self.put("leases.coordination.k8s.io", {"metadata": meta, "spec": spec})
        return acted

    def set_phase(self, name: Key, phase: str, exit_code: int = 0) -> None:
        """What a node reports of a pod."""
        ready = {
            "type": "Ready",
            "status": str(phase == "Running"),
            "lastTransitionTime": times.time(self.now),
        }
        status: Object = {"phase": phase, "conditions": [ready]}
        if phase == "Running":
            status["podIP"] = f"10.64.0.{self.objects['pods'][name]['metadata']['uid'].split('-')[1]}"
        if phase in ("Succeeded", "Failed"):
            ended = {"exitCode": exit_code, "finishedAt": times.time(self.now)}
            status["containerStatuses"] = [
                {"name": "main", "restartCount": 0, "state": {"terminated": ended}}
            ]
        self.patch("pods", name, {"status": status})


def _owner(obj: Object) -> tuple[str, ...]:
    ref = owner(obj)
    return (ref["uid"],) if ref else ()


def _stays(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"]


def _done(pod: Object) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def _brief(patch: Object) -> Object:
    """A patch without the preconditions that only guard it."""
    meta = {k: v for k, v in patch.get("metadata", {}).items() if k not in ("uid", "resourceVersion")}
    rest = {k: v for k, v in patch.items() if k != "metadata"}
    return {**rest, "metadata": meta} if meta else rest


def _order(pod: PodInfo) -> tuple[int, str, str]:
    """The higher priority first, then the older, then by name."""
    return -pod.priority, pod.object["metadata"].get("creationTimestamp", ""), pod.name


def node(name: str, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **labels: str) -> Object:
    labels = {"kubernetes.io/hostname": name, **{k.replace("__", "/"): v for k, v in labels.items()}}
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": times.time(START)}
    status = {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}, "conditions": [ready]}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": status,
    }


def template(app: str, image: str = "v1", **spec: Any) -> Object:
    containers = [{"name": "main", "image": image}]
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": containers, **spec}}


def workload(kind: str, name: str, image: str = "v1", **spec: Any) -> Object:
    """A Deployment, ReplicaSet, StatefulSet or DaemonSet of pods labelled app=NAME."""
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name, image), **spec},
    }
