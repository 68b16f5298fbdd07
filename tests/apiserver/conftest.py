"""A real API server over TLS with a memory store, an administrator's kubeconfig, and the unmodified kubectl."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from sampan.apiserver.server import ApiServer
from sampan.apiserver.settings import Settings
from sampan.client.api import Client
from sampan.client.http import HttpApiClient, connect
from sampan.host.pki import Pki
from sampan.http import server as http
from sampan.http.client import HttpClient
from sampan.http.tls import client_context, server_context
from sampan.machinery.objects import Object
from sampan.store.memory import Memory

KUBECTL = Path(__file__).parents[2] / ".venv" / "bin" / "kubectl"
ADMIN = ("kubernetes-admin", ("system:masters",))


@dataclass
class Ran:
    """What a command left."""

    status: int
    out: str
    err: str


@dataclass
class Cluster:
    """The server, and ways to speak to it."""

    api: ApiServer
    url: str
    pki: Pki
    directory: Path
    store: Memory
    clients: list[HttpApiClient | HttpClient] = field(default_factory=list)

    @property
    def admin(self) -> Client:
        """The administrator's local client."""
        return self.api.local(*ADMIN)

    def http(
        self, user: str = ADMIN[0], groups: tuple[str, ...] = ADMIN[1], token: str = ""
    ) -> HttpApiClient:
        """A client over HTTP under a certificate, or with a token alone."""
        pair = None if token else self.pki.client(user.replace(":", "-"), user, groups)
        client = connect(self.url, ca=self.pki.ca, cert=pair, token=token)
        self.clients.append(client)
        return client

    def raw(self, *, anonymous: bool = False, token: str = "") -> HttpClient:
        """Plain HTTP requests, as the administrator."""
        pair = None if anonymous or token else self.pki.client("admin", *ADMIN)
        headers = {"authorization": f"Bearer {token}"} if token else None
        client = HttpClient(self.url, tls=client_context(ca=self.pki.ca, pair=pair), headers=headers)
        self.clients.append(client)
        return client

    async def ask(self, method: str, target: str, body: object = None, **headers: str) -> tuple[int, Object]:
        """A request as the administrator, and its answer's status and JSON."""
        fields = {n.replace("_", "-"): v for n, v in headers.items()}
        if body is not None:
            fields.setdefault("content-type", "application/json")
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        async with await self.raw().request(method, target, headers=fields, body=data) as response:
            return response.status, orjson.loads(await response.read())

    def kubeconfig(self) -> Path:
        """The administrator's, as a file."""
        path = self.directory / "kubeconfig"
        pair = self.pki.client("admin", *ADMIN)
        path.write_text(
            orjson.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [
                        {
                            "name": "c",
                            "cluster": {"server": self.url, "certificate-authority": str(self.pki.ca)},
                        }
                    ],
                    "users": [
                        {"name": "u", "user": {"client-certificate": str(pair), "client-key": str(pair)}}
                    ],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            ).decode()
        )
        return path

    async def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> Ran:
        """Run kubectl as the administrator."""
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig()), "HOME": str(self.directory)},
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin.encode())
        ran = Ran(process.returncode or 0, out.decode(), err.decode())
        assert not (check and ran.status), f"kubectl {' '.join(words)}: {ran.err}{ran.out}"
        return ran

    async def account(self, namespace: str = "default", name: str = "default") -> Object:
        """The service account that the controller would make."""
        obj = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace},
        }
        return await self.admin.create("serviceaccounts", obj)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """One authority for all tests of a worker: making keys costs more than starting a server."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def cluster(certificates: Pki, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with serving(certificates, tmp_path) as found:
        yield found


@asynccontextmanager
async def serving(pki: Pki, directory: Path, **more: Any) -> AsyncIterator[Cluster]:
    """A server with `more` settings."""
    pair = pki.server("apiserver", ["localhost", "127.0.0.1"])
    store = Memory()
    sock = http.listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    key = pki.signing_key().read_bytes()
    api = ApiServer(store, Settings(service_account_key=key, address="127.0.0.1", port=port, **more))
    await api.start()
    server = await http.serve(api.handler, sockets=[sock], tls=server_context(pair, client_ca=pki.ca))
    found = Cluster(api, f"https://127.0.0.1:{port}", pki, directory, store)
    yield found
    for client in found.clients:
        await client.close()
    await server.close(grace=0.2)
    await api.close()
    await store.close()
