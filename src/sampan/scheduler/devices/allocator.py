"""The search: devices of a node for all claims of a pod, in the order of claims, requests, pools, slices and devices.

It goes forward device by device and takes a step back where nothing fits any more, so that what is found is the
first of all solutions in that order, as upstream's.

Source: k8s.io/dynamic-resource-allocation/structured (incubating allocator) of 1.37.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sampan.machinery.objects import Object, key
from sampan.machinery.placement import tolerates
from sampan.scheduler.devices import (
    AllocationError,
    DeviceId,
    capacities,
    constraints,
    pools,
    selectors,
    shown,
)
from sampan.scheduler.devices.constraints import Constraint
from sampan.scheduler.devices.pools import Counters, Pool
from sampan.scheduler.devices.requests import ALL, MOST_DEVICES, Request, alternatives, of
from sampan.scheduler.devices.state import Taken, consume
from sampan.scheduler.nodes import NodeInfo


@dataclass(frozen=True, slots=True)
class Found:
    """A device, with the slice and the pool that it is in."""

    device: Object
    piece: Object
    pool: Pool

    @property
    def id(self) -> DeviceId:
        return (*self.pool.id, self.device["name"])

    @property
    def shareable(self) -> bool:
        return bool(self.device.get("allowMultipleAllocations"))


@dataclass(frozen=True, slots=True)
class Given:
    """A device that a request gets; `consumed` is its share of a shared device's capacities, in billionths."""

    request: Request
    found: Found
    consumed: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Wanted:
    """A request (or one alternative) with its class, how many devices it wants, and which where it wants all."""

    request: Request
    device_class: Object
    count: int
    all: list[Found]


@dataclass(frozen=True, slots=True)
class _At:
    """How far the search is: which claim, request, alternative and device of it, and where to look from on."""

    claim: int = 0
    request: int = 0
    alternative: int | None = None
    device: int = 0
    place: tuple[int, int, int] = (0, 0, 0)


class _TooMany(Exception):
    """A claim would get more devices than it may."""


class Allocator:
    """Allocates for one pod; asked once for each node. `classes` are the DeviceClasses by name."""

    def __init__(self, classes: Mapping[str, Object], slices: Sequence[Object], taken: Taken) -> None:
        self._classes, self._taken = classes, taken
        self._by_node: dict[str, list[Object]] = {}
        self._slices = list(slices)

    def allocate(self, node: NodeInfo, claims: Sequence[Object]) -> list[list[Given]] | None:
        """The devices of each claim, None where the node has not enough. Raises AllocationError."""
        gathered = pools.gather(self._slices, node)
        found = _Search(self._classes, gathered, self._taken, node, claims).run()
        if found is None and any(pool.invalid for pool in gathered):
            raise InvalidPools
        return found


class InvalidPoolsError(AllocationError):
    """Nothing fits, and pools were left out whose slices contradict themselves."""


InvalidPools = InvalidPoolsError("invalid resource pools were encountered")


class _Search:
    """One search on one node. Everything here is taken back on the way back."""

    def __init__(
        self,
        classes: Mapping[str, Object],
        gathered: list[Pool],
        taken: Taken,
        node: NodeInfo,
        claims: Sequence[Object],
    ) -> None:
        self._classes, self._pools, self._taken, self._node, self._claims = (
            classes,
            gathered,
            taken,
            node,
            claims,
        )
        self._matches: dict[tuple[int, int, int | None, DeviceId], bool] = {}
        self._remaining: dict[pools.PoolId, Counters] = {}
        self._consumed: dict[pools.PoolId, Counters] = {}
        # Devices with one owner that are promised, and to which claims; and promised shares.
        self._promised: dict[DeviceId, set[int]] = {}
        self._shares: dict[DeviceId, dict[str, int]] = {}
        self._given: list[list[Given]] = [[] for _ in claims]
        self._constraints: list[list[Constraint]] = []
        self._wanted: list[list[tuple[_Wanted, ...]]] = []
        for index, claim in enumerate(claims):
            self._read(index, claim)

    def run(self) -> list[list[Given]] | None:
        try:
            return self._given if self._step(_At()) else None
        except _TooMany:
            return None

    def _read(self, index: int, claim: Object) -> None:
        least = 0
        read: list[tuple[_Wanted, ...]] = []
        for number, request in enumerate(of(claim)):
            options = alternatives(request)
            several = bool(request.get("firstAvailable"))
            wanted = tuple(
                self._want(index, number, i if several else None, option) for i, option in enumerate(options)
            )
            more = min(one.count for one in wanted)
            if more > MOST_DEVICES - least:
                raise AllocationError(
                    f"claim {key(claim)}, request {request['name']}: adding {more} devices exceeds the claim limit of "
                    f"{MOST_DEVICES}, with {least} already accounted for"
                )
            least += more
            read.append(wanted)
        self._wanted.append(read)
        found = constraints.of(claim)
        if found is None:
            raise AllocationError(f"claim {key(claim)}: empty constraint (unsupported constraint type?)")
        self._constraints.append(found)

    def _want(self, claim: int, number: int, alternative: int | None, request: Request) -> _Wanted:
        where = f"claim {key(self._claims[claim])}, request {request.name}"
        device_class = self._classes.get(request.device_class)
        if device_class is None:
            missing = f'deviceclass.resource.k8s.io "{request.device_class}" not found'
            raise AllocationError(
                f"{where}: could not retrieve device class {request.device_class}: {missing}"
            )
        if request.mode == "ExactCount":
            return _Wanted(request, device_class, request.count, [])
        if request.mode != ALL:
            raise AllocationError(f"{where}: unsupported count mode {request.mode}")
        wanted = _Wanted(request, device_class, 0, [])
        for pool in self._pools:
            if pool.incomplete or pool.invalid:
                state = "invalid" if pool.invalid else "being updated"
                raise AllocationError(
                    f"{where}: asks for all devices, but resource pool {pool} is currently {state}"
                )
            for piece in pool.here:
                for device in pools.devices(piece):
                    found = Found(device, piece, pool)
                    if self._selectable(_At(claim, number, alternative), wanted, found) and capacities.fits(
                        device, request.capacity, {}, {}
                    ):
                        wanted.all.append(found)
        wanted.count = len(wanted.all)
        return wanted

    def _step(self, at: _At) -> bool:
        """Go on from `at`; True when all claims have their devices. Raises _TooMany, AllocationError."""
        if at.claim >= len(self._claims):
            return True
        requests = self._wanted[at.claim]
        if at.request >= len(requests):
            try:
                return self._step(_At(at.claim + 1))
            except _TooMany:
                return False
        options = requests[at.request]
        if at.alternative is None and options[0].request.parent:
            return self._alternatives(at, len(options))
        wanted = options[at.alternative or 0]
        if wanted.request.mode == ALL and not wanted.all:
            return False
        if at.device >= wanted.count:
            return self._step(_At(at.claim, at.request + 1))
        if wanted.count - at.device > MOST_DEVICES - len(self._given[at.claim]):
            raise _TooMany
        if wanted.request.mode == ALL:
            return self._try(at, wanted, wanted.all[at.device], at.place, must=True)
        return self._any_device(at, wanted)

    def _alternatives(self, at: _At, count: int) -> bool:
        too_many = True
        for alternative in range(count):
            try:
                if self._step(_At(at.claim, at.request, alternative)):
                    return True
                too_many = False
            except _TooMany:
                continue
        if too_many:
            raise _TooMany
        return False

    def _any_device(self, at: _At, wanted: _Wanted) -> bool:
        """Try each device from the place on that the search has come to."""
        first_pool, first_piece, first_device = at.place
        for p in range(first_pool, len(self._pools)):
            pool = self._pools[p]
            if pool.incomplete or pool.invalid:
                continue
            for s in range(first_piece if p == first_pool else 0, len(pool.here)):
                listed = pools.devices(pool.here[s])
                begin = first_device if (p, s) == (first_pool, first_piece) else 0
                for d in range(begin, len(listed)):
                    found = Found(listed[d], pool.here[s], pool)
                    if self._usable(at, wanted, found) and self._try(at, wanted, found, (p, s, d + 1)):
                        return True
        return False

    def _try(
        self, at: _At, wanted: _Wanted, found: Found, place: tuple[int, int, int], *, must: bool = False
    ) -> bool:
        """Give the device and go on; take it back where that leads nowhere."""
        if not self._give(at, wanted, found, must):
            return False
        try:
            if self._step(_At(at.claim, at.request, at.alternative, at.device + 1, place)):
                return True
        except _TooMany:
            self._take_back(at, wanted, found)
            raise
        self._take_back(at, wanted, found)
        return False

    def _usable(self, at: _At, wanted: _Wanted, found: Found) -> bool:
        if wanted.request.admin:
            if at.claim in self._promised.get(found.id, ()):
                return False
        elif self._in_use(found.id):
            return False
        return self._selectable(at, wanted, found) and self._has_capacity(wanted, found)

    def _in_use(self, device: DeviceId) -> bool:
        return device in self._taken.owned or bool(self._promised.get(device))

    def _has_capacity(self, wanted: _Wanted, found: Found) -> bool:
        used, promised = self._taken.capacity.get(found.id, {}), self._shares.get(found.id, {})
        try:
            return capacities.fits(found.device, wanted.request.capacity, used, promised)
        except AllocationError as e:
            raise AllocationError(f"checking capacity for device {shown(found.id)}: {e}") from e

    def _selectable(self, at: _At, wanted: _Wanted, found: Found) -> bool:
        """Whether class, request and node allow the device, whatever else is taken."""
        asked = (at.claim, at.request, at.alternative, found.id)
        if asked not in self._matches:
            self._matches[asked] = self._is_selectable(at, wanted, found)
        return self._matches[asked]

    def _is_selectable(self, at: _At, wanted: _Wanted, found: Found) -> bool:
        name = wanted.device_class["metadata"]["name"]
        of_class = (wanted.device_class.get("spec") or {}).get("selectors") or []
        if of_class and not _matches(of_class, found, f"class {name}"):
            return False
        own = wanted.request.selectors
        if own and not _matches(own, found, f"claim {key(self._claims[at.claim])}"):
            return False
        return not found.piece["spec"].get("perDeviceNodeSelection") or pools.matches(
            found.device, self._node
        )

    def _give(self, at: _At, wanted: _Wanted, found: Found, must: bool) -> bool:
        """Promise the device to the claim; False where it cannot be. Raises AllocationError."""
        request = wanted.request
        if not found.shareable and request.admin and at.claim in self._promised.get(found.id, ()):
            return False
        if not request.admin and self._in_use(found.id):
            return False
        if not self._reserve_counters(found):
            return False
        if any(_keeps_out(taint, request) for taint in found.device.get("taints") or ()):
            self._return_counters(found)
            return False
        added = 0
        for constraint in self._constraints[at.claim]:
            if not constraint.add(request, found.device, found.id):
                self._undo(at, wanted, found, added)
                if must:
                    where = f"claim {key(self._claims[at.claim])}, request {request.name}"
                    fault = "because a claim constraint would not be satisfied"
                    raise AllocationError(f"{where}: cannot add device {shown(found.id)} {fault}")
                return False
            added += 1
        if not self._has_capacity(wanted, found):
            self._undo(at, wanted, found, added)
            return False
        share = capacities.consumed(found.device, request.capacity) if found.shareable else {}
        if found.shareable:
            promised = self._shares.setdefault(found.id, {})
            for name, amount in share.items():
                promised[name] = promised.get(name, 0) + amount
        else:
            self._promised.setdefault(found.id, set()).add(at.claim)
        self._given[at.claim].append(Given(request, found, share))
        return True

    def _take_back(self, at: _At, wanted: _Wanted, found: Found) -> None:
        given = self._given[at.claim].pop()
        if not found.shareable:
            self._promised[found.id].discard(at.claim)
        elif found.id in self._shares:
            promised = self._shares[found.id]
            for name, amount in given.consumed.items():
                promised[name] -= amount
            if not any(g.found.id == found.id for claim in self._given for g in claim):
                del self._shares[found.id]
        self._undo(at, wanted, found, len(self._constraints[at.claim]))

    def _undo(self, at: _At, wanted: _Wanted, found: Found, added: int) -> None:
        for constraint in reversed(self._constraints[at.claim][:added]):
            constraint.remove(wanted.request)
        self._return_counters(found)

    def _counts(self, found: Found) -> bool:
        """Whether the device takes of its pool's counters: a shared one does so only once."""
        if not found.device.get("consumesCounters"):
            return False
        if not found.shareable:
            return True
        already = found.id in self._taken.capacity or found.id in self._taken.shared
        return not already and found.id not in self._shares

    def _reserve_counters(self, found: Found) -> bool:
        if not self._counts(found):
            return True
        pool = found.pool
        if pool.id not in self._remaining:
            self._remaining[pool.id] = self._taken.remaining(pool)
        consumed = self._consumed.setdefault(pool.id, {})
        consume(consumed, found.device, 1)
        for name, counters in self._remaining[pool.id].items():
            used = consumed.get(name, {})
            if any(left < used.get(counter, 0) for counter, left in counters.items()):
                consume(consumed, found.device, -1)
                return False
        return True

    def _return_counters(self, found: Found) -> None:
        if self._counts(found):
            consume(self._consumed[found.pool.id], found.device, -1)


def _matches(listed: list[Object], found: Found, whose: str) -> bool:
    # CEL is loaded with the first selector: few clusters have any.

    return selectors.match(listed, found.device, found.id, whose)


def _keeps_out(taint: Object, request: Request) -> bool:
    return taint.get("effect") in ("NoSchedule", "NoExecute") and not any(
        tolerates(toleration, taint) for toleration in request.tolerations
    )
