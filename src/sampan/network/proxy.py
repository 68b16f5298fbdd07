"""Writes the rules of all Services into one network namespace, and keeps them right as services change.

Changes that come within a few milliseconds become one transaction, which touches only what changed. It begins, and
recovers from any error, by making the whole table right at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from sampan.host import conntrack, nft, trace
from sampan.machinery.objects import Key
from sampan.network import ruleset, services
from sampan.network.addresses import NodeNetwork
from sampan.network.feed import Feed
from sampan.network.ruleset import Present, Ruleset

log = logging.getLogger(__name__)

GATHER = 0.005  # seconds to gather changes before acting on them
FIRST_BACKOFF, MOST_BACKOFF = 0.1, 10.0


class Proxy:
    """The services of one cluster as seen from `node`, in the namespace at `at` (None: the own one).

    `problem` says in words why the rules are not as they should be, empty when they are; `idle`, whether nothing is
    left to write.
    """

    def __init__(self, feed: Feed, node: NodeNetwork, at: Path | None = None) -> None:
        self.problem = "the rules of services have not been written"
        self._feed = feed
        self._node = node
        self._at = at
        self.table = f"{node.ranges.table}-services"
        self._parts: dict[Key, Ruleset] = {}
        self._standing: Ruleset | None = None  # None: unknown, so everything is written anew
        self._changed: dict[Key, set[trace.Cause]] = {}
        self._wake = asyncio.Event()
        self.idle = False
        feed.listen(self._note)

    async def run(self) -> None:
        """Keep the rules right until cancelled."""
        await self._feed.synced.wait()
        self._changed.clear()
        changed: dict[Key, set[trace.Cause]] = {k: set() for k in self._feed.book.services}
        backoff = FIRST_BACKOFF
        while True:
            try:
                await self._update(changed)
                changed, backoff = {}, FIRST_BACKOFF
                self.idle = not self._changed
                await self._wake.wait()
                await asyncio.sleep(GATHER)
            except (nft.NftError, OSError) as e:
                self._standing, self.problem = None, f"cannot write the rules of services: {e}"
                log.error("%s; trying again in %g s", self.problem, backoff)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, MOST_BACKOFF)
            self._wake.clear()
            for service, causes in self._changed.items():
                changed.setdefault(service, set()).update(causes)
            self._changed.clear()

    def rewrite(self) -> None:
        """Make the whole table right again, for someone has deleted it."""
        self._standing = None
        self.idle = False
        self._wake.set()

    def _note(self, changes: Mapping[Key, Iterable[trace.Cause]]) -> None:
        for service, causes in changes.items():
            self._changed.setdefault(service, set()).update(causes)
        self.idle = False
        self._wake.set()

    async def _update(self, changed: Mapping[Key, set[trace.Cause]]) -> None:
        anew = self._standing is None
        before = {k: self._parts.get(k, Ruleset()) for k in changed}
        for service in changed:
            self._decide(service)
        after = {k: self._parts.get(k, Ruleset()) for k in changed}
        if after == before and not anew:
            return
        if anew:  # flows may be from before this process
            before, after = {}, dict(self._parts)
        causes: set[trace.Cause] = set().union(*changed.values())
        with trace.span("update rules of services", "network", causes=causes):
            await asyncio.to_thread(self._write, list(self._parts.values()))
            await asyncio.to_thread(self._forget, before, after)
        self.problem = ""

    def _decide(self, service: Key) -> None:
        known = self._feed.book.services.get(service)
        part = services.decide(known, self._feed.book, self._node) if known else Ruleset()
        if part == Ruleset():
            self._parts.pop(service, None)
        else:
            self._parts[service] = part

    def _write(self, parts: list[Ruleset]) -> None:
        whole = ruleset.merge(parts)
        if self._standing is None:
            self._replace(whole)
        else:
            steps = ruleset.diff(self._standing, whole)
            if steps:
                nft.run(ruleset.render(self.table, steps), self._at)
        self._standing = whole

    def _replace(self, whole: Ruleset) -> None:
        """Make the table right, whatever stands in it; where that fails, say after an upgrade, delete it first."""
        listing = nft.table(self.table, self._at)
        present = ruleset.present(listing) if listing else Present()
        try:
            nft.run(ruleset.replace(self.table, self._node, whole, present), self._at)
        except nft.NftError as e:
            log.warning("writing table %s anew: %s", self.table, e)
            script = ruleset.replace(self.table, self._node, whole, Present())
            nft.run(nft.delete_table(self.table) + script, self._at)

    def _forget(self, before: Mapping[Key, Ruleset], after: Mapping[Key, Ruleset]) -> None:
        """Forget UDP flows that go to endpoints which are gone, or went nowhere when there were none."""
        leads: dict[str, frozenset[str]] = {}
        for service, part in after.items():
            now = services.udp_leads(part)
            old = services.udp_leads(before.get(service, Ruleset()))
            leads |= {
                lead: now.get(lead, frozenset()) for lead in old | now if old.get(lead) != now.get(lead)
            }
        if not leads:
            return

        def stale(flow: conntrack.Flow) -> bool:
            reached = leads.get(f"{flow.destination} . udp . {flow.port}", leads.get(f"udp . {flow.port}"))
            return reached is not None and flow.answered_by not in reached

        conntrack.forget_udp(stale, self._at)
