"""`kubectl rollout` reads what the controllers write: the unmodified kubectl understands it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.controllers.running import cluster
from tests.controllers.simulation import workload

from sampan.host.pki import Pki
from sampan.http import server as http
from sampan.http.tls import server_context

KUBECTL = Path(__file__).parents[2] / ".venv" / "bin" / "kubectl"
Kubectl = Callable[..., Coroutine[None, None, str]]


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    """A cluster with one played node, and kubectl as its administrator; the standard output comes back."""
    pki = Pki(tmp_path / "pki")
    sock = http.listen("127.0.0.1", 0)
    url = f"https://127.0.0.1:{sock.getsockname()[1]}"
    pair = str(pki.client("admin", "kubernetes-admin", ("system:masters",)))
    config = tmp_path / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": str(pki.ca)}}],
                "users": [{"name": "u", "user": {"client-certificate": pair, "client-key": pair}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )

    async def run(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(config), "HOME": str(tmp_path)},
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, f"kubectl {' '.join(words)}: {err.decode()}{out.decode()}"
        return out.decode()

    async with cluster("n1") as c:
        tls = server_context(pki.server("apiserver", ["127.0.0.1"]), client_ca=pki.ca)
        server = await http.serve(c.api.handler, sockets=[sock], tls=tls)
        for kind in ("Deployment", "StatefulSet", "DaemonSet"):
            fields: dict[str, Any] = {"serviceName": "web"} if kind == "StatefulSet" else {}
            fields |= {} if kind == "DaemonSet" else {"replicas": 2}
            made = workload(kind, f"web-{kind.lower()}", **fields)
            await c.admin.create(f"{kind.lower()}s.apps", made)
        yield run
        await server.close(grace=0.2)


@pytest.mark.parametrize("kind", ["deployment", "statefulset", "daemonset"])
async def test_status_history_undo_and_restart(kubectl: Kubectl, kind: str) -> None:
    what = f"{kind}/web-{kind}"
    image = ("get", what, "-o", "jsonpath={.spec.template.spec.containers[0].image}")
    status = ("rollout", "status", what, "--timeout=30s")
    await kubectl(*status)
    await kubectl("set", "image", what, "main=v2")
    assert "success" in await kubectl(*status) or "complete" in await kubectl(*status)
    lines = (await kubectl("rollout", "history", what)).split("\n")
    assert [line.split()[0] for line in lines[2:] if line] == ["1", "2"]
    assert "v1" in await kubectl("rollout", "history", what, "--revision=1")
    await kubectl("rollout", "undo", what)
    await kubectl(*status)
    assert await kubectl(*image) == "v1"
    await kubectl("rollout", "restart", what)
    await kubectl(*status)


async def test_pause_and_resume(kubectl: Kubectl) -> None:
    what = "deployment/web-deployment"
    await kubectl("rollout", "status", what, "--timeout=30s")
    await kubectl("rollout", "pause", what)
    await kubectl("set", "image", what, "main=v2")
    await kubectl("wait", what, "--for=jsonpath={.status.observedGeneration}=3", "--timeout=30s")
    assert "updatedReplicas" not in await kubectl("get", what, "-o", "json")
    await kubectl("rollout", "resume", what)
    await kubectl("rollout", "status", what, "--timeout=30s")
    assert await kubectl("get", what, "-o", "jsonpath={.status.updatedReplicas}") == "2"


async def test_scale_and_wait(kubectl: Kubectl) -> None:
    what = "statefulset/web-statefulset"
    await kubectl("rollout", "status", what, "--timeout=30s")
    await kubectl("scale", what, "--replicas=3")
    await kubectl("wait", what, "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s")
    await kubectl("delete", what, "--timeout=30s")
    await kubectl("wait", "pod", "-l", "app=web-statefulset", "--for=delete", "--timeout=30s")
