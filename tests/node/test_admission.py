"""Which pods a node refuses, and with what words."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.objects import Object
from sampan.node.admission import refusal

NODE: Object = {
    "metadata": {"name": "n", "labels": {"disk": "ssd"}},
    "spec": {"taints": [{"key": "full", "effect": "NoSchedule"}, {"key": "down", "effect": "NoExecute"}]},
    "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3", "example.com/gpu": "1"}},
}
BORNE = [{"key": "down", "operator": "Exists"}]


def pod(*, ports: list[Object] | None = None, requests: dict[str, str] | None = None, **spec: Any) -> Object:
    container = {"name": "main", "ports": ports or [], "resources": {"requests": requests or {}}}
    return {"spec": {"containers": [container], "tolerations": BORNE, **spec}}


def test_what_fits_is_taken() -> None:
    wanted = pod(requests={"cpu": "1", "example.com/gpu": "1"}, nodeSelector={"disk": "ssd"})
    assert refusal(wanted, [pod(requests={"cpu": "1"})], NODE) is None


def test_extended_resources_that_the_node_does_not_know_are_somebody_elses() -> None:
    assert refusal(pod(requests={"example.com/license": "7"}), [], NODE) is None


@pytest.mark.parametrize(
    ("wanted", "others", "reason", "message"),
    [
        (
            pod(requests={"cpu": "1500m"}),
            [pod(requests={"cpu": "600m"})],
            "OutOfcpu",
            "Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000",
        ),
        (
            pod(),
            [pod(), pod(), pod()],
            "OutOfpods",
            "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
        ),
        (
            pod(requests={"example.com/gpu": "2"}),
            [],
            "OutOfexample.com/gpu",
            "Node didn't have enough resource: example.com/gpu, requested: 2, used: 0, capacity: 1",
        ),
        (
            pod(nodeSelector={"disk": "hdd"}),
            [],
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (
            pod(ports=[{"hostPort": 80, "hostIP": "10.0.0.1"}]),
            [pod(ports=[{"hostPort": 80}])],
            "NodePorts",
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        ),
        (
            pod(tolerations=[]),
            [],
            "TaintToleration",
            "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
        ),
        (
            pod(securityContext={"sysctls": [{"name": "kernel/msgmax", "value": "1"}]}),
            [],
            "SysctlForbidden",
            'forbidden sysctl: "kernel.msgmax" not allowlisted',
        ),
        (
            pod(os={"name": "windows"}),
            [],
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    wanted: Object, others: list[Object], reason: str, message: str
) -> None:
    assert refusal(wanted, others, NODE) == (reason, message)


def test_ports_of_different_protocols_or_addresses_do_not_clash() -> None:
    other = pod(ports=[{"hostPort": 80, "hostIP": "10.0.0.1"}])
    assert refusal(pod(ports=[{"hostPort": 80, "hostIP": "10.0.0.2"}]), [other], NODE) is None
    assert refusal(pod(ports=[{"hostPort": 80, "protocol": "UDP"}]), [other], NODE) is None
