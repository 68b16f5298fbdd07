"""Crashes, probes, hooks and ends, on a real API server and a fake runtime."""

from __future__ import annotations

import asyncio
import time

from tests.node.nodes import Cluster, condition, phase, pod, ready

from sampan.machinery.cri import CriError
from sampan.machinery.objects import Object

FAST = {"periodSeconds": 1, "timeoutSeconds": 1}


def waiting(reason: str, name: str = "main"):  # type: ignore[no-untyped-def]
    def holds(p: Object) -> bool:
        statuses = p.get("status", {}).get("containerStatuses") or []
        return any(
            s["name"] == name and s["state"].get("waiting", {}).get("reason") == reason for s in statuses
        )

    return holds


async def test_a_crash_is_restarted_at_once_and_then_backs_off(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.create(pod("web"))
    await cluster.until("web", ready)
    cluster.cri.exit("main", 1)
    await cluster.until(
        "web", lambda p: ready(p) and p["status"]["containerStatuses"][0]["restartCount"] == 1
    )
    cluster.cri.exit("main", 2)
    found = await cluster.until("web", waiting("CrashLoopBackOff"))
    main = found["status"]["containerStatuses"][0]
    assert main["state"]["waiting"]["message"].startswith(
        "back-off 10s restarting failed container=main pod=web_default("
    )
    assert main["lastState"]["terminated"]["exitCode"] == 2
    assert found["status"]["phase"] == "Running"
    assert not main["ready"]


async def test_init_containers_and_sidecars_come_first_and_sidecars_go_last(cluster: Cluster) -> None:
    await cluster.start()
    init = [
        {"name": "setup", "image": "busybox", "imagePullPolicy": "IfNotPresent"},
        {"name": "proxy", "image": "busybox", "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always"},
    ]
    await cluster.create(pod("web", {"name": "main"}, initContainers=init))
    await cluster.cri.until(lambda: cluster.cri.running() == ["setup"])
    found = await cluster.until("web", lambda p: bool(p["status"].get("initContainerStatuses")))
    assert found["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
    assert condition(found, "Initialized") == "False"
    cluster.cri.exit("setup")
    found = await cluster.until("web", ready)
    assert condition(found, "Initialized") == "True"
    await cluster.admin.delete("pods", "web", "default")
    await cluster.gone("web")
    ended = [r.container_id for m, r in cluster.cri.calls if m == "StopContainer"]
    created = [r.config.metadata.name for m, r in cluster.cri.calls if m == "CreateContainer"]
    assert created == ["setup", "proxy", "main"]
    assert ended == sorted(ended, reverse=True)  # main (the last made) before proxy


async def test_a_readiness_probe_decides_ready(cluster: Cluster) -> None:
    cluster.cri.exec_exit["check"] = 1
    await cluster.start()
    probe = {"exec": {"command": ["check"]}, **FAST}
    await cluster.create(pod("web", {"name": "main", "readinessProbe": probe}))
    found = await cluster.until(
        "web", lambda p: phase("Running")(p) and "running" in p["status"]["containerStatuses"][0]["state"]
    )
    assert condition(found, "Ready") == "False"
    assert await cluster.told("web", "Unhealthy") == "Readiness probe failed: said check"
    cluster.cri.exec_exit["check"] = 0
    await cluster.until("web", ready)


async def test_a_failing_liveness_probe_restarts_the_container(cluster: Cluster) -> None:
    cluster.cri.exec_exit["alive"] = 1
    await cluster.start()
    probe = {"exec": {"command": ["alive"]}, "failureThreshold": 1, **FAST}
    await cluster.create(pod("web", {"name": "main", "livenessProbe": probe}))
    await cluster.until(
        "web",
        lambda p: (
            bool(p["status"].get("containerStatuses"))
            and p["status"]["containerStatuses"][0]["restartCount"] == 1
        ),
    )
    await cluster.told("web", "Killing", "Container main failed liveness probe, will be restarted")


async def test_a_startup_probe_holds_the_others_back(cluster: Cluster) -> None:
    cluster.cri.exec_exit["begun"] = 1
    await cluster.start()
    container = {
        "name": "main",
        "startupProbe": {"exec": {"command": ["begun"]}, "failureThreshold": 30, **FAST},
        "livenessProbe": {"exec": {"command": ["alive"]}, **FAST},
    }
    await cluster.create(pod("web", container))
    found = await cluster.until(
        "web", lambda p: phase("Running")(p) and bool(p["status"]["containerStatuses"])
    )
    assert not found["status"]["containerStatuses"][0]["started"]
    assert "alive" not in [r.cmd[0] for m, r in cluster.cri.calls if m == "ExecSync"]
    cluster.cri.exec_exit["begun"] = 0
    found = await cluster.until("web", ready)
    assert found["status"]["containerStatuses"][0]["started"]


async def test_hooks_run_after_the_start_and_before_the_stop(cluster: Cluster) -> None:
    await cluster.start()
    hooks = {"postStart": {"exec": {"command": ["hello"]}}, "preStop": {"exec": {"command": ["bye"]}}}
    await cluster.create(pod("web", {"name": "main", "lifecycle": hooks}))
    await cluster.until("web", ready)
    await cluster.admin.delete("pods", "web", "default")
    await cluster.gone("web")
    steps = [
        r.cmd[0] if m == "ExecSync" else m
        for m, r in cluster.cri.calls
        if m in ("StartContainer", "StopContainer", "ExecSync")
    ]
    assert steps == ["StartContainer", "hello", "bye", "StopContainer"]


async def test_a_failed_post_start_hook_kills_the_container(cluster: Cluster) -> None:
    cluster.cri.exec_exit["hello"] = 1
    await cluster.start()
    await cluster.create(
        pod("web", {"name": "main", "lifecycle": {"postStart": {"exec": {"command": ["hello"]}}}})
    )
    await cluster.cri.until(lambda: "StopContainer" in cluster.cri.methods("StopContainer"))
    await cluster.until("web", waiting("PostStartHookError"))


async def test_a_stubborn_container_gets_its_grace_and_a_shorter_one_when_asked_again(
    cluster: Cluster,
) -> None:
    cluster.cri.stubborn = True
    await cluster.start()
    await cluster.create(pod("web", terminationGracePeriodSeconds=300))
    await cluster.until("web", ready)
    await cluster.admin.delete("pods", "web", "default")
    await cluster.cri.until(lambda: bool(cluster.cri.methods("StopContainer")))
    began = time.monotonic()
    await cluster.admin.delete("pods", "web", "default", grace=1)
    await cluster.gone("web")
    assert time.monotonic() - began < 60


async def test_an_image_that_does_not_exist_is_told_plainly(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.create(pod("web", {"name": "main", "image": "no/such:1"}))
    found = await cluster.until("web", waiting("ErrImagePull"))
    assert found["status"]["phase"] == "Pending"
    found = await cluster.until("web", waiting("ImagePullBackOff"))
    message = found["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
    assert (
        message
        == 'Back-off pulling image "no/such:1": ErrImagePull: failed to resolve image "no/such:1": not found'
    )
    await cluster.told("web", "BackOff", 'Back-off pulling image "no/such:1"')
    assert [r for r, _ in await cluster.events("web")].count("Pulling") == 1
    await cluster.admin.delete("pods", "web", "default")
    await cluster.gone("web")


async def test_never_pulled_and_missing_configuration(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.create(pod("never", {"name": "main", "image": "absent", "imagePullPolicy": "Never"}))
    await cluster.until("never", waiting("ErrImageNeverPull"))
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "k"}}}]
    await cluster.create(pod("needy", {"name": "main", "env": env}))
    found = await cluster.until("needy", waiting("CreateContainerConfigError"))
    assert (
        found["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
        == 'configmap "later" not found'
    )
    await cluster.admin.create(
        "configmaps",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "later", "namespace": "default"},
            "data": {"k": "v"},
        },
    )
    await cluster.until("needy", ready)


async def test_a_sandbox_that_cannot_be_made_is_tried_again(cluster: Cluster) -> None:
    cluster.cri.fail["RunPodSandbox"] = CriError("UNKNOWN", "no addresses left")
    await cluster.start()
    await cluster.create(pod("web"))
    await cluster.told(
        "web",
        "FailedCreatePodSandBox",
        "Failed to create pod sandbox: rpc error: code = Unknown desc = no addresses left",
    )
    cluster.cri.fail.clear()
    await cluster.until("web", ready)


async def test_a_deadline_fails_the_pod(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.create(pod("web", activeDeadlineSeconds=1))
    found = await cluster.until("web", phase("Failed"))
    assert found["status"]["reason"] == "DeadlineExceeded"
    await cluster.cri.until(lambda: not cluster.cri.running())


async def test_a_new_process_takes_up_what_the_old_one_left(cluster: Cluster) -> None:
    await cluster.start()
    for name in ("stays", "goes"):
        await cluster.create(pod(name, {"name": name}))
        await cluster.until(name, ready)
    await cluster.kill()
    await cluster.admin.delete("pods", "goes", "default", grace=0)
    cluster.cri.calls.clear()
    await cluster.start()
    await cluster.cri.until(lambda: cluster.cri.running() == ["stays"] and len(cluster.cri.sandboxes) == 1)
    assert not cluster.cri.methods("RunPodSandbox", "CreateContainer", "StartContainer")
    assert ready(await cluster.admin.get("pods", "stays", "default"))


async def test_a_process_killed_between_create_and_start_leaves_no_double(cluster: Cluster) -> None:
    cluster.cri.fail["StartContainer"] = CriError("UNAVAILABLE", "killed")
    await cluster.start()
    await cluster.create(pod("web"))
    await cluster.cri.until(lambda: bool(cluster.cri.named("main")))
    await cluster.kill()
    cluster.cri.fail.clear()
    await cluster.start()
    await cluster.until("web", ready)
    assert len(cluster.cri.named("main")) == 1


async def test_fifty_pods_at_once_become_ready(cluster: Cluster) -> None:
    await cluster.start()
    await asyncio.gather(*(cluster.create(pod(f"web-{i}")) for i in range(50)))
    await asyncio.gather(*(cluster.until(f"web-{i}", ready, 30) for i in range(50)))
    assert len(cluster.cri.running()) == 50
