"""Gangs on a real API server: held back until whole, placed at once, never in part."""

from __future__ import annotations

from typing import Any

from tests.controllers.running import Cluster, cluster

from sampan.machinery.objects import Object
from sampan.scheduler import configuration
from sampan.scheduler.framework import Plugin, Status
from sampan.scheduler.pods import PodInfo

GROUPS = "podgroups.scheduling.k8s.io"


def group(name: str, least: int, **spec: Any) -> Object:
    meta = {"name": name, "namespace": "default"}
    policy = {"gang": {"minCount": least}}
    return {
        "apiVersion": "scheduling.k8s.io/v1beta1",
        "kind": "PodGroup",
        "metadata": meta,
        "spec": {"schedulingPolicy": policy, **spec},
    }


def member(name: str, of: str, cpu: str = "1", **more: Any) -> Object:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    meta = {"name": name, "namespace": "default"}
    spec = {"schedulingGroup": {"podGroupName": of}, "containers": [container], **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


async def bound(c: Cluster, *names: str) -> None:
    for name in names:
        await c.until("pods", name, lambda p: p and p["spec"].get("nodeName"))


async def told(c: Cluster, name: str, words: str) -> None:
    """Wait until a group's condition says so."""

    def says(found: Object | None) -> bool:
        conditions = (found or {}).get("status", {}).get("conditions", ())
        return any(words in f"{x['status']} {x['reason']} {x['message']}" for x in conditions)

    await c.until(GROUPS, name, says)


async def waiting(c: Cluster, *names: str) -> bool:
    return not any([(await c.admin.get("pods", n, "default"))["spec"].get("nodeName") for n in names])


async def test_a_gang_waits_for_its_group_and_for_enough_pods() -> None:
    async with cluster("n1") as c:
        await c.admin.create("pods", member("a", "g"))
        await c.admin.create("pods", member("b", "g"))
        await c.admin.create(GROUPS, group("g", 3))
        # A pod of nobody's group goes its way meanwhile.
        alone = member("alone", "g")
        del alone["spec"]["schedulingGroup"]
        await c.admin.create("pods", alone)
        await bound(c, "alone")
        assert await waiting(c, "a", "b")
        await c.admin.create("pods", member("c", "g"))
        await bound(c, "a", "b", "c")
        await told(c, "g", "True Scheduled")


async def test_two_gangs_that_fit_only_alone_one_after_the_other() -> None:
    async with cluster("n1", "n2") as c:
        for name in ("red", "blue"):
            await c.admin.create(GROUPS, group(name, 3))
            for i in range(3):
                await c.admin.create("pods", member(f"{name}-{i}", name, "3"))
        await bound(c, *(f"red-{i}" for i in range(3)))
        await told(c, "blue", "False Unschedulable minCount (3) cannot be satisfied")
        assert await waiting(c, *(f"blue-{i}" for i in range(3)))
        for i in range(3):
            await c.admin.delete("pods", f"red-{i}", "default")
        await bound(c, *(f"blue-{i}" for i in range(3)))
        await told(c, "blue", "True Scheduled")


async def test_a_gang_that_needs_fewer_pods_than_before_may_go() -> None:
    async with cluster("n1") as c:
        await c.admin.create(GROUPS, group("g", 2))
        await c.admin.create("pods", member("a", "g"))
        await c.admin.patch(GROUPS, "g", "default", {"spec": {"schedulingPolicy": {"gang": {"minCount": 1}}}})
        await bound(c, "a")


async def test_a_gang_of_differing_pods_is_an_error_that_is_told() -> None:
    async with cluster("n1") as c:
        rank = {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "high"},
            "value": 9,
        }
        await c.admin.create("priorityclasses.scheduling.k8s.io", rank)
        await c.admin.create(GROUPS, group("g", 1, priorityClassName="high"))
        await c.admin.create("pods", member("a", "g"))
        await told(
            c, "g", "False SchedulerError all pods in a single pod group should have the same priority"
        )
        assert await waiting(c, "a")


async def ranked(c: Cluster, name: str, value: int) -> None:
    rank = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
    }
    await c.admin.create("priorityclasses.scheduling.k8s.io", rank)


def plain(name: str, cpu: str, **spec: Any) -> Object:
    made = member(name, "", cpu)
    made["spec"] = {**spec, "containers": made["spec"]["containers"]}
    return made


async def test_a_gang_of_higher_priority_displaces_the_fewest_that_let_all_of_it_in() -> None:
    async with cluster("n1", "n2", "n3") as c:
        await ranked(c, "high", 9)
        for i in range(6):
            await c.admin.create("pods", plain(f"low-{i}", "4"))
        await bound(c, *(f"low-{i}" for i in range(6)))
        await c.admin.create(GROUPS, group("g", 3, priorityClassName="high"))
        for i in range(3):
            await c.admin.create("pods", member(f"g-{i}", "g", "4", priorityClassName="high"))
        await bound(c, "g-0", "g-1", "g-2")
        left = [p["metadata"]["name"] for p in (await c.admin.list("pods", "default")).items]
        assert sum(1 for name in left if name.startswith("low")) == 3, "three go for three, and no more"
        await told(c, "g", "True Scheduled")


async def test_a_gang_that_would_not_fit_even_so_displaces_nobody() -> None:
    async with cluster("n1") as c:
        await ranked(c, "high", 9)
        await c.admin.create("pods", plain("low", "4"))
        await bound(c, "low")
        await c.admin.create(GROUPS, group("g", 3, priorityClassName="high"))
        for i in range(3):
            await c.admin.create("pods", member(f"g-{i}", "g", "4", priorityClassName="high"))
        await told(c, "g", "preemption: Preemption is not helpful for scheduling")
        assert not await waiting(c, "low")
        assert await waiting(c, "g-0", "g-1", "g-2")


class Faulty(Plugin):
    """Fails at reserve for pods whose name ends in 1."""

    name = "tests.scheduler.test_gang_loop:Faulty"

    def reserve(self, state: Any, pod: PodInfo, node: str) -> Status | None:
        if pod.name.endswith("1") and pod.namespace == "default":
            raise RuntimeError("out of order")
        return None

    def unreserve(self, state: Any, pod: PodInfo, node: str) -> None:
        pass


FAULTY = f"""
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- plugins: {{reserve: {{enabled: [{{name: "{Faulty.name}"}}]}}}}
"""


async def test_a_plugins_fault_leaves_nothing_of_the_gang_behind() -> None:
    async with cluster("n1", config=configuration.load(FAULTY)) as c:
        await c.admin.create(GROUPS, group("g", 2))
        for i in range(2):
            await c.admin.create("pods", member(f"g-{i}", "g", "4"))
        await told(c, "g", "False SchedulerError RuntimeError: out of order")
        # The whole node is free for another.
        await c.admin.create("pods", plain("large", "8"))
        await bound(c, "large")
        assert await waiting(c, "g-0", "g-1")
