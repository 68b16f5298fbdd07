"""The kubelet's API over TLS: who may use it, logs, figures, exec."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.node.nodes import Cluster, pod, ready

from sampan.http import server as http
from sampan.http.client import HttpClient
from sampan.http.tls import client_context, server_context
from sampan.machinery.objects import Object
from sampan.node import garbage
from sampan.node.server import figures, logs
from sampan.node.server.guard import subresource


class Served:
    """A cluster whose node serves its API, and clients for it."""

    def __init__(self, cluster: Cluster, port: int):
        self.cluster, self.port = cluster, port
        self.clients: list[HttpClient] = []

    def client(
        self, user: str = "kube-apiserver-kubelet-client", *groups: str, token: str = ""
    ) -> HttpClient:
        pair = (
            self.cluster.pki.client(f"client-{len(self.clients)}", user, groups or ("system:masters",))
            if user
            else None
        )
        tls = client_context(ca=self.cluster.pki.ca, pair=pair)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.clients.append(HttpClient(f"https://127.0.0.1:{self.port}", tls=tls, headers=headers))
        return self.clients[-1]

    async def get(self, target: str, client: HttpClient | None = None) -> tuple[int, str]:
        async with await (client or self.client()).request("GET", target) as answer:
            return answer.status, (await answer.read()).decode()


@pytest.fixture
async def served(cluster: Cluster) -> AsyncIterator[Served]:
    socket = http.listen("127.0.0.1", 0)
    tls = server_context(cluster.pki.server("node-1-serving", ["127.0.0.1"]), client_ca=cluster.pki.ca)
    await cluster.start(sockets=[socket], tls=tls)
    found = Served(cluster, socket.getsockname()[1])
    await cluster.create(pod("web"))
    await cluster.until("web", ready)
    yield found
    for client in found.clients:
        await client.close()


def log_of(cluster: Cluster) -> Path:
    return Path(cluster.cri.named("main")[-1].log_path)


async def test_strangers_are_refused_and_others_need_a_role(served: Served) -> None:
    assert (await served.get("/pods", served.client("")))[0] == 401
    status, text = await served.get("/stats/summary", served.client("jane", "team"))
    assert (status, text) == (
        403,
        "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[stats])\n",
    )
    rule = {"apiGroups": [""], "resources": ["nodes/stats"], "verbs": ["get"]}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "stats"}}
    await served.cluster.admin.create(
        "clusterroles.rbac.authorization.k8s.io", {**role, "kind": "ClusterRole", "rules": [rule]}
    )
    binding = {
        **role,
        "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "stats"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    }
    await served.cluster.admin.create("clusterrolebindings.rbac.authorization.k8s.io", binding)
    bob = served.client("bob", "team")
    async with asyncio.timeout(10):  # roles reach the authorizer a moment after they are written
        while (await served.get("/stats/summary", bob))[0] != 200:
            await asyncio.sleep(0.2)
            served.cluster.kubelet.api.guard.forget()  # type: ignore[union-attr]
    assert (await served.get("/pods", bob))[0] == 403


async def test_a_token_of_a_service_account_is_known(served: Served) -> None:
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {"name": "default", "namespace": "default"},
        "spec": {},
    }
    made = await served.cluster.admin.create("serviceaccounts", request, name="default", subresource="token")
    status, text = await served.get("/pods", served.client("", token=made["status"]["token"]))
    assert status == 403
    assert "user=system:serviceaccount:default:default" in text
    assert (await served.get("/pods", served.client("", token="nonsense")))[0] == 401


async def test_pods_and_health(served: Served) -> None:
    assert await served.get("/healthz") == (200, "ok\n")
    listed = json.loads((await served.get("/pods"))[1])
    assert [p["metadata"]["name"] for p in listed["items"]] == ["web"]
    assert json.loads((await served.get("/configz"))[1])["kubeletconfig"]["clusterDomain"] == "cluster.local"
    assert (await served.get("/nowhere"))[0] == 404


LINES = (
    "2026-01-01T00:00:00.000000001Z stdout F one\n"
    "2026-01-01T00:00:01.5Z stderr F two\n"
    "2026-01-01T00:00:02Z stdout P thr\n"
    "2026-01-01T00:00:02Z stdout F ee\n"
)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", "one\ntwo\nthree\n"),
        ("?tailLines=1", "three\n"),
        ("?tailLines=0", ""),
        ("?tailLines=9", "one\ntwo\nthree\n"),
        ("?limitBytes=5", "one\nt"),
        ("?sinceTime=2026-01-01T00:00:01Z", "two\nthree\n"),
        ("?timestamps=true&tailLines=2", "2026-01-01T00:00:01.5Z two\n2026-01-01T00:00:02Z three\n"),
        ("?stream=stderr", "two\n"),
    ],
)
async def test_logs_as_asked(served: Served, query: str, wanted: str) -> None:
    log_of(served.cluster).write_text(LINES)
    assert await served.get(f"/containerLogs/default/web/main{query}") == (200, wanted)


async def test_logs_that_cannot_be_had(served: Served) -> None:
    assert (await served.get("/containerLogs/default/none/main"))[0] == 404
    status, text = await served.get("/containerLogs/default/web/main?previous=true")
    assert (status, text) == (400, 'previous terminated container "main" in pod "web" not found\n')
    assert (await served.get("/containerLogs/default/web/other"))[0] == 400


async def test_a_log_is_followed_over_its_rotation_to_the_end(served: Served) -> None:
    path = log_of(served.cluster)
    seen = b""
    client = served.client()
    async with (
        asyncio.timeout(20),
        await client.request("GET", "/containerLogs/default/web/main?follow=true") as answer,
    ):
        steps = iter(["a", "b", "turn", "c", "end"])

        def next_step() -> None:
            step = next(steps, "")
            if step == "turn":
                path.rename(path.with_name("aside"))
                step = "turned"
            if step == "end":
                served.cluster.cri.exit("main", 0)
            elif step:
                with path.open("a") as f:
                    f.write(f"2026-01-01T00:00:00Z stdout F {step}\n")

        next_step()
        async for piece in answer.chunks():
            seen += piece
            next_step()
    assert seen.split() == [b"a", b"b", b"turned", b"c"]


async def test_previous_logs_are_those_of_the_container_before(served: Served) -> None:
    log_of(served.cluster).write_text("2026-01-01T00:00:00Z stdout F first\n")
    served.cluster.cri.exit("main", 1)
    await served.cluster.until(
        "web", lambda p: ready(p) and p["status"]["containerStatuses"][0]["restartCount"] == 1
    )
    assert await served.get("/containerLogs/default/web/main?previous=true") == (200, "first\n")
    assert await served.get("/containerLogs/default/web/main") == (200, "")


async def test_a_flooding_log_is_turned_over(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "LOG_SIZE", 100)
    path = log_of(served.cluster)
    kubelet = served.cluster.kubelet
    assert kubelet
    id = served.cluster.cri.named("main")[-1].id
    for round in range(7):
        path.write_text("x" * 200)
        os.utime(path, (round, round))
        assert await garbage.rotate(kubelet, id, path)
        # Names carry the second in which the log was turned over; these turns follow faster than that.
        for aside in path.parent.glob(f"{path.name}.2*"):
            if len(aside.name.split("-")) == 2:
                aside.rename(aside.with_name(f"{path.name}.19700101-00000{round}-{aside.suffix[1:3]}"))
    assert path.stat().st_size == 0
    assert len(list(path.parent.iterdir())) <= garbage.LOG_FILES + 1


async def test_figures_for_top(served: Served) -> None:
    summary = json.loads((await served.get("/stats/summary"))[1])
    assert summary["node"]["memory"]["workingSetBytes"] > 0
    (found,) = summary["pods"]
    assert found["podRef"]["name"] == "web"
    assert (
        found["memory"]["workingSetBytes"] == found["containers"][0]["memory"]["workingSetBytes"] == 1 << 20
    )
    text = (await served.get("/metrics/resource"))[1]
    assert (
        'container_memory_working_set_bytes{container="main",namespace="default",pod="web"} 1048576' in text
    )


async def test_metrics_for_prometheus(served: Served) -> None:
    own = (await served.get("/metrics"))[1]
    assert "kubelet_running_pods 1" in own
    assert 'kubelet_running_containers{container_state="running"} 1' in own
    assert 'kubelet_runtime_operations_duration_seconds_count{operation_type="run_pod_sandbox"} 1' in own
    containers = (await served.get("/metrics/cadvisor"))[1]
    assert 'container_memory_rss{container="main",namespace="default",pod="web"}' in containers
    assert "# TYPE prober_probe_total counter" in (await served.get("/metrics/probes"))[1]


def test_rates_of_processor_time() -> None:
    before, now = figures.Sample(10**9, 10**9), figures.Sample(2 * 10**9, 3 * 10**9)
    assert figures.rate(before, now, 0) == 5 * 10**8
    assert figures.rate(None, now, 1.0) == 10**9
    assert figures.rate(now, now, 0) == 0


def test_paths_stand_for_subresources() -> None:
    wanted = {
        "/stats/summary": "stats",
        "/metrics/resource": "metrics",
        "/exec/a/b/c": "proxy",
        "/pods": "pods",
        "/podsx": "proxy",
    }
    assert {path: subresource(path) for path in wanted} == wanted


def write(path: Path, lines: list[Object]) -> None:
    path.write_text(
        "".join(f"2026-01-01T00:00:00Z stdout {'P' if x['part'] else 'F'} {x['text']}\n" for x in lines)
    )


LOGGED = st.lists(
    st.fixed_dictionaries({"part": st.booleans(), "text": st.text("ab ", max_size=5)}), max_size=20
)


@given(LOGGED, st.integers(0, 22), st.integers(1, 40))
def test_the_tail_is_the_end_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Object], last: int, piece: int
) -> None:
    """Whatever is asked for, and however the file is cut into pieces, the tail is what the whole ends with."""
    path = tmp_path_factory.mktemp("logs") / "log"
    if lines:
        lines = [*lines[:-1], {**lines[-1], "part": False}]
    write(path, lines)
    whole = "".join(x["text"] + ("" if x["part"] else "\n") for x in lines).splitlines(keepends=True)
    before, logs.PIECE = logs.PIECE, piece
    try:
        with path.open("rb") as file:
            offset = logs.tail(file, last)
    finally:
        logs.PIECE = before
    shown = logs.Lines(logs.Options()).take(path.read_bytes()[offset:]).decode()
    assert shown == "".join(whole[len(whole) - min(last, len(whole)) :])
