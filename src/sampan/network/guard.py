"""Puts back what others take away: our tables after `nft flush ruleset`, our place in Docker's firewall.

It waits for the kernel's news, such as that Docker started, and costs nothing until there are any.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from sampan.host import netlink, netns, nft
from sampan.network import docker, ground
from sampan.network.addresses import NodeNetwork
from sampan.network.proxy import Proxy

log = logging.getLogger(__name__)

SETTLE = 0.2  # seconds that others may take to finish their work before we look


async def watch(node: NodeNetwork, proxy: Proxy, at: Path | None = None) -> None:
    """Keep our rules in place in the namespace at `at`, until cancelled.

    Host ports of pods that run are lost with their table; they come back with the pods.
    """
    own = (node.ranges.table, proxy.table)
    with netns.entered(at):
        events = netlink.Changes(docker.TABLE, gone=own, links=docker.LINKS)
    with events:
        while True:
            try:
                if proxy.table in await asyncio.to_thread(_mend, node, own, at):
                    proxy.rewrite()
            except (nft.NftError, OSError) as e:
                log.warning("cannot put our firewall rules back: %s", e)
            await events.wait()
            await asyncio.sleep(SETTLE)
            events.drain()


def _mend(node: NodeNetwork, own: tuple[str, str], at: Path | None) -> set[str]:
    """Put back the ground's table and Docker's permission; returns which tables were missing."""
    missing = set(own) - set(nft.tables(at))
    if node.ranges.table in missing:
        nft.run(ground.rules(node), at)
    if node.edge:
        docker.admit(node.ranges, at)
    return missing
