"""What is taken already: devices, shares of devices, and what remains of shared counters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sampan.machinery import quantities
from sampan.machinery.objects import Object
from sampan.scheduler.devices import DeviceId
from sampan.scheduler.devices.pools import Counters, Pool, amounts, devices


@dataclass(slots=True)
class Taken:
    """Devices that have one owner, those that are shared, and how much of their capacities is used (billionths)."""

    owned: set[DeviceId] = field(default_factory=set)
    shared: set[DeviceId] = field(default_factory=set)
    capacity: dict[DeviceId, dict[str, int]] = field(default_factory=dict)

    @staticmethod
    def of(claims: Iterable[Object]) -> Taken:
        """What the claims' allocations take; who only watches over a device takes nothing."""
        found = Taken()
        for claim in claims:
            for result in results_of(claim):
                if not result.get("adminAccess"):
                    found._add(result)
        return found

    def _add(self, result: Object) -> None:
        device = (result["driver"], result["pool"], result["device"])
        if result.get("shareID") is None:
            self.owned.add(device)
            return
        self.shared.add(device)
        if (used := result.get("consumedCapacity")) is not None:
            known = self.capacity.setdefault(device, {})
            for name, amount in used.items():
                known[name] = known.get(name, 0) + quantities.parse(amount).nano

    def remaining(self, pool: Pool) -> Counters:
        """What is left of a pool's counters."""
        left = {name: dict(counters) for name, counters in pool.counters.items()}
        for piece in [*pool.here, *pool.elsewhere]:
            for device in devices(piece):
                name = (*pool.id, device["name"])
                if name in self.owned or name in self.shared:
                    consume(left, device, -1)
        return left


def consume(counters: Counters, device: Object, sign: int) -> None:
    """Add what a device consumes to counters, or take it off."""
    for used in device.get("consumesCounters") or ():
        known = counters.setdefault(used["counterSet"], {})
        for name, amount in amounts(used).items():
            known[name] = known.get(name, 0) + sign * amount


def results_of(claim: Object) -> list[Object]:
    """The devices that a claim has."""
    allocation = (claim.get("status") or {}).get("allocation") or {}
    found: list[Object] = (allocation.get("devices") or {}).get("results") or []
    return found
