"""The quality of service class of a pod."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.qos import qos


def container(name: str = "a", limits: Any = None, policy: str = "", **requests: str) -> Any:
    found: dict[str, Any] = {"name": name, "resources": {"requests": requests, "limits": limits or {}}}
    return {**found, "restartPolicy": policy} if policy else found


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
    assert qos({"spec": {"containers": containers}}) == expected
