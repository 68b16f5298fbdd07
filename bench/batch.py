"""Nodes that mixed workloads take: placed together within ten seconds, and in sequence by MostAllocated."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from bench.rows import Row
from sampan.machinery.objects import Object
from sampan.scheduler import cluster, plugins
from sampan.scheduler.batch.plan import Wish, make, sequential
from sampan.scheduler.batch.prepare import in_use
from sampan.scheduler.batch.problem import FEWEST_NODES
from sampan.scheduler.decide import decide

SECONDS = 10.0
SEEDS = (1, 2, 3)
MI = 2**20
# What a workload's pods request: cpu in thousandths (from, to, step), memory in Mi (from, to, step).
KINDS = {
    "web": ((100, 500, 50), (256, 1024, 64)),
    "service": ((500, 1500, 250), (1024, 4096, 512)),
    "cache": ((250, 500, 50), (8192, 16384, 1024)),
    "job": ((1500, 2500, 250), (1024, 3072, 512)),
    "database": ((750, 1500, 250), (12288, 20480, 2048)),
    "train": ((2000, 3500, 250), (2048, 6144, 1024)),
}
# Of how many workloads in a hundred each kind is.
MIXES = {
    "services": {"web": 40, "service": 30, "cache": 20, "database": 10},
    "analytics": {"job": 40, "cache": 30, "web": 15, "database": 15},
    "training": {"train": 35, "database": 25, "service": 20, "web": 20},
}
# Nodes as (cpu, Gi): upstream's shape alone, and beside two others in equal parts.
SHAPES = {"4 cpu, 32 Gi": [(4, 32)], "three shapes": [(4, 32), (4, 16), (8, 32)]}


def run() -> list[Row]:
    rows = []
    everything = [0, 0]
    for shapes in SHAPES:
        sequence = together = 0
        for mix in MIXES:
            for seed in SEEDS:
                objects = workload(mix, shapes, seed)
                one, (all_, least) = in_sequence(objects), planned(objects)
                sequence, together = sequence + one, together + all_
                saved = f"{100 * (1 - all_ / one):.1f} % fewer"
                name = f"{mix}, {shapes}, seed {seed}: nodes for 1,000 pods"
                rows.append(
                    Row(
                        name, f"{all_}, {saved} (no plan needs fewer than {least})", peer=f"{one} in sequence"
                    )
                )
        total = f"{100 * (1 - together / sequence):.1f} % fewer"
        rows.append(
            Row(
                f"all mixes, {shapes}",
                f"{together}, {total}",
                peer=f"{sequence} in sequence",
                reach="8 % fewer",
            )
        )
        everything = [everything[0] + sequence, everything[1] + together]
    saved = f"{100 * (1 - everything[1] / everything[0]):.1f} % fewer"
    rows.append(
        Row("everything", f"{everything[1]}, {saved}", peer=f"{everything[0]} in sequence", reach="8 % fewer")
    )
    return rows


def workload(mix: str, shapes: str, seed: int, count: int = 1000) -> list[Object]:
    """Empty nodes and waiting pods, which come in the replicas of their workloads."""
    chance = random.Random(f"{mix}/{seed}")
    sizes: list[tuple[int, int]] = []
    kinds, weights = list(MIXES[mix]), list(MIXES[mix].values())
    while len(sizes) < count:
        cpu, memory = KINDS[chance.choices(kinds, weights)[0]]
        size = (
            chance.randrange(cpu[0], cpu[1] + 1, cpu[2]),
            chance.randrange(memory[0], memory[1] + 1, memory[2]),
        )
        sizes += [size] * min(count - len(sizes), chance.choice((1, 1, 2, 3, 5, 8)))
    nodes = [_node(i, *SHAPES[shapes][i % len(SHAPES[shapes])]) for i in range(600)]
    return nodes + [_pod(i, *size) for i, size in enumerate(sizes)]


def _node(i: int, cpu: int, memory: int) -> Object:
    meta = {"name": f"n{i:03}", "labels": {"kubernetes.io/hostname": f"n{i:03}"}}
    return {
        "kind": "Node",
        "metadata": meta,
        "status": {"allocatable": _amounts(cpu * 1000, memory * 1024, pods="110")},
    }


def _pod(i: int, cpu: int, memory: int) -> Object:
    container = {"name": "c", "image": "busybox", "resources": {"requests": _amounts(cpu, memory)}}
    return {"kind": "Pod", "metadata": {"name": f"p{i:04}"}, "spec": {"containers": [container]}}


def _amounts(cpu: int, memory: int, **more: Any) -> Object:
    return {"cpu": f"{cpu}m", "memory": f"{memory}Mi", **more}


def in_sequence(objects: list[Object]) -> int:
    """The nodes in use after the scheduler has placed the pods one by one, filling nodes (MostAllocated)."""
    state = cluster.of(objects)
    profile = sequential(plugins.default_profile(), FEWEST_NODES)
    placer = _placer(state)
    for pod in state.waiting.values():
        decision = placer.place(profile, pod) if placer else decide(profile, state.snapshot, pod)
        assert decision.node, decision.message()
        state.snapshot.add_pod(pod, decision.node)
    return sum(1 for node in state.snapshot.nodes.values() if in_use(node))


def _placer(state: cluster.ClusterState) -> Any:
    from sampan.scheduler.columns.placer import Placer

    return Placer(state.snapshot)


def planned(objects: list[Object]) -> tuple[int, int]:
    """The nodes in use by the plan, and a bound from below."""
    state = cluster.of(objects)
    wish = Wish(FEWEST_NODES, SECONDS)
    plan = asyncio.run(make(plugins.default_profile(), state.snapshot, state.waiting.values(), wish))
    assert not plan.failed
    assert not plan.trouble, plan.trouble
    return plan.used[1], plan.least
