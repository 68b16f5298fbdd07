"""What passes through to nodes: logs, exec, attach, port-forward, proxy, stats; the kubelet is a small real server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest

from sampan.apiserver.settings import Kubelets
from sampan.host import pki
from sampan.http import server as http
from sampan.http import websocket
from sampan.http.messages import Connection, Request, Response
from sampan.http.streams import Streams, Wanted, port_forward, remote_command
from sampan.http.tls import server_context
from sampan.http.transport import Pipe

from .conftest import KUBECTL, Cluster
from .test_access import pod

STATS = {
    "node": {"cpu": {"usageNanoCores": 250_000_000}, "memory": {"workingSetBytes": 512 << 20}},
    "pods": [],
}


class Kubelet:
    """Answers what a kubelet does; `asked` keeps the targets, `callers` who asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.callers: list[str] = []
        self.pod_uid = ""

    async def handle(self, request: Request) -> Response:
        self.asked.append(request.target)
        assert request.peer.certificate, "the API server shows its certificate"
        self.callers.append(pki.identity(request.peer.certificate).user)
        match request.path.split("/")[1]:
            case "containerLogs":
                return Response(200, self._log(), {"content-type": "text/plain"})
            case "exec":
                return remote_command(request, Wanted(stdin=True, stdout=True), self._shout)
            case "portForward":
                return port_forward(request, self._dial)
            case "stats":
                usage = {"name": "c", **STATS["node"]}  # type: ignore[dict-item]
                pods = [{"podRef": {"uid": self.pod_uid}, "containers": [usage]}]
                return Response(200, orjson.dumps({**STATS, "pods": pods}))
        return Response(404, b"no such page\n", {"content-type": "text/plain"})

    async def _log(self) -> AsyncIterator[bytes]:
        yield b"first\n"
        await asyncio.sleep(0)
        yield b"second\n"

    async def _shout(self, streams: Streams) -> None:
        while data := await streams.stdin():
            await streams.stdout(data.upper())
        await streams.finish(3)

    async def _dial(self, port: int) -> Connection:
        assert port == 80
        return Echo()


class Echo:
    """A connection whose far end says everything back."""

    def __init__(self) -> None:
        self._pipe = Pipe()

    async def read(self) -> bytes:
        return await self._pipe.get()

    async def write(self, data: bytes) -> None:
        await self._pipe.put(data)

    async def end(self) -> None:
        self._pipe.end()

    async def close(self) -> None:
        self._pipe.end()


@pytest.fixture
async def kubelet(cluster: Cluster) -> AsyncIterator[Kubelet]:
    """A node `n` with pod `p` on it."""
    kubelet, keys = Kubelet(), cluster.pki
    sock = http.listen("127.0.0.1", 0)
    tls = server_context(keys.server("kubelet", ["n"]), client_ca=keys.ca)
    server = await http.serve(kubelet.handle, sockets=[sock], tls=tls)
    client = keys.client("kubelet-client", "kube-apiserver-kubelet-client")
    cluster.api.settings = replace(
        cluster.api.settings, kubelets=Kubelets(authority=keys.ca, certificate=client, key=client)
    )
    admin = cluster.admin
    await admin.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    port = {"kubeletEndpoint": {"Port": sock.getsockname()[1]}}
    status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": port}
    await admin.patch("nodes", "n", "", {"status": status}, subresource="status")
    await cluster.account()
    made = await admin.create("pods", pod("p", "n"))
    kubelet.pod_uid = made["metadata"]["uid"]
    await admin.patch("pods", "p", "default", {"status": {"phase": "Running"}}, subresource="status")
    yield kubelet
    await server.close(grace=0.2)


async def test_logs(cluster: Cluster, kubelet: Kubelet) -> None:
    ran = await cluster.kubectl("logs", "p", "--tail=2", "--timestamps")
    assert ran.out == "first\nsecond\n"
    assert kubelet.asked == ["/containerLogs/default/p/c?timestamps=true&tailLines=2"]
    assert kubelet.callers == ["kube-apiserver-kubelet-client"]


@pytest.mark.parametrize(
    ("protocols", "heard"), [((), b"first\n"), (("base64.binary.k8s.io",), base64.b64encode(b"first\n"))]
)
async def test_logs_over_a_websocket(
    cluster: Cluster, kubelet: Kubelet, protocols: tuple[str, ...], heard: bytes
) -> None:
    target = "/api/v1/namespaces/default/pods/p/log?container=c"
    socket, _ = await websocket.connect(cluster.raw(), target, protocols=protocols)
    assert socket
    pieces = []
    while message := await socket.receive():
        pieces.append(message.data)
    assert pieces[0] == b""
    assert b"".join(pieces).startswith(heard)
    await socket.close()


async def test_a_node_that_reports_the_address_of_another_is_not_spoken_to(
    cluster: Cluster, kubelet: Kubelet
) -> None:
    """The kubelet there answers with a certificate of the same authority, but not for the name `other`."""
    admin = cluster.admin
    status = (await admin.get("nodes", "n"))["status"]
    await admin.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "other"}})
    await admin.patch("nodes", "other", "", {"status": status}, subresource="status")
    status, said = await cluster.ask("GET", "/api/v1/nodes/other/proxy/pods")
    assert status == 503
    assert "certificate" in said["message"].lower() or "hostname" in said["message"].lower(), said
    assert kubelet.asked == []


async def test_exec_passes_streams_and_exit_status(cluster: Cluster, kubelet: Kubelet) -> None:
    ran = await cluster.kubectl("exec", "-i", "p", "--", "shout", stdin="hello", check=False)
    assert (ran.out, ran.status) == ("HELLO", 3)
    assert kubelet.asked == ["/exec/default/p/c?input=1&output=1&error=1&command=shout"]


async def test_exec_needs_create_even_by_get(cluster: Cluster, kubelet: Kubelet) -> None:
    rbac = "rbac.authorization.k8s.io"
    rules = [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/exec"]}]
    role = {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "r"}, "rules": rules}
    await cluster.admin.create(f"clusterroles.{rbac}", role)
    ref = {"apiGroup": rbac, "kind": "ClusterRole", "name": "r"}
    subject = {"apiGroup": rbac, "kind": "User", "name": "ann"}
    bound = {"apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "b"}}
    await cluster.admin.create(
        f"clusterrolebindings.{rbac}", {**bound, "roleRef": ref, "subjects": [subject]}
    )
    target = "/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1"
    status, said = await cluster.ask("GET", target, impersonate_user="ann")
    assert status == 403
    assert 'cannot create resource "pods/exec"' in said["message"]


async def test_port_forward(cluster: Cluster, kubelet: Kubelet) -> None:
    words = ("port-forward", "pod/p", ":80", "--address=127.0.0.1")
    process = await asyncio.create_subprocess_exec(
        KUBECTL, *words, "--kubeconfig", str(cluster.kubeconfig()), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        async with asyncio.timeout(20):
            said = (await process.stdout.readline()).decode()
            port = int(said.split(" -> ")[0].rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
    finally:
        process.kill()
        await process.wait()


async def test_top(cluster: Cluster, kubelet: Kubelet) -> None:
    nodes = (await cluster.kubectl("top", "pods", "--no-headers")).out.split()
    assert nodes[:3] == ["p", "250m", "512Mi"]


async def test_node_proxy_and_what_a_kubelet_refuses(cluster: Cluster, kubelet: Kubelet) -> None:
    ran = await cluster.kubectl("get", "--raw", "/api/v1/nodes/n/proxy/stats/summary")
    assert orjson.loads(ran.out)["node"]["cpu"]["usageNanoCores"] == 250_000_000
    missing = await cluster.kubectl("get", "--raw", "/api/v1/nodes/n/proxy/none", check=False)
    target = "/api/v1/nodes/n/proxy"
    async with await cluster.raw().request("GET", f"{target}?a=b") as response:
        assert (response.status, response.headers["location"]) == (301, f"{target}/?a=b")
    async with await cluster.raw().request("OPTIONS", f"{target}/stats/summary") as response:
        assert response.status == 200
    assert missing.status == 1


async def test_the_proxy_to_a_pod_carries_nobodys_credentials(cluster: Cluster, kubelet: Kubelet) -> None:
    """The port is the user's to choose, and may be a kubelet's, or this server's own."""
    seen: list[Request] = []

    async def application(request: Request) -> Response:
        seen.append(request)
        return Response(200, b"{}")

    sock = http.listen("127.0.0.1", 0)
    keys = cluster.pki
    tls = server_context(keys.server("elsewhere", ["elsewhere.example"]), client_ca=keys.ca)
    server = await http.serve(application, sockets=[sock], tls=tls)
    address = {"status": {"podIP": "127.0.0.1"}}
    await cluster.admin.patch("pods", "p", "default", address, subresource="status")
    target = f"/api/v1/namespaces/default/pods/https:p:{sock.getsockname()[1]}/proxy/page"
    status, _ = await cluster.ask(
        "GET", target, impersonate_user="kubernetes-admin", impersonate_group="system:masters"
    )
    assert status == 200
    protocols = "base64url.bearer.authorization.k8s.io.c2VjcmV0, chat"
    upgrade = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-protocol": protocols}
    response, _ = await cluster.raw().upgrade("GET", target, upgrade)
    await response.close()
    assert [r.path for r in seen] == ["/page", "/page"]
    assert [r.peer.certificate for r in seen] == [None, None]
    assert not any("authorization" in n or n.startswith("impersonate") for r in seen for n in r.headers)
    assert seen[1].headers["sec-websocket-protocol"].strip() == "chat"
    await server.close(grace=0.2)


async def test_a_node_that_is_gone(cluster: Cluster, kubelet: Kubelet) -> None:
    gone = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}}
    await cluster.admin.patch("nodes", "n", "", gone, subresource="status")
    status, said = await cluster.ask("GET", "/api/v1/namespaces/default/pods/p/log")
    assert (status, said["reason"]) == (503, "ServiceUnavailable")


async def test_which_container_is_meant(cluster: Cluster, kubelet: Kubelet) -> None:
    two = pod("two", "n", containers=[{"name": "a", "image": "x"}, {"name": "b", "image": "x"}])
    await cluster.admin.create("pods", two)
    status, said = await cluster.ask("GET", "/api/v1/namespaces/default/pods/two/log")
    assert (status, said["message"]) == (
        400,
        "a container name must be specified for pod two, choose one of: [a b]",
    )
    status, said = await cluster.ask("GET", "/api/v1/namespaces/default/pods/two/log?container=c")
    assert said["message"] == "container c is not valid for pod two"


async def test_a_pod_that_is_nowhere(cluster: Cluster, kubelet: Kubelet) -> None:
    await cluster.admin.create("pods", pod("lost"))
    status, said = await cluster.ask("GET", "/api/v1/namespaces/default/pods/lost/log")
    assert (status, said["message"]) == (400, "pod lost does not have a host assigned")
