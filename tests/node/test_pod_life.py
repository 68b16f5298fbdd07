"""The life of pods, from creation to the last trace, on a real API server and a fake runtime."""

from __future__ import annotations

import asyncio

from tests.node.nodes import Cluster, condition, phase, pod, ready


async def test_a_pod_runs_and_is_reported_as_kubectl_expects(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.create(pod("web", {"name": "main"}))
    found = await cluster.until("web", ready)
    status = found["status"]
    assert status["phase"] == "Running"
    assert status["podIP"] == "10.0.0.2"
    assert status["podIPs"] == [{"ip": "10.0.0.2"}]
    assert status["hostIP"] == "127.0.0.1"
    assert status["qosClass"] == "BestEffort"
    main = status["containerStatuses"][0]
    assert main["ready"]
    assert main["started"]
    assert main["restartCount"] == 0
    assert main["containerID"].startswith("fake://container")
    assert "running" in main["state"]
    for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"):
        assert condition(found, kind) == "True"


async def test_a_deleted_pod_leaves_nothing(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.create(pod("web", {"name": "main"}))
    await cluster.until("web", ready)
    await cluster.admin.delete("pods", "web", "default")
    await cluster.gone("web")
    assert not cluster.cri.containers
    assert not cluster.cri.sandboxes
    assert not list((cluster.root / "pods").iterdir())
    assert not list((cluster.root / "logs").iterdir())


async def test_a_pod_that_ends_succeeds_and_keeps_its_container_for_logs(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.create(pod("job", {"name": "main"}, restartPolicy="Never"))
    await cluster.until("job", ready)
    cluster.cri.exit("main", 0)
    found = await cluster.until("job", phase("Succeeded"))
    ended = found["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed")
    assert condition(found, "Ready") == "False"
    await cluster.cri.until(lambda: all(s.state == 1 for s in cluster.cri.sandboxes.values()))
    assert len(cluster.cri.named("main")) == 1
    await asyncio.sleep(0)


async def test_a_runtime_that_tells_no_events_is_looked_at(cluster: Cluster) -> None:
    cluster.cri.silent = True
    await cluster.start()
    await cluster.create(pod("job", {"name": "main"}, restartPolicy="Never"))
    await cluster.until("job", ready)
    cluster.cri.exit("main", 0)
    await cluster.until("job", phase("Succeeded"))
