"""DynamicResources: the devices that a pod's ResourceClaims ask for must be on the node, and are allocated there.

What a node would give is kept in the state; once the node is chosen it is promised (reserve), so that no other pod
gets it, and written into the claims (pre_bind).

Arguments: none of their own (a search has no time limit of its own here).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sampan.client.api import ApiError, Unavailable
from sampan.machinery.objects import Key, Object, changed, key
from sampan.scheduler.decide import Cycle
from sampan.scheduler.devices import AllocationError, binding, claims, results
from sampan.scheduler.devices.allocator import Allocator, Given, InvalidPoolsError
from sampan.scheduler.devices.claims import PENDING, ClaimError, allocation_of
from sampan.scheduler.devices.requests import of
from sampan.scheduler.devices.state import Taken, results_of
from sampan.scheduler.framework import (
    SKIP,
    Plugin,
    PreFiltered,
    Status,
    failed,
    unresolvable,
    unschedulable,
)
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins.normal import most_is_best
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import DEVICE_CLASSES, RESOURCE_CLAIMS, RESOURCE_SLICES, Snapshot
from sampan.scheduler.terms import NodeTerm, node_terms

# The first of a request's alternatives counts so much, each further one less.
BEST_ALTERNATIVE = 8


@dataclass(slots=True)
class Devices:
    """The pod's claims; the nodes that allocated ones allow (None: all); and what each node would give the others."""

    claims: list[Object]
    allowed: list[tuple[NodeTerm, ...] | None]
    allocator: Allocator | None
    classes: dict[str, Object]
    by_node: dict[str, list[list[Given]]] = field(default_factory=dict)
    # Allocated claims that some node cannot use.
    unavailable: set[int] = field(default_factory=set)
    # What was promised on the node that was chosen.
    promised: dict[Key, Object] = field(default_factory=dict)

    @property
    def waiting(self) -> list[Object]:
        return [claim for claim in self.claims if allocation_of(claim) is None]


class DynamicResources(Plugin):
    name = "DynamicResources"

    def pre_enqueue(self, pod: PodInfo) -> Status | None:
        if self.handle is None or not pod.spec.get("resourceClaims"):
            return None
        try:
            claims.of_pod(pod, self.handle.snapshot)
        except ClaimError as e:
            return unresolvable(str(e))
        return None

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        try:
            mine = claims.of_pod(pod, snapshot)
        except ClaimError as e:
            return unresolvable(str(e))
        if not mine:
            return SKIP
        classes = {c["metadata"]["name"]: c for c in snapshot.list(DEVICE_CLASSES)}
        for claim in mine:
            if allocation_of(claim) is None and (fault := _fault(claim, snapshot, classes)) is not None:
                return fault
        allocator = None
        if any(allocation_of(claim) is None for claim in mine):
            taken = Taken.of([*snapshot.list(RESOURCE_CLAIMS), *claims.pending(snapshot)])
            allocator = Allocator(classes, list(snapshot.list(RESOURCE_SLICES)), taken)
        allowed = [node_terms((allocation_of(claim) or {}).get("nodeSelector")) for claim in mine]
        return PreFiltered(Devices(mine, allowed, allocator, classes))

    def filter(self, state: Devices, pod: PodInfo, node: NodeInfo) -> Status | None:
        unavailable = [
            index
            for index, terms in enumerate(state.allowed)
            if (terms is not None and not any(t.matches(node.name, node.labels) for t in terms))
            or _binding_failed(state.claims[index])
        ]
        if state.allocator is not None:
            try:
                found = state.allocator.allocate(node, state.waiting)
            except InvalidPoolsError as e:
                return unresolvable(str(e))
            except AllocationError as e:
                return failed(str(e))
            if found is None:
                return unresolvable("cannot allocate all claims")
            state.by_node[node.name] = found
        if unavailable:
            state.by_node.pop(node.name, None)
            state.unavailable.update(unavailable)
            return unresolvable("resourceclaim not available on the node")
        return None

    async def post_filter(self, cycle: Cycle, statuses: Mapping[str, Status]) -> tuple[Status, str | None]:
        """Free a claim that nobody else uses, and whose devices are where the pod cannot go."""
        state: Devices | None = cycle.states.get(self.name)
        if state is None or self.handle is None:
            return unschedulable(), None
        for index in sorted(state.unavailable):
            claim = state.claims[index]
            users = (claim.get("status") or {}).get("reservedFor") or []
            if users and not (len(users) == 1 and claims.is_reserved_for(claim, cycle.pod)):
                continue
            try:
                freed = changed(claim, ("status",), {})
                await self.handle.client.update(RESOURCE_CLAIMS, freed, subresource="status")
            except (ApiError, Unavailable) as e:
                return failed(str(e)), None
            return unschedulable("deallocation of ResourceClaim completed"), None
        return unschedulable(), None

    def pre_score(
        self, state: Devices | None, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> Devices | None:
        return state

    def score(self, state: Devices | None, pod: PodInfo, node: NodeInfo) -> int:
        """Better alternatives are better."""
        if state is None or node.name not in state.by_node:
            return 0
        given = iter(state.by_node[node.name])
        total = 0
        for claim in state.claims:
            if allocation_of(claim) is None:
                names = {g.request.full_name for g in next(given)}
            else:
                names = {result["request"] for result in results_of(claim)}
            for request in of(claim):
                for place, option in enumerate(request.get("firstAvailable") or ()):
                    if f"{request['name']}/{option['name']}" in names:
                        total += BEST_ALTERNATIVE - place
        return total

    def normalize(
        self, state: Devices | None, pod: PodInfo, nodes: Sequence[NodeInfo], scores: list[int]
    ) -> list[int]:
        return most_is_best(scores)

    def reserve(self, state: Devices | None, pod: PodInfo, node: str) -> Status | None:
        """Promise the devices: nobody else gets them, and nobody else begins with the claims."""
        if state is None or self.handle is None or not state.waiting:
            return None
        if node not in state.by_node:
            return failed("claim allocation not found for node")
        claims.forget_kept(self.handle.snapshot)
        for claim, given in zip(state.waiting, state.by_node[node], strict=True):
            try:
                found = results.allocation(claim, given, state.classes, node)
            except results.SelectorError as e:
                return failed(f"create NodeSelector for claim {claim['metadata']['name']}: {e}")
            state.promised[key(claim)] = found
            self.handle.snapshot.set(PENDING, changed(claim, ("status",), {"allocation": found}))
        return None

    def unreserve(self, state: Devices | None, pod: PodInfo, node: str) -> None:
        if state is None or self.handle is None:
            return
        for name in state.promised:
            self.handle.snapshot.remove(PENDING, name)
        state.promised.clear()
        self.handle.spawn(binding.let_go(state.claims, pod, self.handle), f"claims of {pod.key}")

    async def pre_bind(self, state: Devices | None, pod: PodInfo, node: str) -> Status | None:
        """Write the allocations, and that the pod uses its claims."""
        if state is None or self.handle is None:
            return None
        try:
            for claim in state.claims:
                if not claims.is_reserved_for(claim, pod):
                    found = state.promised.get(key(claim))
                    binding.remember(await binding.write(claim, pod, found, self.handle), self.handle)
        except (ApiError, Unavailable, ClaimError) as e:
            return failed(str(e))
        return None


def _fault(claim: Object, snapshot: Snapshot, classes: Mapping[str, Object]) -> Status | None:
    """Why a claim cannot be allocated now, whatever the node."""
    if claims.is_pending(claim, snapshot):
        return unresolvable(f"resource claim {key(claim)} is in the process of being allocated")
    for request in of(claim):
        if request.get("exactly") is not None:
            wanted = [(request["name"], request["exactly"])]
        elif request.get("firstAvailable"):
            wanted = [(f"{request['name']}/{one['name']}", one) for one in request["firstAvailable"]]
        else:
            return unresolvable(
                f"resource claim {key(claim)}, request {request['name']}: unknown request type"
            )
        for full, spec in wanted:
            if not spec.get("deviceClassName"):
                return failed(f"request {full}: unsupported request type")
            if spec["deviceClassName"] not in classes:
                return unresolvable(f"request {full}: device class {spec['deviceClassName']} does not exist")
    return None


def _binding_failed(claim: Object) -> bool:
    """Whether a device that the claim has says that it cannot be bound."""
    devices = {
        (d["driver"], d["pool"], d["device"]): d for d in (claim.get("status") or {}).get("devices") or ()
    }
    for result in results_of(claim):
        if not result.get("bindingConditions"):
            continue
        status = devices.get((result["driver"], result["pool"], result["device"])) or {}
        bad = set(result.get("bindingFailureConditions") or ())
        if any(c["type"] in bad and c.get("status") == "True" for c in status.get("conditions") or ()):
            return True
    return False
