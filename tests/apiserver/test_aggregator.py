"""Another API server behind this one: a real server over TLS that believes only the front proxy."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from tests.apiserver.conftest import Cluster

from sampan.client.api import ApiError
from sampan.host import pki
from sampan.http import server as http
from sampan.http.messages import Request, Response
from sampan.http.tls import server_context
from sampan.machinery.objects import Object, get

SERVICES = "apiservices.apiregistration.k8s.io"
GROUP = "wardle.example.com"
FLUNDERS: Object = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/v1",
    "resources": [
        {
            "name": "flunders",
            "singularName": "flunder",
            "namespaced": True,
            "kind": "Flunder",
            "verbs": ["create", "get", "list"],
            "shortNames": ["fl"],
        }
    ],
}
FLUNDER: Object = {
    "apiVersion": f"{GROUP}/v1",
    "kind": "Flunder",
    "metadata": {"name": "one", "namespace": "default"},
}


async def wardle(request: Request) -> Response:
    """Serves flunders, to whom the front proxy names."""
    json = {"content-type": "application/json"}
    certificate = request.peer.certificate
    if certificate is None or pki.identity(certificate).user != "front-proxy-client":
        return Response(401, b"{}", json)
    if request.path == f"/apis/{GROUP}/v1":
        return Response(200, orjson.dumps(FLUNDERS), json)
    who = {"user": request.headers.get("x-remote-user"), "groups": request.headers.get("x-remote-group")}
    answer = {**FLUNDER, "seen": who}
    if request.path.endswith("/flunders"):
        meta: Object = {"resourceVersion": "1"}
        answer = {"apiVersion": f"{GROUP}/v1", "kind": "FlunderList", "metadata": meta, "items": [answer]}
    return Response(200, orjson.dumps(answer), json)


@pytest.fixture
async def behind(cluster: Cluster) -> AsyncIterator[int]:
    """The port of the other server, behind Service default/wardle."""
    sock = http.listen("127.0.0.1", 0)
    port = int(sock.getsockname()[1])
    pair = cluster.pki.server("wardle", ["wardle.default.svc"])
    meta = {"name": "wardle", "namespace": "default", "labels": {"kubernetes.io/service-name": "wardle"}}
    await cluster.admin.create(
        "services",
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "wardle", "namespace": "default"},
         "spec": {"ports": [{"port": 443, "targetPort": port}]}},
    )  # fmt: skip
    # Into the store itself: endpoints may not be loopback addresses, and no other is on every machine.
    piece = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**meta, "uid": "1"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
    }
    await cluster.store.create("/discovery.k8s.io/endpointslices/default/wardle", orjson.dumps(piece))
    await cluster.admin.create(SERVICES, service(cluster))
    found = await trusted(cluster)
    context = server_context(pair, client_ca=found)
    server = await http.serve(wardle, sockets=[sock], tls=context)
    yield port
    await server.close(grace=0.1)


async def trusted(cluster: Cluster) -> Any:
    """The authority of the front proxy, as the cluster tells it."""
    async with asyncio.timeout(10):
        async for change in cluster.admin.watch("configmaps", "kube-system"):
            if change.object["metadata"].get("name") == "extension-apiserver-authentication":
                path = cluster.directory / "front-proxy.crt"
                path.write_text(change.object["data"]["requestheader-client-ca-file"])
                return path
    raise AssertionError("the watch has ended")


def service(cluster: Cluster) -> Object:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1.{GROUP}"},
        "spec": {
            "group": GROUP,
            "version": "v1",
            "groupPriorityMinimum": 2000,
            "versionPriority": 10,
            "caBundle": base64.b64encode(cluster.pki.ca.read_bytes()).decode(),
            "service": {"name": "wardle", "namespace": "default"},
        },
    }


async def available(cluster: Cluster, status: str = "True") -> Object:
    async with asyncio.timeout(15):
        async for change in cluster.admin.watch(SERVICES):
            for condition in get(change.object, "status.conditions", ()):
                if change.object["metadata"]["name"] == f"v1.{GROUP}" and condition["status"] == status:
                    found: Object = condition
                    return found
    raise AssertionError("the watch has ended")


async def test_kubectl_reaches_what_another_server_serves(cluster: Cluster, behind: int) -> None:
    assert (await available(cluster))["reason"] == "Passed"
    assert (await cluster.kubectl("get", "fl", "-o", "name")).out == f"flunder.{GROUP}/one\n"
    resources = (await cluster.kubectl("api-resources", f"--api-group={GROUP}", "-o", "name")).out
    assert resources == f"flunders.{GROUP}\n"
    status, found = await cluster.ask(
        "GET", f"/apis/{GROUP}/v1/namespaces/default/flunders/one", x_remote_user="me"
    )
    assert (status, found["seen"]["user"]) == (200, "kubernetes-admin")
    assert "system:masters" in found["seen"]["groups"]
    listed = (await cluster.kubectl("get", "apiservices", f"v1.{GROUP}")).out
    assert "default/wardle" in listed


async def test_who_may_not_is_refused_before(cluster: Cluster, behind: int) -> None:
    await available(cluster)
    with pytest.raises(ApiError) as found:
        await cluster.http("someone", ()).get(f"flunders.v1.{GROUP}", "one", "default")
    assert found.value.code == 403
    assert f'User "someone" cannot get resource "flunders" in API group "{GROUP}"' in str(found.value)


async def test_a_server_that_is_not_there_is_said_to_be_unavailable(cluster: Cluster) -> None:
    await cluster.admin.create(SERVICES, service(cluster))
    condition = await available(cluster, "False")
    told = 'service/wardle in "default" is not present'
    assert (condition["reason"], condition["message"]) == ("ServiceNotFound", told)
    status, _ = await cluster.ask("GET", f"/apis/{GROUP}/v1/flunders")
    assert status == 503


async def test_own_groups_are_listed(cluster: Cluster) -> None:
    async with asyncio.timeout(10):
        async for change in cluster.admin.watch(SERVICES):
            if change.object["metadata"].get("name") == "v1.apps":
                assert change.object["status"]["conditions"][0]["reason"] == "Local"
                break


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"versionPriority": 0},
            "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
        ),
        ({"insecureSkipTLSVerify": True}, "may not be true if caBundle is present"),
        ({"version": "v2"}, 'must be `spec.version+"."+spec.group`: "v2.wardle.example.com"'),
    ],
)
async def test_faults(cluster: Cluster, spec: Object, message: str) -> None:
    found = service(cluster)
    found["spec"] |= spec
    with pytest.raises(ApiError) as refused:
        await cluster.admin.create(SERVICES, found)
    assert message in str(refused.value)
