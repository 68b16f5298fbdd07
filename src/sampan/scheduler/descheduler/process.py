"""Evicting, once or on and on, through the eviction API, which keeps to disruption budgets as they are just then."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping

from sampan.client.api import ApiError, Client, Unavailable
from sampan.scheduler import cluster
from sampan.scheduler.descheduler.decide import Move, decide
from sampan.scheduler.descheduler.policy import Policy
from sampan.scheduler.profiles import Profile

log = logging.getLogger(__name__)


async def evict(client: Client, moves: Iterable[Move]) -> list[tuple[Move, str]]:
    """Evict each pod; what the server refuses, such as for a budget, is returned with why, and the others go on."""
    refused = []
    for move in moves:
        pod = move.pod
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": {"preconditions": {"uid": pod.object["metadata"].get("uid")}},
        }
        try:
            await client.create("pods", eviction, name=pod.name, subresource="eviction")
        except ApiError as e:
            if e.reason != "NotFound":
                refused.append((move, str(e)))
    return refused


async def run(
    client: Client, profiles: Mapping[str, Profile], policy: Policy, every: float, *, dry: bool
) -> None:
    """Look at the cluster every so many seconds, and evict what the policy says; with `dry`, only log it."""
    while True:
        try:
            await once(client, profiles, policy, dry=dry)
        except (ApiError, Unavailable) as e:
            log.warning("the cluster cannot be read: %s", e)
        await asyncio.sleep(every)


async def once(client: Client, profiles: Mapping[str, Profile], policy: Policy, *, dry: bool) -> None:
    state = await cluster.read_cluster(client)
    verdict = await asyncio.to_thread(decide, profiles, state.snapshot, policy, time.time())
    for move in verdict.moves:
        log.info(
            "%s %s from %s (%s: %s); its like would go to %s",
            "would evict" if dry else "evicting", move.pod.key, move.node, move.strategy, move.reason, move.to,
        )  # fmt: skip
    if not dry:
        for move, why in await evict(client, verdict.moves):
            log.warning("%s was not evicted: %s", move.pod.key, why)
