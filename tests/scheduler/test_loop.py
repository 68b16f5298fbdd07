"""The scheduler on a real API server."""

from __future__ import annotations

from typing import Any

from tests.controllers.running import Cluster, cluster

from sampan.host import trace
from sampan.machinery.objects import Object


def pod(name: str, cpu: str = "1", **spec: Any) -> Object:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], **spec}}


async def bound(c: Cluster, name: str) -> None:
    await c.until("pods", name, lambda p: p and p["spec"].get("nodeName"))


def scheduled(found: Object | None) -> dict[str, str]:
    conditions = (found or {}).get("status", {}).get("conditions", ())
    return next((c for c in conditions if c["type"] == "PodScheduled"), {})


async def test_a_pod_that_fits_nowhere_is_told_so_and_waits_for_room() -> None:
    async with cluster("n1") as c:
        await c.admin.create("pods", pod("first", "5"))
        await bound(c, "first")
        await c.admin.create("pods", pod("second", "5"))
        await c.until("pods", "second", lambda p: scheduled(p).get("status") == "False")
        found = scheduled(await c.admin.get("pods", "second", "default"))
        assert found["reason"] == "Unschedulable"
        assert found["message"] == (
            "0/1 nodes are available: 1 Insufficient cpu. preemption: "
            "0/1 nodes are available: 1 No preemption victims found for incoming pod."
        )
        await c.admin.delete("pods", "first", "default")
        await bound(c, "second")


async def test_a_new_node_helps_those_that_wait() -> None:
    async with cluster() as c:
        await c.admin.create("pods", pod("early"))
        await c.until("pods", "early", lambda p: scheduled(p).get("status") == "False")
        await c.node("n1")
        await bound(c, "early")


async def test_gates_hold_a_pod_back() -> None:
    async with cluster("n1") as c:
        await c.admin.create("pods", pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
        await c.admin.create("pods", pod("open"))
        await bound(c, "open")
        assert scheduled(await c.admin.get("pods", "gated", "default"))["reason"] == "SchedulingGated"
        assert "nodeName" not in (await c.admin.get("pods", "gated", "default"))["spec"]
        await c.admin.patch("pods", "gated", "default", {"spec": {"schedulingGates": None}})
        await bound(c, "gated")


async def test_other_schedulers_pods_are_left_alone() -> None:
    async with cluster("n1") as c:
        await c.admin.create("pods", pod("theirs", schedulerName="theirs"))
        await c.admin.create("pods", pod("ours"))
        await bound(c, "ours")
        assert "nodeName" not in (await c.admin.get("pods", "theirs", "default"))["spec"]


async def test_binding_continues_the_trace_of_whoever_made_the_pod() -> None:
    spans: list[trace.Span] = []
    trace.export_to(spans.append)
    try:
        async with cluster("n1") as c:
            with trace.span("kubectl run", "test") as own:
                await c.admin.create("pods", pod("traced"))
            await bound(c, "traced")
    finally:
        trace.export_to(None)
    found = [s for s in spans if s.name == "schedule default/traced"][-1]
    assert found.service == "kube-scheduler"
    assert found.cause.trace_id == own.cause.trace_id
