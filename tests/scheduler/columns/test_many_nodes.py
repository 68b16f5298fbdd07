"""With many nodes the scheduler keeps them as columns, and places equal pods together: on a real API server."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tests.controllers.running import Cluster, cluster

from sampan.machinery.objects import Object
from sampan.scheduler.columns.placer import Placer

NODES = 60


def pod(name: str, cpu: str = "1", **spec: Any) -> Object:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    meta = {"name": name, "namespace": "default", "labels": {"app": "a"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], **spec}}


async def nodes_of(c: Cluster, names: list[str]) -> list[str]:
    """Where the pods are, once all are bound."""
    for name in names:
        await c.until("pods", name, lambda p: p and p["spec"].get("nodeName"))
    return [(await c.admin.get("pods", name, "default"))["spec"]["nodeName"] for name in names]


async def test_equal_pods_fill_all_nodes_evenly_and_the_last_is_told_why() -> None:
    async with cluster(*(f"n{i}" for i in range(NODES))) as c:
        each = int((await c.admin.get("nodes", "n0"))["status"]["allocatable"]["cpu"])
        names = [f"p{i}" for i in range(NODES * each)]
        await asyncio.gather(*(c.admin.create("pods", pod(name)) for name in names))
        assert set(Counter(await nodes_of(c, names)).values()) == {each}
        await c.admin.create("pods", pod("late"))
        await c.until("pods", "late", lambda p: p and "conditions" in p.get("status", {}))
        found = (await c.admin.get("pods", "late", "default"))["status"]["conditions"][0]
        assert f"0/{NODES} nodes are available: {NODES} Insufficient cpu." in found["message"]


async def test_pods_apart_and_pods_unlike_each_other_are_placed_in_their_order() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "a"}}}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    async with cluster(*(f"n{i}" for i in range(NODES))) as c:
        names = [f"p{i}" for i in range(NODES)]
        wanted = [pod(name, cpu=f"{i % 3 + 1}00m", affinity=apart) for i, name in enumerate(names)]
        await asyncio.gather(*(c.admin.create("pods", one) for one in wanted))
        assert len(set(await nodes_of(c, names))) == NODES


def test_a_placer_is_filled_step_by_step_while_the_cluster_changes() -> None:
    """Nodes that come, and pods that move, between two steps are counted once."""
    from random import Random

    from tests.scheduler.columns import worlds

    rng = Random(5)
    snapshot = worlds.cluster(rng, 350, 200)
    placer = Placer(snapshot, empty=True)
    for step, _ in enumerate(placer.fill()):
        snapshot.set_node(worlds.node(rng, f"new{step}"))
        snapshot.remove_node(f"n{step * 7}")
        for one, _ in list(snapshot.pods())[:: 9 + step]:
            snapshot.add_pod(one, f"n{340 + step}")
    whole = Placer(snapshot)
    assert placer.table.row_of.keys() == whole.table.row_of.keys()
    for name, row in whole.table.row_of.items():
        for resource, column in whole.table.used.items():
            assert column.view[row] == placer.table.used[resource].view[placer.table.row_of[name]]
