"""Pods that are resized while they run: what the runtime is told, and what the pod's status says meanwhile."""

from __future__ import annotations

from tests.node.nodes import Cluster, condition, pod, ready

from sampan.machinery.cri import CriError
from sampan.machinery.objects import Object

RESTART = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]


def _resources(cpu: str = "100m", memory: str = "64Mi") -> Object:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


async def _resize(cluster: Cluster, **amounts: str) -> None:
    patch = {"spec": {"containers": [{"name": "main", "resources": _resources(**amounts)}]}}
    await cluster.admin.patch("pods", "web", "default", patch, type="strategic", subresource="resize")


def _given(found: Object) -> Object:
    held: Object = found["status"]["containerStatuses"][0].get("resources", {}).get("limits", {})
    return held


def _settled(found: Object) -> bool:
    return ready(found) and not condition(found, "PodResizeInProgress")


async def test_a_container_gets_more_without_a_restart(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.create(pod("web", {"name": "main", "resources": _resources()}))
    await cluster.until("web", ready)
    await _resize(cluster, cpu="200m", memory="128Mi")
    found = await cluster.until("web", lambda p: _given(p).get("cpu") == "200m" and _settled(p))
    assert _given(found) == {"cpu": "200m", "memory": "128Mi"}
    status = found["status"]["containerStatuses"][0]
    assert status["allocatedResources"] == {"cpu": "200m", "memory": "128Mi"}
    assert status["restartCount"] == 0
    [container] = cluster.cri.containers.values()
    held = container.resources.linux
    assert (held.cpu_quota, held.memory_limit_in_bytes) == (20000, 128 << 20)
    await cluster.told("web", "ResizeCompleted")


async def test_a_container_whose_policy_says_so_is_restarted(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.create(pod("web", {"name": "main", "resources": _resources(), "resizePolicy": RESTART}))
    await cluster.until("web", ready)
    await _resize(cluster, memory="128Mi")
    found = await cluster.until(
        "web", lambda p: _given(p).get("memory") == "128Mi" and _settled(p) and _restarts(p) == 1
    )
    assert cluster.cri.named("main")[-1].resources.linux.memory_limit_in_bytes == 128 << 20
    assert not condition(found, "PodResizePending")


def _restarts(found: Object) -> int:
    return int(found["status"]["containerStatuses"][0]["restartCount"])


async def test_a_pod_waits_for_room_that_another_has(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.create(pod("web", {"name": "main", "resources": _resources()}))
    await cluster.until("web", ready)
    node = await cluster.admin.get("nodes", "node-1")
    whole = int(node["status"]["allocatable"]["cpu"])
    await cluster.create(pod("big", {"name": "main", "resources": _resources(cpu=f"{whole * 1000 - 300}m")}))
    await cluster.until("big", ready)
    await _resize(cluster, cpu="500m")
    found = await cluster.until("web", lambda p: condition(p, "PodResizePending") == "True")
    [said] = [c for c in found["status"]["conditions"] if c["type"] == "PodResizePending"]
    assert said["reason"] == "Deferred"
    assert said["message"].startswith("Node didn't have enough resource: cpu, requested: 500, used:")
    assert _given(found)["cpu"] == "100m"
    await cluster.admin.delete("pods", "big", "default")
    await cluster.gone("big")
    found = await cluster.until("web", lambda p: _given(p).get("cpu") == "500m" and _settled(p))
    assert not condition(found, "PodResizePending")


async def test_what_the_runtime_refuses_is_told_and_tried_again(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.create(pod("web", {"name": "main", "resources": _resources()}))
    await cluster.until("web", ready)
    cluster.cri.fail["UpdateContainerResources"] = CriError("INTERNAL", "no such cgroup")
    await _resize(cluster, cpu="200m")
    found = await cluster.until(
        "web", lambda p: condition(p, "PodResizeInProgress") == "True" and _error(p) != ""
    )
    assert "no such cgroup" in _error(found)
    del cluster.cri.fail["UpdateContainerResources"]
    await cluster.until("web", lambda p: _given(p).get("cpu") == "200m" and _settled(p))


def _error(found: Object) -> str:
    said = [c for c in found["status"]["conditions"] if c["type"] == "PodResizeInProgress"]
    return str(said[0].get("message", "")) if said else ""
