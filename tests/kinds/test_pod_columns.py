"""What `kubectl get pods` shows, one example for each state that users meet."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds import registry
from sampan.machinery import tables

NOW = 1_000_000.0
POD = registry.find("pods")


def status(
    name: str = "web", *, ready: bool = False, restarts: int = 0, last: str = "", **state: Any
) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "ready": ready, "restartCount": restarts, "state": state}
    if last:
        found["lastState"] = {"terminated": {"exitCode": 1, "finishedAt": last}}
    return found


def waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason}}


def ended(code: int, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, **({"reason": reason} if reason else {}), **more}}


RUNNING: dict[str, Any] = {"running": {"startedAt": "1970-01-01T00:00:00Z"}}
READY = {"type": "Ready", "status": "True"}
INITIALIZED = {"type": "Initialized", "status": "True"}


def pod(
    phase: str, *statuses: Any, init: Any = (), sidecars: Any = (), deleted: bool = False, **more: Any
) -> Any:
    found: dict[str, Any] = {
        "metadata": {"name": "web", "creationTimestamp": "1970-01-12T13:45:40Z"},
        "spec": {
            "containers": [{"name": s["name"]} for s in statuses] or [{"name": "web"}],
            "initContainers": [
                {"name": s["name"], **({"restartPolicy": "Always"} if s["name"] in sidecars else {})}
                for s in init
            ],
        },
        "status": {
            "phase": phase,
            "containerStatuses": list(statuses),
            "initContainerStatuses": list(init),
            **more,
        },
    }
    if deleted:
        found["metadata"]["deletionTimestamp"] = "1970-01-12T13:46:00Z"
    return found


def cells(obj: Any, *names: str) -> list[Any]:
    return [c.value(obj, NOW) for c in POD.columns if c.name in names]


@pytest.mark.parametrize(
    ("obj", "ready", "shown", "restarts"),
    [
        (pod("Pending"), "0/1", "Pending", "0"),
        (pod("Pending", status(**waiting("ContainerCreating"))), "0/1", "ContainerCreating", "0"),
        (pod("Running", status(ready=True, **RUNNING), conditions=[READY]), "1/1", "Running", "0"),
        (pod("Running", status(**RUNNING)), "0/1", "Running", "0"),
        (pod("Pending", status(**waiting("ImagePullBackOff"))), "0/1", "ImagePullBackOff", "0"),
        (
            pod("Running", status(restarts=3, last="1970-01-12T13:45:40Z", **waiting("CrashLoopBackOff"))),
            "0/1",
            "CrashLoopBackOff",
            "3 (60s ago)",
        ),
        (pod("Succeeded", status(**ended(0, "Completed"))), "0/1", "Completed", "0"),
        (pod("Failed", status(**ended(1, "Error"))), "0/1", "Error", "0"),
        (pod("Failed", status(**ended(137, signal=9))), "0/1", "Signal:9", "0"),
        (pod("Failed", status(**ended(3))), "0/1", "ExitCode:3", "0"),
        (pod("Failed", reason="Evicted"), "0/1", "Evicted", "0"),
        (pod("Running", status(ready=True, **RUNNING), deleted=True), "1/1", "Terminating", "0"),
        (pod("Succeeded", status(**ended(0, "Completed")), deleted=True), "0/1", "Completed", "0"),
        (pod("Running", status(**RUNNING), deleted=True, reason="NodeLost"), "0/1", "Unknown", "0"),
        (
            pod(
                "Running",
                status("a", **ended(0, "Completed")),
                status("b", ready=True, **RUNNING),
                conditions=[READY],
            ),
            "1/2",
            "Running",
            "0",
        ),
        (
            pod("Running", status("a", **ended(0, "Completed")), status("b", ready=True, **RUNNING)),
            "1/2",
            "NotReady",
            "0",
        ),
        (
            pod(
                "Pending",
                conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}],
            ),
            "0/1",
            "SchedulingGated",
            "0",
        ),
        (pod("Pending", init=[status("i", **RUNNING), status("j")]), "0/1", "Init:0/2", "0"),
        (pod("Pending", init=[status("i", **ended(0)), status("j", **RUNNING)]), "0/1", "Init:1/2", "0"),
        (pod("Pending", init=[status("i", restarts=2, **ended(1, "Error"))]), "0/1", "Init:Error", "2"),
        (
            pod("Pending", init=[status("i", **waiting("CrashLoopBackOff"))]),
            "0/1",
            "Init:CrashLoopBackOff",
            "0",
        ),
        (pod("Pending", init=[status("i", **ended(2))]), "0/1", "Init:ExitCode:2", "0"),
        (
            pod("Pending", status(**waiting("PodInitializing")), init=[status("i", **ended(0))]),
            "0/1",
            "PodInitializing",
            "0",
        ),
        (
            pod(
                "Running",
                status(ready=True, restarts=1, **RUNNING),
                init=[{**status("s", ready=True, restarts=2, **RUNNING), "started": True}],
                sidecars=["s"],
                conditions=[READY, INITIALIZED],
            ),
            "2/2",
            "Running",
            "3",
        ),
    ],
)
def test_ready_status_and_restarts(obj: Any, ready: str, shown: str, restarts: str) -> None:
    assert cells(obj, "Ready", "Status", "Restarts") == [ready, shown, restarts]


def test_the_wide_columns() -> None:
    obj = pod("Running", podIPs=[{"ip": "10.0.0.9"}], conditions=[{"type": "load.io/ok", "status": "True"}])
    obj["spec"] |= {
        "nodeName": "n1",
        "readinessGates": [{"conditionType": "load.io/ok"}, {"conditionType": "x.io/y"}],
    }
    assert cells(obj, "IP", "Node", "Nominated Node", "Readiness Gates") == [
        "10.0.0.9",
        "n1",
        "<none>",
        "1/2",
    ]


def test_a_table_of_pods() -> None:
    found = tables.table(POD.columns, [pod("Running")], NOW, metadata={"resourceVersion": "5"})
    assert [c["name"] for c in found["columnDefinitions"] if not c["priority"]] == [
        "Name", "Ready", "Status", "Restarts", "Age",
    ]  # fmt: skip
    assert found["rows"][0]["cells"][:5] == ["web", "0/1", "Running", "0", "60s"]
    assert found["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
