"""Cluster addresses and node ports of Services.

What is taken is said by the Services themselves: read at the start, then kept in step with the store. A reservation is
made at once, within one turn of the loop, so two requests never get the same; where other servers share the store, it
is a claim there as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
from collections.abc import Iterable, Iterator

import orjson

from sampan.apiserver.claims import Claims
from sampan.machinery import conditions
from sampan.machinery.objects import Object
from sampan.store.api import Compacted, Store

PREFIX, CIDRS = "/core/services/", "/networking.k8s.io/servicecidrs/"
FULL = "the range of addresses is full"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# How often an address that was asked for is tried, and how soon again: who had it may be going just now.
PATIENCE, _WAIT_SECONDS = 5, 0.02


class Taken(Exception):
    """The address or port asked for is somebody else's, or out of range, or none is left."""


class Services:
    """Who holds which address and port: the uid of the Service."""

    def __init__(self, store: Store, cidr: str, ports: tuple[int, int]):
        self._store = store
        self._network = ipaddress.ip_network(cidr)
        self._ports = ports
        self._holders: dict[str, str] = {}
        self.claims = Claims(store, lambda uid: uid in self._holders.values())

    @property
    def first(self) -> str:
        """The address of Service `kubernetes`."""
        return str(self._network[1])

    @property
    def family(self) -> str:
        return f"IPv{self._network.version}"

    async def run(self, loaded: asyncio.Event) -> None:
        """Load what is taken, then follow the store for ever."""
        while True:
            page = await self._store.list(PREFIX)
            self._holders.clear()
            for record in page.records:
                self._take(orjson.loads(record.value))
            loaded.set()
            try:
                async for batch in self._store.watch(PREFIX, page.revision):
                    for event in batch:
                        self._follow(event.value, event.previous.value if event.previous else None)
                return
            except Compacted:
                continue

    def _follow(self, value: bytes | None, previous: bytes | None) -> None:
        """Free what a write gave up, unless somebody else holds it by now."""
        now = orjson.loads(value) if value is not None else None
        held = set(held_by(now)) if now else set()
        if previous is not None:
            old = orjson.loads(previous)
            for item in held_by(old):
                if item not in held and self._holders.get(item) == old["metadata"]["uid"]:
                    del self._holders[item]
                    self.claims.drop(item, old["metadata"]["uid"])
        if now:
            self._take(now)

    def _take(self, service: Object) -> None:
        for item in held_by(service):
            self._holders.setdefault(item, service["metadata"]["uid"])

    def release(self, items: Iterable[str], uid: str) -> None:
        """Give back what was reserved for a write that did not happen."""
        for item in items:
            if self._holders.get(item) == uid:
                del self._holders[item]
                self.claims.drop(item, uid)

    async def address(self, uid: str, asked: str = "") -> str:
        """Reserve an address: the one asked for, or a free one beyond the first 16, which are for fixed uses.

        Raises Taken.
        """
        if not asked:
            try:
                return await self._reserve(uid, _addresses(self._network), FULL)
            except Taken:
                for network in await self._added():
                    with contextlib.suppress(Taken):
                        return await self._reserve(uid, _addresses(network), FULL)
                raise
        try:
            address = ipaddress.ip_address(asked)
        except ValueError as e:
            raise Taken("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)") from e
        if address not in self._network and not any(address in n for n in await self._added()):
            raise Taken(
                f"failed to allocate IP {asked}: the provided network does not match the current range: {self._network}"
            )
        return await self._reserve(uid, [asked] * PATIENCE, "provided IP is already allocated")

    async def _added(self) -> list[Network]:
        """The ranges that ServiceCIDRs add to the cluster's own, in the order of their names."""
        found = []
        for record in (await self._store.list(CIDRS)).records:
            cidr = orjson.loads(record.value)
            if "deletionTimestamp" not in cidr["metadata"] and conditions.is_true(cidr, "Ready"):
                found += [ipaddress.ip_network(text) for text in cidr["spec"].get("cidrs") or ()]
        return [n for n in found if n.version == self._network.version and n != self._network]

    async def port(self, uid: str, protocol: str, asked: int = 0) -> int:
        """Reserve a node port. Raises Taken."""
        low, high = self._ports
        if asked:
            if not low <= asked <= high:
                raise Taken(
                    f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
                )
            await self._reserve(uid, [f"{protocol}/{asked}"] * PATIENCE, "provided port is already allocated")
            return asked
        start = random.randrange(high - low + 1)
        ports = (low + (start + n) % (high - low + 1) for n in range(high - low + 1))
        found = await self._reserve(
            uid, (f"{protocol}/{p}" for p in ports), "the range of node ports is full"
        )
        return int(found.rpartition("/")[2])

    async def _reserve(self, uid: str, candidates: Iterable[str], why: str) -> str:
        """The first candidate that is free; one that is named again is waited for."""
        before = ""
        for item in candidates:
            if item == before:
                await asyncio.sleep(_WAIT_SECONDS)
            before = item
            if self._holders.setdefault(item, uid) != uid:
                continue
            if await self.claims.take(item, uid):
                return item
            if self._holders.get(item) == uid:
                del self._holders[item]
        raise Taken(why)


def _addresses(network: Network) -> Iterator[str]:
    """Every usable address of a range once, from a random one on; the first 16 last."""
    size, low = network.num_addresses - 1, max(1, min(16, network.num_addresses // 16))
    start = random.randrange(max(1, size - low))
    yield from (str(network[low + (start + n) % (size - low)]) for n in range(size - low))
    yield from (str(network[n]) for n in range(1, low))


def held_by(service: Object) -> Iterator[str]:
    """The addresses, and the ports as `TCP/30080`, that a Service holds."""
    spec = service.get("spec") or {}
    for address in {spec.get("clusterIP"), *(spec.get("clusterIPs") or ())}:
        if address and address != "None":
            yield address
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield f"{port.get('protocol') or 'TCP'}/{port['nodePort']}"
    if spec.get("healthCheckNodePort"):
        yield f"TCP/{spec['healthCheckNodePort']}"
