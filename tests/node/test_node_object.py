"""The node in the API: registered, ready, renewed."""

from __future__ import annotations

import asyncio

from tests.node.nodes import Cluster, condition

from sampan.machinery.cri import CriError
from sampan.machinery.objects import Object
from sampan.node import node_object
from sampan.node.machine import Machine, Pressure


async def node_until(cluster: Cluster, value: str) -> Object:
    async with asyncio.timeout(15):
        async for change in cluster.admin.watch("nodes"):
            if change.type in ("ADDED", "MODIFIED") and condition(change.object, "Ready") == value:
                return change.object
    raise AssertionError


async def test_a_node_registers_itself_and_becomes_ready(cluster: Cluster) -> None:
    await cluster.start(pod_cidr="10.64.3.0/24", labels={"zone": "a"})
    found = await node_until(cluster, "True")
    assert found["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
    assert found["metadata"]["labels"]["zone"] == "a"
    assert found["spec"]["podCIDR"] == "10.64.3.0/24"
    assert found["status"]["nodeInfo"]["containerRuntimeVersion"] == "fake://1"
    assert found["status"]["capacity"]["pods"] == "110"
    assert {c["type"] for c in found["status"]["conditions"]} == {
        "Ready",
        "MemoryPressure",
        "DiskPressure",
        "PIDPressure",
    }
    async with asyncio.timeout(5):
        async for change in cluster.admin.watch("leases.coordination.k8s.io", "kube-node-lease"):
            if change.type == "ADDED":
                assert change.object["spec"]["holderIdentity"] == "node-1"
                break


async def test_a_runtime_that_does_not_answer_makes_the_node_not_ready(cluster: Cluster) -> None:
    cluster.cri.fail["Status"] = CriError("UNAVAILABLE", "no such socket")
    await cluster.start()
    found = await node_until(cluster, "False")
    ready = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "KubeletNotReady"
    assert "no such socket" in ready["message"]


MACHINE = Machine(2, 8 << 30, 100 << 30, "m", "s", "b", "6.1", "Debian", "amd64")
ME = node_object.Self(name="n", address="192.0.2.1", port=10250, machine=MACHINE, runtime="sampan://1")
WELL = Pressure(memory=4 << 30, disk=0.5, inodes=0.9, pids=0.9)


def test_a_status_is_written_only_when_it_says_something_new() -> None:
    first = node_object.status(ME, WELL, (), (), {}, 1000.0)
    later = node_object.status(ME, WELL, (), (), first, 1100.0)
    assert node_object.difference(first, later) == {}
    beat = node_object.status(ME, WELL, (), (), first, 1301.0)
    assert set(node_object.difference(first, beat)) == {"conditions"}
    assert [c["lastTransitionTime"] for c in beat["conditions"]] == [
        c["lastTransitionTime"] for c in first["conditions"]
    ]


def test_a_full_disk_is_told_honestly() -> None:
    full = node_object.conditions(Pressure(4 << 30, 0.05, 0.9, 0.9), (), {}, 1000.0)
    assert [(c["type"], c["status"]) for c in full] == [
        ("MemoryPressure", "False"), ("DiskPressure", "True"), ("PIDPressure", "False"), ("Ready", "True"),
    ]  # fmt: skip


def test_what_is_allocatable_is_less_than_the_capacity() -> None:
    assert node_object.capacity(MACHINE)["memory"] == f"{8 << 20}Ki"
    assert node_object.allocatable(MACHINE)["memory"] == f"{(8 << 20) - 102400}Ki"
