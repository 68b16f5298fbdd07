"""Extenders: real programs that answer over HTTP and TLS, asked in a real scheduling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.controllers.running import Cluster, cluster
from tests.scheduler.test_preemption import bound, created, priorities

from sampan.client.api import Client
from sampan.host.pki import Pki
from sampan.http import server
from sampan.http.messages import Request, Response
from sampan.http.tls import server_context
from sampan.machinery import yaml
from sampan.machinery.objects import Object
from sampan.scheduler import configuration
from sampan.scheduler.configuration import Configuration

Answer = Callable[[Object], Any]


class Program:
    """An extender: answers by verb; keeps what it was asked."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Object]] = []
        self.url = ""

    async def handle(self, request: Request) -> Response:
        verb, body = request.path.rpartition("/")[2], orjson.loads(await request.body())
        self.asked.append((verb, body))
        if verb not in self.answers:
            return Response(500, b"broken")
        found = self.answers[verb](body)
        if asyncio.iscoroutine(found):
            found = await found
        return Response(200, orjson.dumps(found))


@asynccontextmanager
async def program(tls: Any = None, **answers: Answer) -> AsyncIterator[Program]:
    made = Program(answers)
    listener = server.listen("127.0.0.1", 0)
    serving = await server.serve(made.handle, sockets=[listener], tls=tls)
    made.url = f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}/extend"
    try:
        yield made
    finally:
        await serving.close(grace=0.1)


def configured(program: Program, **settings: Any) -> Configuration:
    extender = {"urlPrefix": program.url, **settings}
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "extenders": [extender],
    }
    return configuration.load(yaml.dump(config))


async def node_of(c: Cluster, name: str) -> str:
    await bound(c, name)
    return str((await c.admin.get("pods", name, "default"))["spec"]["nodeName"])


async def test_filter_and_prioritize_by_names() -> None:
    def without_first(asked: Object) -> Object:
        kept = [name for name in asked["NodeNames"] if name != "n1"]
        return {"NodeNames": kept, "FailedNodes": {"n1": "not this one"}}

    def last_is_best(asked: Object) -> list[Object]:
        return [{"Host": name, "Score": 10 if name == "n3" else 0} for name in asked["NodeNames"]]

    async with program(filter=without_first, prioritize=last_is_best) as extender:
        config = configured(
            extender, filterVerb="filter", prioritizeVerb="prioritize", weight=5, nodeCacheCapable=True
        )
        async with cluster("n1", "n2", "n3", config=config) as c:
            await c.admin.create("pods", created("web", "1"))
            assert await node_of(c, "web") == "n3"
        verbs = [verb for verb, _ in extender.asked]
        assert verbs == ["filter", "prioritize"]
        assert extender.asked[0][1]["Pod"]["metadata"]["name"] == "web"
        assert len(extender.asked[1][1]["NodeNames"]) == 2


async def test_nodes_are_sent_whole_and_a_refusal_is_told() -> None:
    def none(asked: Object) -> Object:
        names = [n["metadata"]["name"] for n in asked["Nodes"]["items"]]
        return {"nodes": {"items": []}, "failedNodes": dict.fromkeys(names, "the extender says no")}

    async with (
        program(filter=none) as extender,
        cluster("n1", "n2", config=configured(extender, filterVerb="filter")) as c,
    ):
        await c.admin.create("pods", created("web", "1"))
        told = "0/2 nodes are available: 2 the extender says no."
        await c.until("pods", "web", lambda p: p and told in str(p["status"].get("conditions")))


async def test_only_pods_with_managed_resources_are_asked_about() -> None:
    managed = [{"name": "example.com/gpu", "ignoredByScheduler": True}]
    async with program() as extender:
        config = configured(extender, filterVerb="filter", managedResources=managed)
        async with cluster("n1", config=config) as c:
            await c.admin.create("pods", created("plain", "1"))
            assert await node_of(c, "plain") == "n1"
            assert not extender.asked
            asking = created("asking", "1")
            resources = {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}
            asking["spec"]["containers"][0]["resources"] = resources
            await c.admin.create("pods", asking)
            # The resource that the extender manages is not looked for on nodes; its error fails the pod.
            why = f"failed filter with extender at URL {extender.url}/filter, code 500"
            await c.until("pods", "asking", lambda p: p and why in str(p["status"].get("conditions")))


@pytest.mark.parametrize("ignorable", [True, False])
async def test_an_extender_that_fails_matters_unless_it_is_ignorable(ignorable: bool) -> None:
    async with program() as extender:
        config = configured(extender, filterVerb="filter", ignorable=ignorable)
        async with cluster("n1", config=config) as c:
            await c.admin.create("pods", created("web", "1"))
            if ignorable:
                assert await node_of(c, "web") == "n1"
            else:
                await c.until("pods", "web", lambda p: p and "SchedulerError" in str(p["status"]))


async def test_an_extender_that_does_not_answer_in_time() -> None:
    async def slow(asked: Object) -> Object:
        await asyncio.sleep(30)
        return {}

    async with program(filter=slow) as extender:
        config = configured(extender, filterVerb="filter", httpTimeout="100ms", ignorable=True)
        async with cluster("n1", config=config) as c:
            await c.admin.create("pods", created("web", "1"))
            assert await node_of(c, "web") == "n1"


async def test_an_extender_binds_over_tls(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pair = pki.server("extender", ["127.0.0.1", "localhost"])
    bindings: list[Object] = []
    clients: list[Client] = []

    async def bind(asked: Object) -> Object:
        bindings.append(asked)
        meta = {"name": asked["PodName"], "namespace": asked["PodNamespace"], "uid": asked["PodUID"]}
        target = {"kind": "Node", "name": asked["Node"]}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": meta, "target": target}
        await clients[0].create("pods", binding, name=asked["PodName"], subresource="binding")
        return {"Error": ""}

    async with program(tls=server_context(pair or tmp_path / "extender.pem"), bind=bind) as extender:
        config = configured(
            extender, bindVerb="bind", enableHTTPS=True, tlsConfig={"caFile": str(tmp_path / "ca.crt")}
        )
        async with cluster("n1", config=config) as c:
            clients.append(c.admin)
            await c.admin.create("pods", created("web", "1"))
            assert await node_of(c, "web") == "n1"
    assert [b["Node"] for b in bindings] == ["n1"]


async def test_an_extender_chooses_where_room_is_made() -> None:
    def second(asked: Object) -> Object:
        victims = asked["NodeNameToMetaVictims"]["n2"]
        return {"NodeNameToMetaVictims": {"n2": {"Pods": victims["Pods"], "NumPDBViolations": 0}}}

    async with program(preempt=second) as extender:
        config = configured(extender, preemptVerb="preempt", nodeCacheCapable=True)
        async with cluster("n1", "n2", config=config) as c:
            await priorities(c, high=1000)
            for name in ("low-1", "low-2"):
                await c.admin.create("pods", created(name, "8"))
                await bound(c, name)
            await c.admin.create("pods", created("high", "8", priorityClassName="high"))
            assert await node_of(c, "high") == "n2"
