"""Why an object is as it is, in plain words: pure functions of the object and what stands around it.

Each answer is a list of sentences, the most telling first: what state it is in, what keeps it there, what would help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.machinery.conditions import is_true
from sampan.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class Around:
    """What an answer may draw on: the object, its Events (oldest first), and the objects that it owns."""

    object: Object
    kind: str
    events: Sequence[Object] = ()
    owned: Sequence[Object] = field(default=())


def explain(around: Around) -> list[str]:
    """Sentences about an object of any kind; for kinds with an answer of their own, that one."""
    own = ANSWERS.get(around.kind, _conditions)
    said = [*_deletion(around.object), *own(around)]
    return [*said, *_warnings(around.events)]


def _deletion(obj: Object) -> Iterable[str]:
    meta = obj["metadata"]
    if meta.get("deletionTimestamp"):
        held = meta.get("finalizers")
        why = f" it waits for {', '.join(held)} to let it go" if held else " its containers are being stopped"
        yield f"It is being deleted since {meta['deletionTimestamp']};{why}."


def _warnings(events: Iterable[Object]) -> Iterable[str]:
    """The last warning of each reason."""
    last = {e.get("reason", ""): e for e in events if e.get("type") == "Warning"}
    for reason, event in last.items():
        times = int(event.get("count") or 1)
        often = f" ({times} times)" if times > 1 else ""
        yield f"Event {reason}{often}: {event.get('message', '')}"


def _conditions(around: Around) -> Iterable[str]:
    for condition in around.object.get("status", {}).get("conditions", ()):
        message = condition.get("message") or condition.get("reason") or ""
        yield f"{condition['type']} is {condition['status']}{': ' + message if message else ''}."


def _pod(around: Around) -> Iterable[str]:
    pod = around.object
    status = pod.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    phase = status.get("phase", "Pending")
    node = pod["spec"].get("nodeName")
    if not node:
        yield from _unscheduled(conditions)
        return
    ready = conditions.get("Ready", {}).get("status") == "True"
    yield f"It is {phase}{', and ready' if ready else ''} on node {node}."
    if status.get("reason"):
        yield f"{status['reason']}: {status.get('message', '')}"
    for container in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        yield from _container(container)


def _unscheduled(conditions: dict[str, Any]) -> Iterable[str]:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("message"):
        yield f"It has no node yet: {scheduled['message']}"
    else:
        yield "It has no node yet, and the scheduler has not looked at it."


WAITING = {
    "ImagePullBackOff": "Check the image's name and tag, and that the registry can be reached.",
    "ErrImagePull": "Check the image's name and tag, and that the registry can be reached.",
    "ErrImageNeverPull": "Load the image on the node, or allow it to be pulled (imagePullPolicy).",
    "CrashLoopBackOff": "See what it said before it died: kubectl logs --previous.",
    "CreateContainerConfigError": "It refers to a ConfigMap or Secret, or a key in it, that is not there.",
    "InvalidImageName": "The image's name cannot be parsed.",
}


def _container(status: Object) -> Iterable[str]:
    name, state = status["name"], status.get("state", {})
    if waiting := state.get("waiting"):
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        yield f"Container {name} waits: {reason}{': ' + message if message else ''}."
        if reason in WAITING:
            yield WAITING[reason]
    if ended := state.get("terminated"):
        yield f"Container {name} {_ending(ended)}."
    if (before := status.get("lastState", {}).get("terminated")) and status.get("restartCount"):
        yield f"Container {name} restarted {status['restartCount']} times; before, it {_ending(before)}."
    if "running" in state and not status.get("ready", True):
        yield f"Container {name} runs, but its readiness probe has not succeeded."


def _ending(ended: Object) -> str:
    if ended.get("reason") == "OOMKilled":
        return "was killed for using more memory than its limit"
    if ended.get("exitCode") == 0:
        return "ended successfully"
    signal = f" by signal {ended['signal']}" if ended.get("signal") else ""
    message = f" ({ended['message'].strip()})" if ended.get("message") else ""
    return f"failed with exit code {ended.get('exitCode')}{signal}{message}"


def _workload(around: Around) -> Iterable[str]:
    obj = around.object
    wanted, status = obj["spec"].get("replicas", 1), obj.get("status", {})
    ready = status.get("readyReplicas", 0)
    yield f"It wants {wanted} replicas; {ready} are ready, {status.get('updatedReplicas', ready)} up to date."
    if obj["spec"].get("paused"):
        yield "It is paused: kubectl rollout resume lets it go on."
    if status.get("observedGeneration", 0) < obj["metadata"].get("generation", 0):
        yield "Its controller has not yet seen the last change."
    for condition in status.get("conditions", ()):
        if condition["status"] == "False" or condition["type"] == "ReplicaFailure":
            yield f"{condition['type']} is {condition['status']}: {condition.get('message', '')}"
    yield from _unready(around.owned)


def _unready(owned: Iterable[Object]) -> Iterable[str]:
    for obj in owned:
        if obj.get("kind") == "Pod" and not is_true(obj, "Ready"):
            said = list(_pod(Around(obj, "Pod")))
            yield f"Pod {obj['metadata']['name']}: {' '.join(said)}"


def _job(around: Around) -> Iterable[str]:
    status = around.object.get("status", {})
    done, failed, active = (status.get(k, 0) for k in ("succeeded", "failed", "active"))
    yield f"{done} of {around.object['spec'].get('completions', 1)} completions; {active} active, {failed} failed."
    yield from _conditions(around)
    yield from _unready(p for p in around.owned if p.get("status", {}).get("phase") != "Succeeded")


def _claim(around: Around) -> Iterable[str]:
    claim = around.object
    if volume := claim["spec"].get("volumeName"):
        yield f"It is {claim.get('status', {}).get('phase', 'Pending')}, on volume {volume}."
    else:
        name = claim["spec"].get("storageClassName", "")
        yield f"It has no volume yet (storage class {name or 'none'})."
        yield "A class that waits for its first consumer gives it one once a pod that uses it is scheduled."


def _node(around: Around) -> Iterable[str]:
    if around.object["spec"].get("unschedulable"):
        yield "It is cordoned: no new pods are placed here until kubectl uncordon."
    for taint in around.object["spec"].get("taints", ()):
        yield f"It has the taint {taint['key']}:{taint['effect']}; pods need a toleration for it."
    yield from _conditions(around)


def _service(around: Around) -> Iterable[str]:
    endpoints = [e for s in around.owned for e in s.get("endpoints") or ()]
    ready = sum(1 for e in endpoints if e.get("conditions", {}).get("ready", True))
    yield f"{ready} of {len(endpoints)} endpoints are ready."
    if not endpoints:
        selector = ",".join(f"{k}={v}" for k, v in (around.object["spec"].get("selector") or {}).items())
        yield f"No pod matches its selector {selector}." if selector else "It has no selector."


ANSWERS: dict[str, Callable[[Around], Iterable[str]]] = {
    "Pod": _pod,
    "Deployment": _workload,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
    "Job": _job,
    "PersistentVolumeClaim": _claim,
    "Node": _node,
    "Service": _service,
}
