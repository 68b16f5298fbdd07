"""Preemption: scenario files for its decisions, and whole stories on a real API server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.controllers.running import Cluster, cluster

from sampan.machinery import times
from sampan.machinery.objects import Object
from sampan.scheduler import outcome, preemption
from sampan.scheduler.decide import Cycle, decide
from sampan.scheduler.plugins import default_profile
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import BUDGETS, Snapshot

SCENARIOS = Path(__file__).parent / "scenarios" / "preemption.txt"
PROFILE = default_profile()


def test_scenarios(rewrite: bool) -> None:
    found = SCENARIOS.read_text()
    replayed = asyncio.run(replay(found))
    if rewrite:
        SCENARIOS.write_text(replayed)
    else:
        assert replayed == found


async def replay(text: str) -> str:
    """The file with its outcomes as they are now."""
    out: list[str] = []
    for paragraph in text.split("\n\n"):
        told, _, _ = paragraph.partition("\n----")
        lines = [line for line in told.strip().splitlines() if not line.startswith("#")]
        if not lines:
            out.append(told.strip())
            continue
        scene = Scene()
        said = ""
        for line in lines:
            said = await scene.do(line)
        out.append(f"{told.strip()}\n----\n{said}")
    return "\n\n".join(out) + "\n"


class Scene:
    """A cluster that is described line by line; the last line asks."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()

    async def do(self, line: str) -> str:
        what, name, *words = line.split()
        options = dict(word.split("=", 1) for word in words)
        if what == "node":
            self.snapshot.set_node(node(name, **options))
        elif what == "budget":
            self.snapshot.set(BUDGETS, budget(name, **options))
        elif what == "pod":
            self.snapshot.add_pod(PodInfo(pod(name, **options)), options["on"])
        elif what == "waiting":
            self.snapshot.nominate(PodInfo(pod(name, **options)), options["for"])
        else:
            return await self.preempt(PodInfo(pod(name, **options)))
        return ""

    async def preempt(self, wanted: PodInfo) -> str:
        decision = decide(PROFILE, self.snapshot, wanted)
        cycle = Cycle(PROFILE, self.snapshot, wanted)
        cycle.pre_filter()
        statuses = outcome.statuses(decision, self.snapshot)
        chosen, status, _ = await preemption.choose(cycle, statuses)
        if chosen is None:
            return status.message
        violated = f", violating {chosen.violations}" if chosen.violations else ""
        return f"{chosen.node} without {', '.join(v.name for v in chosen.victims)}{violated}"


def node(name: str, cpu: str = "4", taint: str = "") -> Object:
    meta = {"name": name, "labels": {"kubernetes.io/hostname": name}}
    spec = {"taints": [{"key": taint, "effect": "NoSchedule"}]} if taint else {}
    status = {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}
    return {"metadata": meta, "spec": spec, "status": status}


def budget(name: str, app: str, allowed: str) -> Object:
    spec = {"selector": {"matchLabels": {"app": app}}}
    meta = {"name": name, "namespace": "default"}
    return {"metadata": meta, "spec": spec, "status": {"disruptionsAllowed": int(allowed)}}


def pod(name: str, cpu: str = "1", priority: str = "0", **options: str) -> Object:
    container: Object = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    if "port" in options:
        container["ports"] = [{"hostPort": int(options["port"]), "containerPort": 80}]
    spec: Object = {"containers": [container], "priority": int(priority)}
    if "policy" in options:
        spec["preemptionPolicy"] = options["policy"]
    if "apart" in options:
        selector = {"matchLabels": {"app": options["apart"]}}
        term = {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        spec["affinity"] = {"podAntiAffinity": required}
    meta: Object = {"name": name, "namespace": "default", "uid": name, "labels": {}}
    if "app" in options:
        meta["labels"] = {"app": options["app"]}
    started = times.time(float(options.get("started", "0")))
    status: Object = {"startTime": started, "nominatedNodeName": options.get("nominated", "")}
    if "ending" in options:
        meta["deletionTimestamp"] = started
        ended = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
        status["conditions"] = [ended]
    return {"metadata": meta, "spec": spec, "status": status}


def created(name: str, cpu: str, **spec: Any) -> Object:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    meta = {"name": name, "namespace": "default", "labels": {"app": name.partition("-")[0]}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], **spec}}


async def priorities(c: Cluster, **values: int) -> None:
    for name, value in values.items():
        made = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
        await c.admin.create("priorityclasses.scheduling.k8s.io", {**made, "value": value})


async def bound(c: Cluster, name: str) -> None:
    await c.until("pods", name, lambda p: p and p["spec"].get("nodeName"))


async def test_victims_are_told_and_the_pod_takes_their_place() -> None:
    async with cluster("n1") as c:
        await priorities(c, high=1000)
        conditions: list[Object] = []
        c.informers.subscribe(
            "pods", lambda change, old: conditions.extend(change.object["status"].get("conditions") or ())
        )
        await c.admin.create("pods", created("low", "8"))
        await bound(c, "low")
        await c.admin.create("pods", created("high", "8", priorityClassName="high"))
        await bound(c, "high")
        assert c.informers.get("pods", ("default", "low")) is None  # type: ignore[arg-type]
        high = await c.admin.get("pods", "high", "default")
        assert "nominatedNodeName" not in high["status"]
        async with asyncio.timeout(10):
            while not await c.events("low") or len(await c.events("high")) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        told = f"Preempted by pod {high['metadata']['uid']} on node n1"
        assert ("Preempted", told, 1) in await c.events("low")
        room = "preemption: found a potential placement for pod on node n1, preempting 1 victims"
        message = f"0/1 nodes are available: 1 Insufficient cpu. {room}"
        assert ("FailedScheduling", message, 1) in await c.events("high")
        marked = next(x for x in conditions if x["type"] == "DisruptionTarget")
        assert marked["reason"] == "PreemptionByScheduler"
        assert marked["message"] == "default-scheduler: preempting to accommodate a higher priority pod"


async def test_many_that_preempt_at_once_all_end_with_the_best_in_place() -> None:
    """Ten of low priority fill the cluster; eight of middle and four of high priority come: nobody ends in a circle."""
    async with cluster("n1", "n2") as c:
        await priorities(c, middle=100, high=1000)
        for n in range(8):
            await c.admin.create("pods", created(f"low-{n}", "2"))
        for n in range(8):
            await bound(c, f"low-{n}")
        for n in range(8):
            await c.admin.create("pods", created(f"middle-{n}", "2", priorityClassName="middle"))
        for n in range(4):
            await c.admin.create("pods", created(f"high-{n}", "2", priorityClassName="high"))
        for n in range(4):
            await bound(c, f"high-{n}")

        def full(*_: object) -> bool:
            placed = [p for p in c.informers.list("pods") if p["spec"].get("nodeName")]
            names = sorted(p["metadata"]["labels"]["app"] for p in placed)
            return names == ["high"] * 4 + ["middle"] * 4

        async with asyncio.timeout(20):
            while not full():  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_who_may_not_preempt_waits() -> None:
    async with cluster("n1") as c:
        await priorities(c, high=1000)
        await c.admin.create("pods", created("low", "8"))
        await bound(c, "low")
        patient = created("patient", "8", priorityClassName="high", preemptionPolicy="Never")
        await c.admin.create("pods", patient)
        why = "not eligible due to preemptionPolicy=Never."
        await c.until("pods", "patient", lambda p: p and why in str(p["status"].get("conditions")))
        await c.admin.delete("pods", "low", "default")
        await bound(c, "patient")
