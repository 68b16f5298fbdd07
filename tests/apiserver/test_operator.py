"""An operator as users write them, in Go on controller-runtime, built from its modules: a custom kind, owned objects,
status, leader election, and webhooks that fill in and refuse.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver.conftest import Cluster
from tests.apiserver.custom.boats import GROUP, boat, definition
from tests.apiserver.custom.test_definitions import BOATS, define, refused

from sampan.client.api import ApiError
from sampan.machinery.objects import Object, get

pytestmark = pytest.mark.campaign
SOURCE = Path(__file__).parent / "operator"
PATH = f"{GROUP.replace('.', '-')}-v1-boat"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("operator") / "operator"
    subprocess.run(["go", "build", "-o", found, "."], cwd=SOURCE, check=True)
    return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
async def operator(cluster: Cluster, program: Path) -> AsyncIterator[None]:
    """The operator, running against the cluster as its administrator, with its webhooks configured."""
    await define(cluster, definition())
    port, certificates = free_port(), cluster.directory / "certificates"
    certificates.mkdir()
    pair = cluster.pki.server("operator", ["127.0.0.1"])
    for name in ("tls.crt", "tls.key"):
        shutil.copy(pair, certificates / name)
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig()),
        "WEBHOOK_PORT": str(port),
        "CERT_DIR": str(certificates),
    }
    with (cluster.directory / "operator.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, env=environment, stdout=log, stderr=log)
    async with asyncio.timeout(60):
        await listening(port)
    for kind, verb in (("Mutating", "mutate"), ("Validating", "validate")):
        await configure(cluster, kind, f"https://127.0.0.1:{port}/{verb}-{PATH}")
    yield
    process.terminate()
    await process.wait()


async def listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return


async def configure(cluster: Cluster, kind: str, url: str) -> None:
    rule = {"operations": ["*"], "apiGroups": [GROUP], "apiVersions": ["v1"], "resources": ["boats"]}
    hook = {
        "name": f"{kind.lower()}.boats.example.com",
        "clientConfig": {"url": url, "caBundle": base64.b64encode(cluster.pki.ca.read_bytes()).decode()},
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    obj = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": "boats"},
        "webhooks": [hook],
    }
    await cluster.admin.create(f"{kind.lower()}webhookconfigurations.admissionregistration.k8s.io", obj)


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """What `look` finds, once it finds something."""
    async with asyncio.timeout(60):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.1)


async def test_an_operator_does_its_work(cluster: Cluster, operator: None) -> None:
    async def found(kind: str, name: str) -> Object | None:
        try:
            return await cluster.admin.get(kind, name, "default")
        except ApiError:
            return None

    async def afloat() -> Object | None:
        now = await found(BOATS, "tern")
        return now if now and get(now, "status.afloat") else None

    made = await cluster.admin.create(BOATS, boat())
    assert made["spec"]["title"] == "nameless"
    floating = await until(afloat)
    assert floating["metadata"]["finalizers"] == ["fleet.example.com/anchor"]
    log = await until(lambda: found("configmaps", "tern-log"))
    assert log["data"] == {"title": "nameless"}
    assert log["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    said = await refused(cluster.admin.create(BOATS, boat("second", title="titanic")))
    assert said == 'admission webhook "validating.boats.example.com" denied the request: no second titanic'
    await cluster.admin.delete(BOATS, "tern", "default")

    async def gone() -> bool:
        return await found(BOATS, "tern") is None

    await until(gone)
