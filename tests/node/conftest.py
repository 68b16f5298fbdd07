"""A node on a real API server in memory; the runtime is a fake unless a test says otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.node.fake_cri import FakeCri
from tests.node.nodes import Cluster

from sampan.apiserver.server import ApiServer
from sampan.apiserver.settings import Settings
from sampan.client.http import connect
from sampan.host import mounts
from sampan.host.pki import Pki
from sampan.http import server as http
from sampan.http.tls import server_context
from sampan.store.memory import Memory


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """The node speaks to the API server as nodes do: over TLS, with its client certificate."""
    pki = Pki(tmp_path / "pki")
    pki.authority()
    server = ApiServer(Memory(), Settings(service_account_key=pki.signing_key().read_bytes()))
    await server.start()
    admin = server.local("kubernetes-admin", ("system:masters",))
    socket = http.listen("127.0.0.1", 0)
    tls = server_context(pki.server("apiserver", ["127.0.0.1"]), client_ca=pki.ca)
    listener = await http.serve(server.handler, sockets=[socket], tls=tls)
    pair = pki.client("node-1", "system:node:node-1", ["system:nodes"])
    client = connect(f"https://127.0.0.1:{socket.getsockname()[1]}", ca=pki.ca, cert=pair)
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": "default"},
    }
    await admin.create("serviceaccounts", account)
    made = Cluster(server, admin, client, FakeCri(), tmp_path / "node", pki)
    yield made
    await made.kill()
    await client.close()
    await listener.close(0.0)
    await server.close()
    mounts.unmount_below(tmp_path)
