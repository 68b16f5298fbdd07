"""Own plugins, a few lines each, at every extension point of a real scheduling."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tests.controllers.running import Cluster, cluster
from tests.scheduler.test_preemption import bound, created

from sampan.machinery import yaml
from sampan.machinery.objects import Object
from sampan.scheduler import configuration
from sampan.scheduler.configuration import Configuration
from sampan.scheduler.events import Action, EventHint, Kind, on
from sampan.scheduler.framework import (
    Code,
    Plugin,
    PreFiltered,
    Status,
    failed,
    unresolvable,
    unschedulable,
)
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import Snapshot


class Recording(Plugin):
    """At every point; writes down the way that pods take."""

    name = "Recording"
    way: ClassVar[list[str]] = []

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        self.way.append("preEnqueue")
        return None

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered:
        self.way.append("preFilter")
        return PreFiltered(state=f"the state of {pod.name}")

    def filter(self, state: str, pod: PodInfo, node: NodeInfo) -> Status | None:
        self.way.append("filter")
        return unschedulable("not the first") if node.name == "n1" else None

    async def post_filter(self, cycle: Any, statuses: Mapping[str, Status]) -> tuple[Status, str | None]:
        self.way.append("postFilter")
        return unschedulable("nothing to be done"), None

    def pre_score(self, state: str, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot) -> str:
        self.way.append("preScore")
        return state

    def score(self, state: str, pod: PodInfo, node: NodeInfo) -> int:
        self.way.append("score")
        return 100 if node.name == "n3" else 0

    def reserve(self, state: str, pod: PodInfo, node: str) -> Status | None:
        assert state == f"the state of {pod.name}"
        self.way.append(f"reserve {node}")
        return None

    def unreserve(self, state: str, pod: PodInfo, node: str) -> None:
        self.way.append(f"unreserve {node}")

    def permit(self, state: str, pod: PodInfo, node: str) -> tuple[Status | None, float]:
        self.way.append("permit")
        return None, 0.0

    async def pre_bind(self, state: str, pod: PodInfo, node: str) -> Status | None:
        self.way.append("preBind")
        return None

    async def bind(self, state: str, pod: PodInfo, node: str) -> Status | None:
        self.way.append("bind")
        return Status(Code.SKIP)

    def post_bind(self, state: str, pod: PodInfo, node: str) -> None:
        self.way.append("postBind")


def configured(*plugins: type[Plugin], **points: Any) -> Configuration:
    """The default plugins and these; the own ones first at bind, so that they are asked."""
    names = [{"name": f"{p.__module__}:{p.__qualname__}", "weight": 100} for p in plugins]
    profile = {"plugins": {"multiPoint": {"enabled": names}, **points}}
    head = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    election = {"leaderElect": False}
    return configuration.load(yaml.dump({**head, "leaderElection": election, "profiles": [profile]}))


async def test_every_point_is_passed_in_order() -> None:
    Recording.way.clear()
    name = f"{__name__}:Recording"
    first = {"bind": {"enabled": [{"name": name}, {"name": "DefaultBinder"}]}}
    async with cluster("n1", "n2", "n3", config=configured(Recording, **first)) as c:
        # A node that has just come is tainted until it is ready.
        await c.admin.create("pods", created("web", "1", tolerations=[{"operator": "Exists"}]))
        await bound(c, "web")
        assert (await c.admin.get("pods", "web", "default"))["spec"]["nodeName"] == "n3"
        async with asyncio.timeout(5):
            while "postBind" not in Recording.way:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    way = list(dict.fromkeys(Recording.way))
    before = ["preEnqueue", "preFilter", "filter", "preScore", "score"]
    assert way == [*before, "reserve n3", "permit", "preBind", "bind", "postBind"]


class Gate(Plugin):
    """Holds pods back until their node is allowed; the first try of a binding fails."""

    name = "Gate"
    waiting: ClassVar[dict[str, Any]] = {}
    failures: ClassVar[list[str]] = []
    unreserved: ClassVar[list[str]] = []
    patience = 20.0

    def permit(self, state: None, pod: PodInfo, node: str) -> tuple[Status | None, float]:
        return Status(Code.WAIT), self.patience

    def reserve(self, state: None, pod: PodInfo, node: str) -> Status | None:
        if self.handle is not None:
            self.waiting["pods"] = self.handle.waiting
        return None

    def unreserve(self, state: None, pod: PodInfo, node: str) -> None:
        self.unreserved.append(pod.name)

    async def pre_bind(self, state: None, pod: PodInfo, node: str) -> Status | None:
        if pod.name == "unlucky" and not self.failures:
            self.failures.append(pod.name)
            return failed("the first time never works")
        return None


async def waits(name: str) -> Any:
    async with asyncio.timeout(10):
        while True:
            for one in Gate.waiting.get("pods") or ():
                if one.pod.name == name:
                    return one
            await asyncio.sleep(0.01)


async def test_a_pod_waits_for_permission_and_holds_its_room_meanwhile() -> None:
    Gate.waiting.clear()
    async with cluster("n1", config=configured(Gate)) as c:
        await c.admin.create("pods", created("first", "8"))
        waiting = await waits("first")
        await c.admin.create("pods", created("second", "8"))
        await c.until("pods", "second", lambda p: p and "Insufficient cpu" in str(p["status"]))
        assert "nodeName" not in (await c.admin.get("pods", "first", "default"))["spec"]
        waiting.allow("Gate")
        await bound(c, "first")


async def test_a_rejected_pod_gives_its_room_back() -> None:
    Gate.waiting.clear()
    Gate.unreserved.clear()
    async with cluster("n1", config=configured(Gate)) as c:
        await c.admin.create("pods", created("first", "8"))
        waiting = await waits("first")
        await c.admin.create("pods", created("second", "8"))
        await c.until("pods", "second", lambda p: p and "Insufficient cpu" in str(p["status"]))
        waiting.reject("Gate", "not this time")
        (await waits("second")).allow("Gate")
        await bound(c, "second")
        told = ("FailedScheduling", "0/1 nodes are available: 1 not this time.", 1)
        async with asyncio.timeout(5):
            while told not in await c.events("first"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert Gate.unreserved == ["first"]


async def test_a_deleted_pod_does_not_wait_on() -> None:
    Gate.waiting.clear()
    async with cluster("n1", config=configured(Gate)) as c:
        await c.admin.create("pods", created("first", "8"))
        await waits("first")
        await c.admin.create("pods", created("second", "8"))
        await c.until("pods", "second", lambda p: p and "Insufficient cpu" in str(p["status"]))
        await c.admin.delete("pods", "first", "default")
        (await waits("second")).allow("Gate")
        await bound(c, "second")


async def test_what_waits_too_long_is_rejected() -> None:
    Gate.waiting.clear()
    Gate.patience = 0.1
    try:
        async with cluster("n1", config=configured(Gate)) as c:
            await c.admin.create("pods", created("late", "1"))
            why = "rejected due to timeout after waiting 100ms at plugin Gate"
            await c.until("pods", "late", lambda p: p and why in str(p["status"]))
    finally:
        Gate.patience = 20.0


async def test_a_binding_that_fails_is_taken_back_and_tried_again() -> None:
    Gate.waiting.clear()
    Gate.failures.clear()
    Gate.unreserved.clear()
    async with cluster("n1", config=configured(Gate)) as c:
        await c.admin.create("pods", created("unlucky", "8"))
        (await waits("unlucky")).allow("Gate")
        why = 'running PreBind plugin "Gate": the first time never works'
        await c.until("pods", "unlucky", lambda p: p and why in str(p["status"]))
        condition = (await c.admin.get("pods", "unlucky", "default"))["status"]["conditions"][0]
        assert condition["reason"] == "SchedulerError"
        (await waits("unlucky")).allow("Gate")
        await bound(c, "unlucky")
        assert Gate.unreserved == ["unlucky"]


class Wanted(Plugin):
    """Wants a label on the node that only it knows of; says which events matter."""

    name = "Wanted"

    def filter(self, state: None, pod: PodInfo, node: NodeInfo) -> Status | None:
        return None if "wanted" in node.labels else unresolvable("the node is not wanted")

    def events(self) -> Sequence[EventHint]:
        return [on(Kind.NODE, Action.UPDATE_NODE_LABEL, lambda pod, old, new: "wanted" in labels(new))]


def labels(obj: Object | None) -> Object:
    return (obj or {}).get("metadata", {}).get("labels") or {}


async def label(c: Cluster, name: str, **values: str) -> None:
    await c.admin.patch("nodes", name, "", {"metadata": {"labels": values}})


async def test_an_own_plugin_says_which_events_help() -> None:
    async with cluster("n1", config=configured(Wanted)) as c:
        await c.admin.create("pods", created("web", "1"))
        await c.until("pods", "web", lambda p: p and "the node is not wanted" in str(p["status"]))
        await label(c, "n1", other="yes")
        await label(c, "n1", wanted="yes")
        await bound(c, "web")
        # Once when it came, and once for the label that matters.
        told = [count for _, message, count in await c.events("web") if "not wanted" in message]
        assert told == [1]
