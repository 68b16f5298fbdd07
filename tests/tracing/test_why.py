"""What `sampan why` says: an object on the left, the words on the right."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.objects import Object
from sampan.tracing.why import Around, explain


def pod(status: dict[str, Any], node: str = "sampan") -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "web"}, "spec": {"nodeName": node}, "status": status}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {
        "containerStatuses": [
            {"name": "web", "state": {"waiting": {"reason": reason, "message": message}}, **more}
        ]
    }


CRASHED = {"terminated": {"exitCode": 3, "reason": "Error"}}


@pytest.mark.parametrize(
    ("obj", "says"),
    [
        (
            pod(
                {
                    "conditions": [
                        {
                            "type": "PodScheduled",
                            "status": "False",
                            "message": "0/1 nodes: 1 Insufficient cpu.",
                        }
                    ]
                },
                "",
            ),
            "It has no node yet: 0/1 nodes: 1 Insufficient cpu.",
        ),
        (pod(waiting("ImagePullBackOff", "not found")), "Container web waits: ImagePullBackOff: not found."),
        (
            pod(waiting("CrashLoopBackOff", restartCount=4, lastState=CRASHED)),
            "Container web restarted 4 times; before, it failed with exit code 3.",
        ),
        (
            pod({"containerStatuses": [{"name": "web", "ready": False, "state": {"running": {}}}]}),
            "Container web runs, but its readiness probe has not succeeded.",
        ),
    ],
)
def test_a_pod(obj: dict[str, Any], says: str) -> None:
    assert says in explain(Around(obj, "Pod"))


def test_a_deployment_speaks_of_the_pods_that_keep_it_back() -> None:
    deployment = {
        "metadata": {"name": "web", "generation": 2},
        "spec": {"replicas": 2},
        "status": {"readyReplicas": 1},
    }
    said = explain(Around(deployment, "Deployment", owned=[pod(waiting("ErrImagePull"))]))
    assert said[0] == "It wants 2 replicas; 1 are ready, 1 up to date."
    assert "Its controller has not yet seen the last change." in said
    assert any(s.startswith("Pod web: ") and "ErrImagePull" in s for s in said)


def test_a_deletion_and_the_last_warning_of_each_reason_are_told() -> None:
    meta = {"name": "x", "deletionTimestamp": "2026-11-23T10:00:00Z", "finalizers": ["example.org/hold"]}
    events: list[Object] = [
        {"type": "Warning", "reason": "FailedMount", "message": "first", "count": 1},
        {"type": "Warning", "reason": "FailedMount", "message": "second", "count": 3},
        {"type": "Normal", "reason": "Pulled", "message": "pulled"},
    ]
    said = explain(Around({"metadata": meta}, "Widget", events=events))
    assert said == [
        "It is being deleted since 2026-11-23T10:00:00Z; it waits for example.org/hold to let it go.",
        "Event FailedMount (3 times): second",
    ]
