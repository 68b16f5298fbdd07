"""Questions about pods, and conditions."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery import conditions, pods


def container(name: str = "a", limits: Any = None, policy: str = "", **requests: str) -> Any:
    found: dict[str, Any] = {"name": name, "resources": {"requests": requests, "limits": limits or {}}}
    return {**found, "restartPolicy": policy} if policy else found


def requests(**spec: Any) -> dict[str, str]:
    return {k: str(v) for k, v in pods.requests({"spec": spec}).items()}


def test_requests_of_containers_add_up() -> None:
    found = requests(containers=[container(cpu="100m", memory="1Gi"), container("b", cpu="200m")])
    assert found == {"cpu": "300m", "memory": "1Gi"}


def test_an_init_container_runs_alone_but_beside_earlier_sidecars() -> None:
    assert requests(containers=[container(cpu="1")], initContainers=[container("i", cpu="3")]) == {"cpu": "3"}
    sidecar = container("s", policy="Always", cpu="500m")
    assert requests(containers=[container(cpu="1")], initContainers=[sidecar, container("i", cpu="2")]) == {
        "cpu": "2500m"
    }
    assert requests(containers=[container(cpu="1")], initContainers=[container("i", cpu="1"), sidecar]) == {
        "cpu": "1500m"
    }


def test_overhead_and_amounts_for_the_whole_pod() -> None:
    assert requests(containers=[container(cpu="1")], overhead={"cpu": "100m"}) == {"cpu": "1100m"}
    whole = {"requests": {"cpu": "2"}}
    assert requests(containers=[container(cpu="1", memory="1Gi")], resources=whole) == {
        "cpu": "2",
        "memory": "1Gi",
    }


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([container()], "BestEffort"),
        ([container(cpu="1")], "Burstable"),
        ([container(limits={"cpu": "1", "memory": "1Gi"}, cpu="1", memory="1Gi")], "Guaranteed"),
        ([container(limits={"cpu": "1", "memory": "1Gi"})], "Guaranteed"),
        ([container(limits={"cpu": "1", "memory": "1Gi"}, cpu="500m", memory="1Gi")], "Burstable"),
        ([container(limits={"cpu": "1", "memory": "1Gi"}), container("b")], "Burstable"),
    ],
)
def test_quality_of_service(containers: list[Any], expected: str) -> None:
    assert pods.qos({"spec": {"containers": containers}}) == expected


def test_states() -> None:
    running = {
        "metadata": {},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert pods.is_ready(running)
    assert pods.is_active(running)
    assert not pods.is_active({**running, "metadata": {"deletionTimestamp": "x"}})
    assert pods.is_terminated({"status": {"phase": "Failed"}})


def test_a_condition_changes_its_time_only_with_its_status() -> None:
    first = conditions.with_condition([], "Ready", False, reason="New", now=0)
    same = conditions.with_condition(first, "Ready", False, reason="Waiting", now=60)
    other = conditions.with_condition(same, "Ready", True, now=120)
    assert [c[0]["lastTransitionTime"][14:19] for c in (first, same, other)] == ["00:00", "00:00", "02:00"]
    assert same[0]["reason"] == "Waiting"
    assert first[0]["reason"] == "New"
    assert conditions.without(other, "Ready") == []
