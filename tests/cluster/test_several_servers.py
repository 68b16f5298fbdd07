"""Several API servers over one etcd: what one writes the others read, and when one is killed the others go on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.store.etcd_server import EtcdServer, etcd

from sampan.apiserver.server import ApiServer
from sampan.apiserver.settings import Settings
from sampan.client import kubeconfig
from sampan.client.api import ApiError, Client, Unavailable
from sampan.machinery.objects import Object
from sampan.store import etcd as stores


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EtcdServer]:
    with etcd(tmp_path / "etcd") as made:
        yield made


class Running:
    """One `sampan run control`."""

    def __init__(self, directory: Path, name: str, *flags: str):
        state = directory / name
        words = ["run", "control", "--state", str(state), "--pki", str(directory / "pki"), *flags]
        self.kubeconfig = state / "admin.kubeconfig"
        self.log = directory / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "sampan.cli", *words], stderr=log)

    async def client(self) -> Client:
        """Once it serves."""
        async with asyncio.timeout(30):
            while True:
                assert self.process.poll() is None, self.log.read_text()
                try:
                    client: Client = kubeconfig.load(self.kubeconfig)
                    await client.get("namespaces", "default")
                    return client
                except (kubeconfig.KubeconfigError, Unavailable, ApiError, OSError):
                    await asyncio.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def running(directory: Path, store: EtcdServer, *flags: str) -> Iterator[list[Running]]:
    """Two servers with the same keys."""
    with ExitStack() as ends:
        made = [Running(directory, name, "--store", store.url, *flags) for name in ("one", "two")]
        for one in made:
            ends.callback(one.kill)
        yield made


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def config_map(name: str, value: str) -> Object:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"value": value}}


def deployment(name: str) -> Object:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod},
    }


async def eventually(check: Any, seconds: float = 40.0) -> None:
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 (what is waited for is in other processes)
            await asyncio.sleep(0.1)


async def pods(client: Client, app: str) -> int:
    return len((await client.list("pods", "default", labels=f"app={app}")).items)


async def test_when_one_of_two_servers_is_killed_the_other_goes_on(tmp_path: Path, store: EtcdServer) -> None:
    """Both behind one address. The controllers of the one that leads move to the other."""
    listen = ("--listen", f"127.0.0.1:{free_port()}", "--share-port")
    with running(tmp_path, store, *listen) as servers:
        client = await servers[0].client()
        await servers[1].client()
        await client.create("deployments.apps", deployment("first"))
        await eventually(lambda: pods(client, "first"))
        lease = await client.get("leases.coordination.k8s.io", "kube-controller-manager", "kube-system")
        # Whoever leads says so, in its log.
        leads = [s for s in servers if "leads as kube-controller-manager" in s.log.read_text()]
        assert len(leads) == 1
        leads[0].process.send_signal(signal.SIGKILL)
        await asyncio.sleep(0.1)
        await eventually(lambda: created(client, deployment("second")))
        await eventually(lambda: pods(client, "second"))
        after = await client.get("leases.coordination.k8s.io", "kube-controller-manager", "kube-system")
        assert after["spec"]["holderIdentity"] != lease["spec"]["holderIdentity"]
        assert after["spec"]["leaseTransitions"] == lease["spec"]["leaseTransitions"] + 1


async def created(client: Client, obj: Object) -> bool:
    """Whether it is there; connections to a server that was just killed break."""
    try:
        await client.create("deployments.apps", obj)
    except Unavailable:
        return False
    except ApiError as e:
        return e.reason == "AlreadyExists"
    return True


@asynccontextmanager
async def servers(store: EtcdServer, key: bytes, *addresses: str) -> AsyncIterator[list[ApiServer]]:
    """API servers in this process, each with a connection of its own to etcd."""
    async with AsyncExitStack() as ends:
        made = []
        for address in addresses:
            opened = await stores.open(stores.parse(store.url))
            ends.push_async_callback(opened.close)
            settings = Settings(service_account_key=key, address=address, services="10.9.0.0/26")
            made.append(ApiServer(opened, settings))
        await asyncio.gather(*(server.start() for server in made))
        for server in made:
            ends.push_async_callback(server.close)
        yield made


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    from sampan.host.pki import Pki

    return Pki(tmp_path_factory.mktemp("pki")).signing_key().read_bytes()


def admins(servers: list[ApiServer]) -> list[Client]:
    return [s.local("admin", ("system:masters",)) for s in servers]


async def test_each_reads_at_once_what_the_other_wrote(store: EtcdServer, key: bytes) -> None:
    async with servers(store, key, "10.0.0.1", "10.0.0.2") as made:
        one, two = admins(made)
        for n in range(30):
            await one.create("configmaps", config_map(f"m{n}", "one"))
            found = await two.get("configmaps", f"m{n}", "default")
            changed = await two.update("configmaps", {**found, "data": {"value": "two"}})
            listed = await one.list("configmaps", "default", fields=f"metadata.name=m{n}")
            assert [o["data"] for o in listed.items] == [{"value": "two"}]
            assert listed.items[0]["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]
            await one.delete("configmaps", f"m{n}", "default")
            with pytest.raises(ApiError, match="not found"):
                await two.get("configmaps", f"m{n}", "default")


async def test_no_address_is_given_twice(store: EtcdServer, key: bytes) -> None:
    def service(name: str, **spec: object) -> Object:
        meta = {"name": name, "namespace": "default"}
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"ports": [{"port": 80}], **spec},
        }

    async with servers(store, key, "10.0.0.1", "10.0.0.2") as made:
        clients = admins(made)
        wanted = [
            c.create("services", service(f"s{n}-{i}", type="NodePort"))
            for n in range(20)
            for i, c in enumerate(clients)
        ]
        found = await asyncio.gather(*wanted)
        assert len({s["spec"]["clusterIP"] for s in found}) == 40
        assert len({s["spec"]["ports"][0]["nodePort"] for s in found}) == 40
        same = [
            c.create("services", service(f"same-{i}", clusterIP="10.9.0.2")) for i, c in enumerate(clients)
        ]
        outcomes = await asyncio.gather(*same, return_exceptions=True)
        assert sorted(type(o).__name__ for o in outcomes) == ["ApiError", "dict"]
        assert any("provided IP is already allocated" in str(o) for o in outcomes)
        # What one gives back, the other may give out.
        winner = next(o["metadata"]["name"] for o in outcomes if isinstance(o, dict))
        await clients[0].delete("services", winner, "default")
        await clients[1].create("services", service("again", clusterIP="10.9.0.2"))


async def test_a_token_of_one_is_good_at_the_other(store: EtcdServer, key: bytes) -> None:
    async with servers(store, key, "10.0.0.1", "10.0.0.2") as made:
        one, _ = admins(made)
        meta = {"name": "robot", "namespace": "default"}
        await one.create("serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": meta,
            "spec": {},
        }
        issued = await one.create("serviceaccounts", request, name="robot", subresource="token")
        user, _ = await made[1].tokens.user(issued["status"]["token"], [made[1].tokens.issuer])
        assert user.name == "system:serviceaccount:default:robot"


async def test_service_kubernetes_leads_to_all_that_live(store: EtcdServer, key: bytes) -> None:
    async def endpoints(client: Client) -> list[str]:
        found = await client.get("endpointslices.discovery.k8s.io", "kubernetes", "default")
        return [e["addresses"][0] for e in found["endpoints"]]

    async with servers(store, key, "10.0.0.1", "10.0.0.2") as made:
        one, two = admins(made)

        async def both() -> bool:
            return await endpoints(one) == await endpoints(two) == ["10.0.0.1", "10.0.0.2"]

        async def first() -> bool:
            return await endpoints(one) == ["10.0.0.1"]

        await eventually(both)
        await made[1].close()
        await eventually(first)


def test_a_store_that_does_not_answer_is_told(tmp_path: Path) -> None:
    words = ["run", "control", "--state", str(tmp_path / "s"), "--listen", "127.0.0.1:0"]
    command = [sys.executable, "-m", "sampan.cli", *words, "--store", f"etcd://127.0.0.1:{free_port()}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
