"""The node on the real engine: real containers of busybox, under runc, each in its own namespaces."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.engine.running.running_pods import Loopback, busybox
from tests.node.nodes import Cluster, pod, ready

from sampan.engine.engine import Engine
from sampan.engine.images.store import ImageStore
from sampan.host import cgroups, mounts
from sampan.machinery.cri import CriError, messages
from sampan.node.grpc_cri import GrpcCri

pytestmark = pytest.mark.root


@pytest.fixture
async def real(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster whose node runs on an engine of its own."""
    store = ImageStore(tmp_path / "images")
    busybox(store)
    group = f"sampan-test-{secrets.token_hex(4)}"
    engine = Engine(
        root=tmp_path / "engine", run=tmp_path / "run", images=store, network=Loopback(), cgroup=group
    )
    await engine.start()
    cluster.cri = engine  # type: ignore[assignment]
    groups = cgroups.detect()
    await cluster.start(cgroup=group, cgroups=groups, streams=engine)
    yield cluster
    await cluster.kill()
    await engine.stop_all(grace=0)
    await engine.close()
    store.close()
    mounts.unmount_below(tmp_path)
    groups.kill(group)
    assert groups.remove(group)


# Ends at once on SIGTERM, which process 1 of a namespace would ignore.
IDLE = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


def sh(script: str, **more: Any) -> dict[str, Any]:
    return {"name": "main", "command": ["sh", "-c", script], **more}


async def output(cluster: Cluster, name: str) -> str:
    """What a pod that ended has printed, read as `kubectl logs` does."""
    from sampan.node.server import logs

    assert cluster.kubelet
    worker = cluster.kubelet.find("default", name)
    assert worker
    source = await logs.source(cluster.kubelet, worker, "main", False)
    return b"".join([piece async for piece in logs.read(source, logs.Options())]).decode()


def ended(p: dict[str, Any]) -> bool:
    return p.get("status", {}).get("phase") in ("Succeeded", "Failed")


async def test_a_pod_runs_and_leaves_nothing(real: Cluster) -> None:
    await real.create(pod("web", sh(IDLE)))
    found = await real.until("web", ready)
    assert found["status"]["containerStatuses"][0]["containerID"].startswith("sampan://")
    await real.admin.delete("pods", "web", "default")
    await real.gone("web")
    assert not mounts.below(real.root)


async def test_what_a_container_sees(real: Cluster) -> None:
    script = """hostname; id -u; id -g; grep web /etc/hosts; cat /etc/resolv.conf; echo "$GREETING"; cat /cfg/a
        echo done > /dev/termination-log"""
    await real.admin.create(
        "configmaps",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "c", "namespace": "default"},
            "data": {"a": "file\n"},
        },
    )
    main = sh(
        script,
        env=[{"name": "GREETING", "value": "hello"}],
        volumeMounts=[{"name": "cfg", "mountPath": "/cfg"}],
        securityContext={"runAsUser": 1000, "runAsGroup": 1000},
    )
    volumes = [{"name": "cfg", "configMap": {"name": "c"}}]
    await real.create(pod("web", main, restartPolicy="Never", volumes=volumes))
    found = await real.until("web", ended)
    lines = (await output(real, "web")).splitlines()
    assert found["status"]["phase"] == "Succeeded", lines
    assert found["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == "done\n"
    assert lines[:4] == ["web", "1000", "1000", "127.0.0.1\tweb"]
    assert "nameserver 10.65.0.10" in lines
    assert "search default.svc.cluster.local svc.cluster.local cluster.local" in [
        w.rstrip() for w in lines
    ] or any(line.startswith("search default.svc.cluster.local") for line in lines)
    assert lines[-2:] == ["hello", "file"]


async def test_exit_codes_and_restarts_are_real(real: Cluster) -> None:
    await real.create(pod("web", sh("sleep 0.1; exit 3"), restartPolicy="Never"))
    found = await real.until("web", ended)
    terminated = found["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (found["status"]["phase"], terminated["exitCode"], terminated["reason"]) == ("Failed", 3, "Error")


async def test_sigterm_comes_before_sigkill(real: Cluster) -> None:
    # It is ready once its trap is set: a SIGTERM before that is lost on the first process of a PID namespace.
    polite = sh(
        "trap 'echo bye; exit 0' TERM; touch /tmp/polite; while true; do sleep 0.05; done",
        readinessProbe={"exec": {"command": ["ls", "/tmp/polite"]}, "periodSeconds": 1},
    )
    await real.create(pod("web", polite, restartPolicy="Never", terminationGracePeriodSeconds=20))
    await real.until("web", ready)
    assert real.kubelet
    worker = real.kubelet.find("default", "web")
    assert worker
    path = Path(worker.observed.containers[0].log_path)
    handle = path.open()
    await real.admin.delete("pods", "web", "default")
    await real.gone("web")
    assert "bye" in handle.read()


async def test_probes_by_exec(real: Cluster) -> None:
    main = sh(
        "sleep 0.5; touch /tmp/ready; exec sleep 1000",
        readinessProbe={"exec": {"command": ["ls", "/tmp/ready"]}, "periodSeconds": 1},
        livenessProbe={"exec": {"command": ["true"]}, "periodSeconds": 1},
    )
    await real.create(pod("web", main))
    await real.until("web", ready)
    assert "Readiness probe failed" in await real.told("web", "Unhealthy")


async def test_a_new_process_finds_running_containers_untouched(real: Cluster) -> None:
    await real.create(pod("web", sh(IDLE)))
    before = await real.until("web", ready)
    await real.kill()
    await real.start(cgroups=cgroups.detect(), cgroup=real.cri.context.cgroup, streams=real.cri)  # type: ignore[attr-defined]
    await asyncio.sleep(0.5)
    after = await real.admin.get("pods", "web", "default")
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    assert ready(after)


async def test_pods_live_in_cgroups_of_their_class(real: Cluster) -> None:
    limits = {"cpu": "500m", "memory": "64Mi"}
    await real.create(pod("web", sh(IDLE, resources={"limits": limits, "requests": limits})))
    found = await real.until("web", ready)
    assert found["status"]["qosClass"] == "Guaranteed"
    groups = cgroups.detect()
    parent = f"/{real.cri.context.cgroup}/pod{found['metadata']['uid']}"  # type: ignore[attr-defined]
    assert groups.processes(parent)
    assert groups.usage(parent).memory_limit == 64 << 20
    await real.admin.delete("pods", "web", "default")
    await real.gone("web")
    assert not groups.exists(parent)


async def test_a_flood_of_pods(real: Cluster) -> None:
    await asyncio.gather(*(real.create(pod(f"web-{i}", sh("exec sleep 1000"))) for i in range(10)))
    await asyncio.gather(*(real.until(f"web-{i}", ready, 30) for i in range(10)))


async def test_the_same_over_grpc(real: Cluster) -> None:
    """The node as it runs beside containerd or CRI-O: everything through the runtime's socket."""
    engine: Any = real.cri
    serving = asyncio.create_task(engine.serve())
    socket = engine.context.run / "cri.sock"
    await real.kill()
    async with asyncio.timeout(10):
        while not socket.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    over = GrpcCri(socket)
    real.cri = over  # type: ignore[assignment]
    await real.start(cgroup=engine.context.cgroup)
    try:
        probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
        await real.create(pod("web", sh("echo hi; " + IDLE, readinessProbe=probe)))
        await real.until("web", ready)
        with pytest.raises(CriError) as e:
            await over.call("ContainerStatus", messages.ContainerStatusRequest(container_id="none"))
        assert e.value.code == "NOT_FOUND"
        await real.admin.delete("pods", "web", "default")
        await real.gone("web")
    finally:
        await real.kill()
        await over.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
