"""A Pod's status from what is known of it: a plain function, following the kubelet's rules for phases and conditions.

Source: the Pod lifecycle page of the Kubernetes documentation, and what pkg/kubelet/kubelet_pods.go does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.node import pods, resources
from sampan.node.decide import Probed
from sampan.node.eviction import EVICTED
from sampan.node.observed import Container, Observed
from sampan.node.resize import Resizing

LOST = "The container could not be located when the pod was terminated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a status is made of: `waiting` tells by container name why it waits; `ended` that the pod will run
    nothing more, `end` why, if not by itself.
    """

    pod: Object
    observed: Observed
    probes: Mapping[str, Probed]
    waiting: Mapping[str, tuple[str, str]]
    runtime: str
    host_ip: str
    started_at: float
    now: float
    ended: bool = False
    end: tuple[str, str] = ("", "")
    messages: Mapping[str, str] = field(default_factory=dict)
    resizing: Resizing = field(default_factory=Resizing)


def status(k: Known) -> Object:
    """The whole status of the pod as the node knows it."""
    init = [_container(k, c, initial=True) for c in pods.init_containers(k.pod)]
    mains = sorted((_container(k, c) for c in pods.main_containers(k.pod)), key=lambda s: str(s["name"]))
    ephemeral = [_container(k, c) for c in k.pod["spec"].get("ephemeralContainers") or ()]
    reason, message = k.end
    found: Object = {
        "phase": "Failed" if reason else phase(k.pod, init, mains, k.ended),
        "hostIP": k.host_ip,
        "hostIPs": [{"ip": k.host_ip}],
        "startTime": times.time(k.started_at),
        "qosClass": resources.qos(k.pod),
        "containerStatuses": mains,
    }
    if generation := k.pod["metadata"].get("generation"):
        found["observedGeneration"] = generation
    if init:
        found["initContainerStatuses"] = init
    if ephemeral:
        found["ephemeralContainerStatuses"] = ephemeral
    if reason:
        found |= {"reason": reason, "message": message}
    if ips := _ips(k):
        found |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    found["conditions"] = _conditions(k, found, init, mains)
    return found


def _ips(k: Known) -> list[str]:
    if pods.is_host_network(k.pod):
        return [k.host_ip] if k.observed.sandboxes else []
    sandbox = k.observed.sandbox
    if sandbox is not None:
        return list(sandbox.ips)
    # The last address stays in the status of a pod whose sandbox is gone.
    return [entry["ip"] for entry in (k.pod.get("status") or {}).get("podIPs") or ()]


def phase(pod: Object, init: list[Object], mains: list[Object], ended: bool = False) -> str:
    """The phase that the container statuses add up to."""
    policy = pod["spec"].get("restartPolicy", "Always")
    if any(_exit(s) and policy == "Never" for s in _once(pod, init)):
        return "Failed"
    found = _sum(pod, init, mains)
    if not ended:
        return _as_policy(found, policy)
    return found if found in ("Succeeded", "Failed") else "Failed"


def _as_policy(found: str, policy: str) -> str:
    """Containers that have all ended may be started again."""
    if found == "Succeeded" and policy == "Always":
        return "Running"
    return "Running" if found == "Failed" and policy != "Never" else found


def _sum(pod: Object, init: list[Object], mains: list[Object]) -> str:
    if any(
        "running" in s["state"] or ("waiting" in s["state"] and not s["lastState"]) for s in _once(pod, init)
    ):
        return "Pending"
    if any("waiting" in s["state"] and not s["lastState"] for s in mains):
        return "Pending"
    if any("running" in s["state"] for s in mains):
        return "Running"
    return "Failed" if any(_exit(s) for s in mains) else "Succeeded"


def _once(pod: Object, init: list[Object]) -> list[Object]:
    """The statuses of those init containers that run to an end."""
    sidecars = {c["name"] for c in pods.init_containers(pod) if pods.is_sidecar(c)}
    return [s for s in init if s["name"] not in sidecars]


def _exit(s: Object) -> int:
    """The last exit code of a container that is not running; 0 where there is none."""
    ended = (
        s["state"].get("terminated") or ("waiting" in s["state"] and s["lastState"].get("terminated")) or {}
    )
    return int(ended.get("exitCode", 0))


def _container(k: Known, c: Object, *, initial: bool = False) -> Object:
    seen = k.observed.of(c["name"])
    old = _old(k.pod, c["name"])
    newest = seen[0] if seen else None
    probed = k.probes.get(newest.id, Probed()) if newest else Probed()
    running = newest is not None and newest.state == "running"
    once = initial and not pods.is_sidecar(c)
    found: Object = {
        "name": c["name"],
        "state": _state(k, c, newest, once),
        "lastState": {},
        "ready": (running and probed.ready and probed.started) if not once else _succeeded(newest),
        "started": running and probed.started,
        "restartCount": newest.attempt if newest else old.get("restartCount", 0),
        "image": (newest.image if newest else "") or c.get("image", ""),
        "imageID": newest.image_ref if newest else old.get("imageID", ""),
    }
    if newest:
        found["containerID"] = f"{k.runtime}://{newest.id}"
    last = _last(k, found["state"], seen)
    if last:
        found["lastState"] = {"terminated": _terminated(k, last)}
    elif not newest and (
        before := old.get("state", {}).get("terminated") or old.get("lastState", {}).get("terminated")
    ):
        found["lastState"] = {"terminated": before}
    return found | _extras(k, c, newest if running else None)


def _succeeded(newest: Container | None) -> bool:
    return newest is not None and newest.state == "exited" and newest.exit_code == 0


def _old(pod: Object, name: str) -> Object:
    known = pod.get("status") or {}
    for field_name in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for s in known.get(field_name) or ():
            if s["name"] == name:
                return dict(s)
    return {}


def _state(k: Known, c: Object, newest: Container | None, once: bool) -> Object:
    why = k.waiting.get(c["name"])
    if newest and newest.state == "running":
        return {"running": {"startedAt": times.time(newest.started)}}
    if newest and newest.state == "exited" and (k.ended or not why):
        return {"terminated": _terminated(k, newest)}
    if k.ended and not newest:
        old = _old(k.pod, c["name"]).get("state", {})
        if "terminated" in old:
            return dict(old)
        if "running" in old:
            return {"terminated": _unknown()}
    if newest and newest.state == "unknown":
        return {"terminated": _unknown()}
    reason, message = why or (_begins(k, once), "")
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def _begins(k: Known, once: bool) -> str:
    waits = not once and bool(pods.init_containers(k.pod)) and not _all_initialized(k)
    return "PodInitializing" if waits or once else "ContainerCreating"


def _all_initialized(k: Known) -> bool:
    return all(
        (seen := k.observed.latest(c["name"])) is not None
        and (seen.state == "running" if pods.is_sidecar(c) else _succeeded(seen))
        for c in pods.init_containers(k.pod)
    )


def _unknown() -> Object:
    return {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": LOST,
        "startedAt": None,
        "finishedAt": None,
    }


def _last(k: Known, state: Object, seen: list[Container]) -> Container | None:
    """The container that ended before: the newest one itself where it waits to be started again."""
    ended = [c for c in seen if c.state == "exited"]
    if "terminated" in state:
        ended = ended[1:]
    return ended[0] if ended else None


def _terminated(k: Known, c: Container) -> Object:
    message = k.messages.get(c.id, c.message)
    return {
        "exitCode": c.exit_code,
        "reason": c.reason or ("Completed" if c.exit_code == 0 else "Error"),
        **({"message": message} if message else {}),
        "startedAt": times.time(c.started) if c.started else None,
        "finishedAt": times.time(c.finished) if c.finished else None,
        "containerID": f"{k.runtime}://{c.id}",
    }


def _extras(k: Known, c: Object, running: Container | None) -> Object:
    """What the container was given: its resources, mounts and user. Until a resize is done, those before it."""
    found: Object = {}
    given = c.get("resources") or {}
    before = _old(k.pod, c["name"]) if c["name"] in k.resizing.unsettled else {}
    allocated = given.get("requests")
    if k.resizing.pending and before:
        allocated = before.get("allocatedResources")
    if running and allocated:
        found["allocatedResources"] = allocated
    if running:
        held = before.get("resources") or given
        found["resources"] = {k: v for k, v in held.items() if k in ("limits", "requests")}
    if mounts := c.get("volumeMounts"):
        found["volumeMounts"] = [_mount(m) for m in mounts]
    if running and running.user:
        uid, gid, groups = running.user
        found["user"] = {"linux": {"uid": uid, "gid": gid, "supplementalGroups": list(groups)}}
    return found


def _mount(m: Object) -> Object:
    read_only = {"readOnly": True, "recursiveReadOnly": "Disabled"} if m.get("readOnly") else {}
    return {"name": m["name"], "mountPath": m["mountPath"], **read_only}


def _conditions(k: Known, found: Object, init: list[Object], mains: list[Object]) -> list[Object]:
    sandbox = k.observed.sandbox
    created = sandbox is not None and not k.ended and (bool(sandbox.ips) or pods.is_host_network(k.pod))
    ready, why, text = _containers_ready(k, found["phase"], init, mains)
    gate, gate_why, gate_text = _gates(k.pod, ready, why, text)
    evicted = k.end[0] == EVICTED
    return [
        *([_condition(k, "DisruptionTarget", True, "TerminationByKubelet", k.end[1])] if evicted else ()),
        _condition(k, "PodReadyToStartContainers", created),
        _condition(k, "Initialized", *_initialized(k, found["phase"], init)),
        _condition(k, "Ready", gate, gate_why, gate_text),
        _condition(k, "ContainersReady", ready, why, text),
        _condition(k, "PodScheduled", True),
        *_resizing(k),
    ]


def _resizing(k: Known) -> list[Object]:
    found = []
    if k.resizing.pending:
        found.append(_condition(k, "PodResizePending", True, *k.resizing.pending))
    if k.resizing.active:
        why = ("Error", k.resizing.error) if k.resizing.error else ("", "")
        found.append(_condition(k, "PodResizeInProgress", True, *why))
    return found


def _condition(k: Known, kind: str, holds: bool, reason: str = "", message: str = "") -> Object:
    value = "True" if holds else "False"
    old: Object = next(
        (c for c in (k.pod.get("status") or {}).get("conditions") or () if c["type"] == kind), {}
    )
    since = old.get("lastTransitionTime") if old.get("status") == value else None
    made: Object = {"type": kind, "status": value, "lastTransitionTime": since or times.time(k.now)}
    if generation := k.pod["metadata"].get("generation"):
        made["observedGeneration"] = generation
    return made | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})


def _initialized(k: Known, phase: str, init: list[Object]) -> tuple[bool, str, str]:
    sidecars = {c["name"] for c in pods.init_containers(k.pod) if pods.is_sidecar(c)}
    late = [s["name"] for s in init if not (s["started"] if s["name"] in sidecars else s["ready"])]
    if phase == "Succeeded":
        return True, "PodCompleted", ""
    begun = any("waiting" not in s["state"] or s["lastState"] for s in found_mains(k))
    if late and not (begun and all(name in sidecars for name in late)):
        return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(late)}]"
    return True, "", ""


def found_mains(k: Known) -> list[Object]:
    return [_container(k, c) for c in pods.main_containers(k.pod)]


def _containers_ready(k: Known, phase: str, init: list[Object], mains: list[Object]) -> tuple[bool, str, str]:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    sidecars = {c["name"] for c in pods.init_containers(k.pod) if pods.is_sidecar(c)}
    considered = [s for s in init if s["name"] in sidecars] + [
        _by_name(mains, c) for c in pods.main_containers(k.pod)
    ]
    late = [s["name"] for s in considered if not s["ready"]]
    if late:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(late)}]"
    return True, "", ""


def _by_name(statuses: list[Object], c: Object) -> Object:
    return next(s for s in statuses if s["name"] == c["name"])


def _gates(pod: Object, ready: bool, why: str, text: str) -> tuple[bool, str, str]:
    """Readiness gates: conditions that others set, which must be True as well (KEP-580)."""
    if not ready:
        return ready, why, text
    held = {c["type"]: c["status"] for c in (pod.get("status") or {}).get("conditions") or ()}
    faults = []
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        if kind not in held:
            faults.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif held[kind] != "True":
            faults.append(f'the status of pod readiness gate "{kind}" is not "True", but {held[kind]}')
    return (False, "ReadinessGatesNotReady", ", ".join(faults)) if faults else (True, "", "")


MERGED = {"podIPs", "hostIPs"}
# Conditions that go when what they tell of is over.
PASSING = ("PodResizePending", "PodResizeInProgress")


def difference(old: Object, new: Object) -> Object:
    """The strategic merge patch that takes a pod's status from `old` to `new`; empty where nothing changes.

    Conditions that others set stay.
    """
    patch: Object = {}
    for name, value in new.items():
        if name == "conditions":
            before = {c["type"]: c for c in old.get("conditions") or ()}
            late = [_replaced(before.get(c["type"]), c) for c in value if before.get(c["type"]) != c]
            now = {c["type"] for c in value}
            late += [{"type": t, "$patch": "delete"} for t in PASSING if t in before and t not in now]
            if late:
                patch[name] = late
        elif old.get(name) != value:
            # Lists that are merged by key are replaced as a whole, where there is something to replace.
            patch[name] = [{"$patch": "replace"}, *value] if name in MERGED and old.get(name) else value
    for name in ("reason", "message", "podIP", "podIPs"):
        if name in old and name not in new:
            patch[name] = None
    return patch


def _replaced(old: Object | None, new: Object) -> dict[str, Any]:
    """The new condition, with explicit nulls for what it no longer says."""
    return {**{k: None for k in old or {} if k not in new}, **new}
