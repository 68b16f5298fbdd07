"""The columns of pods: ready, status, restarts and where it runs, as `kubectl get pods` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sampan.kinds.columns import AGE, NAME, NONE, at
from sampan.kinds.kind import Column
from sampan.machinery import times
from sampan.machinery.conditions import is_true
from sampan.machinery.objects import Object, get

_TERMINAL = ("Succeeded", "Failed")


@dataclass(slots=True)
class Summary:
    """What the containers of a pod come to; `restarted` is when one last did, as its time in the object."""

    status: str
    ready: int = 0
    total: int = 0
    restarts: int = 0
    restarted: str = ""

    def count(self, container: Object) -> None:
        """Add a container's restarts."""
        self.restarts += container.get("restartCount", 0)
        self.restarted = max(self.restarted, get(container, "lastState.terminated.finishedAt", ""))


def summary(pod: Object) -> Summary:
    """Sum up a pod's containers; init containers speak for it until they are done."""
    sidecars = {c["name"] for c in get(pod, "spec.initContainers", ()) if c.get("restartPolicy") == "Always"}
    found = Summary(_phase(pod), total=len(get(pod, "spec.containers", ())) + len(sidecars))
    initializing, restarted_sidecars = _init(pod, sidecars, found)
    if not initializing or is_true(pod, "Initialized"):
        found.restarts, found.restarted = restarted_sidecars.restarts, restarted_sidecars.restarted
        _containers(pod, found)
    if get(pod, "metadata.deletionTimestamp"):
        if get(pod, "status.reason") == "NodeLost":
            found.status = "Unknown"
        elif get(pod, "status.phase") not in _TERMINAL:
            found.status = "Terminating"
    return found


def _phase(pod: Object) -> str:
    for found in get(pod, "status.conditions", ()):
        if found.get("type") == "PodScheduled" and found.get("reason") == "SchedulingGated":
            return "SchedulingGated"
    return str(get(pod, "status.reason") or get(pod, "status.phase", ""))


def _init(pod: Object, sidecars: set[str], found: Summary) -> tuple[bool, Summary]:
    """Whether the pod still initializes, and the restarts of its sidecars; `found` gets its status then."""
    restarted = Summary("")
    for index, container in enumerate(get(pod, "status.initContainerStatuses", ())):
        found.count(container)
        sidecar = container.get("name") in sidecars
        if sidecar:
            restarted.count(container)
        ended = get(container, "state.terminated")
        waiting = get(container, "state.waiting.reason", "")
        if ended is not None and not ended.get("exitCode"):
            continue
        if sidecar and container.get("started"):
            found.ready += bool(container.get("ready"))
            continue
        if ended is not None:
            found.status = f"Init:{_end(ended)}"
        elif waiting and waiting != "PodInitializing":
            found.status = f"Init:{waiting}"
        else:
            found.status = f"Init:{index}/{len(get(pod, 'spec.initContainers', ()))}"
        return True, restarted
    return False, restarted


def _end(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _containers(pod: Object, found: Summary) -> None:
    """The last container that has something to say gives the status; one that runs beats one that completed."""
    running, failure = False, ""
    for container in reversed(get(pod, "status.containerStatuses", ())):
        found.count(container)
        waiting, ended = get(container, "state.waiting.reason", ""), get(container, "state.terminated")
        if waiting:
            found.status = waiting
        elif ended is not None:
            found.status = _end(ended)
            failure = found.status if ended.get("exitCode") else failure
        elif container.get("ready") and get(container, "state.running") is not None:
            running = True
            found.ready += 1
    if found.status == "Completed":
        if running and is_true(pod, "Ready"):
            found.status = "Running"
        elif failure:
            found.status = failure
        elif running:
            found.status = "NotReady"


def _ready(pod: Object, now: float) -> str:
    found = summary(pod)
    return f"{found.ready}/{found.total}"


def _restarts(pod: Object, now: float) -> str:
    found = summary(pod)
    if found.restarts and found.restarted:
        return f"{found.restarts} ({times.age(found.restarted, now)} ago)"
    return str(found.restarts)


def _ip(pod: Object, now: float) -> str:
    addresses: list[Any] = get(pod, "status.podIPs", [])
    return (addresses[0].get("ip") if addresses else "") or NONE


def _gates(pod: Object, now: float) -> str:
    gates = get(pod, "spec.readinessGates", ())
    return f"{sum(is_true(pod, g['conditionType']) for g in gates)}/{len(gates)}" if gates else NONE


COLUMNS = (
    NAME,
    Column("Ready", _ready, description="How many of its containers are ready."),
    Column("Status", lambda pod, now: summary(pod).status, description="What its containers come to."),
    Column(
        "Restarts", _restarts, description="How often its containers were restarted, and when the last was."
    ),
    AGE,
    Column("IP", _ip, wide=True, description="Its address in the pod network."),
    Column("Node", at("spec.nodeName", NONE), wide=True, description="The node it is bound to."),
    Column("Nominated Node", at("status.nominatedNodeName", NONE), wide=True),
    Column("Readiness Gates", _gates, wide=True, description="How many of its readiness gates hold."),
)
