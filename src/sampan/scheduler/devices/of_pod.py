"""A pod's devices through one scheduling: what its claims have or need, what each node would give, what is promised.

Source: pkg/scheduler/framework/plugins/dynamicresources of 1.37.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan.client.api import ApiError, Unavailable
from sampan.machinery.objects import Key, Object, changed, key
from sampan.scheduler.devices import AllocationError, binding, claims, extended, results
from sampan.scheduler.devices.allocator import Allocator, Given, InvalidPoolsError
from sampan.scheduler.devices.claims import PENDING, ClaimError, allocation_of
from sampan.scheduler.devices.extended import Extended
from sampan.scheduler.devices.pools import tainted
from sampan.scheduler.devices.requests import of
from sampan.scheduler.devices.state import Taken, results_of
from sampan.scheduler.framework import (
    SKIP,
    Handle,
    PreFiltered,
    Status,
    failed,
    unresolvable,
    unschedulable,
)
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import (
    DEVICE_CLASSES,
    DEVICE_TAINT_RULES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    Snapshot,
)
from sampan.scheduler.terms import NodeTerm, node_terms

# The first of a request's alternatives counts so much, each further one less.
BEST_ALTERNATIVE = 8


def missing(pod: PodInfo, snapshot: Snapshot) -> Status | None:
    """Why the pod cannot even be tried: a claim of it is not there, or not its own."""
    try:
        claims.of_pod(pod, snapshot)
    except ClaimError as e:
        return unresolvable(str(e))
    return None


def prepare(pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
    """The pod's devices, before any node is looked at."""
    try:
        mine = claims.of_pod(pod, snapshot)
    except ClaimError as e:
        return unresolvable(str(e))
    own = extended.of_pod(pod, snapshot)
    if not mine and own is None:
        return SKIP
    classes = {c["metadata"]["name"]: c for c in snapshot.list(DEVICE_CLASSES)}
    claimed = list(mine)
    if own is not None:
        mine.append(own.claim)
    for claim in claimed:
        if allocation_of(claim) is None and (fault := _fault(claim, snapshot, classes)) is not None:
            return fault
    allocator = None
    if any(allocation_of(claim) is None for claim in mine):
        slices = tainted(snapshot.list(RESOURCE_SLICES), list(snapshot.list(DEVICE_TAINT_RULES)))
        taken = Taken.of([*snapshot.list(RESOURCE_CLAIMS), *claims.pending(snapshot)])
        allocator = Allocator(classes, slices, taken)
    allowed = [node_terms((allocation_of(claim) or {}).get("nodeSelector")) for claim in mine]
    return PreFiltered(PodDevices(pod, mine, allowed, allocator, classes, own))


@dataclass(slots=True)
class PodDevices:
    """The pod's claims; the nodes that allocated ones allow (None: all); and what each node would give the others."""

    pod: PodInfo
    claims: list[Object]
    allowed: list[tuple[NodeTerm, ...] | None]
    allocator: Allocator | None
    classes: dict[str, Object]
    # What it asks for as extended resources; its claim is the last.
    own: Extended | None = None
    by_node: dict[str, list[list[Given]]] = field(default_factory=dict)
    # Allocated claims that some node cannot use.
    unavailable: set[int] = field(default_factory=set)
    # What was promised on the node that was chosen.
    promised: dict[Key, Object] = field(default_factory=dict)
    # The claim for extended resources, once it exists.
    created: Object | None = None

    @property
    def waiting(self) -> list[Object]:
        return [claim for claim in self.claims if allocation_of(claim) is None]

    def verdict(self, node: NodeInfo) -> Status | None:
        """Whether the node can use what is allocated, and has the rest; what it would give is kept."""
        if self.own is not None and (found := self._verdict_on_own(node)) is not None:
            return found
        if self.own is not None and len(self.claims) == 1 and node.name not in self.own.by_node:
            return None
        unavailable = [
            index
            for index, terms in enumerate(self.allowed)
            if (terms is not None and not any(t.matches(node.name, node.labels) for t in terms))
            or _binding_failed(self.claims[index])
        ]
        given = None
        if self.allocator is not None:
            try:
                given = self.allocator.allocate(node, self._waiting_on(node.name))
            except InvalidPoolsError as e:
                return unresolvable(str(e))
            except AllocationError as e:
                return failed(str(e))
            if given is None:
                return unresolvable("cannot allocate all claims")
        if unavailable:
            self.unavailable.update(unavailable)
            return unresolvable("resourceclaim not available on the node")
        if given is not None:
            self.by_node[node.name] = given
        return None

    def _verdict_on_own(self, node: NodeInfo) -> Status | None:
        """Whether extended resources can be had at all; the node's own claim for them is kept."""
        own = self.own
        if own is None:
            return None
        if ((own.claim.get("spec") or {}).get("devices") or {}).get("requests") is not None:
            return unresolvable("cannot schedule extended resource claim")
        lacking = own.lacking(node)
        if lacking is None:
            return unresolvable("cannot fit resource")
        if (lacking or len(self.claims) > 1) and allocation_of(own.claim) is None:
            own.of_node(node, lacking)
        return None

    def _waiting_on(self, node: str) -> list[Object]:
        """What is to be allocated if the pod goes to the node."""
        if self.own is None or node not in self.own.by_node:
            return self.waiting
        return [self.own.by_node[node].claim if c is self.own.claim else c for c in self.waiting]

    def score(self, node: str) -> int:
        """Better alternatives are better."""
        if node not in self.by_node:
            return 0
        given = iter(self.by_node[node])
        total = 0
        for claim in self.claims:
            if allocation_of(claim) is None:
                names = {g.request.full_name for g in next(given)}
            else:
                names = {result["request"] for result in results_of(claim)}
            for request in of(claim):
                for place, option in enumerate(request.get("firstAvailable") or ()):
                    if f"{request['name']}/{option['name']}" in names:
                        total += BEST_ALTERNATIVE - place
        return total

    async def free(self, handle: Handle) -> Status:
        """Free a claim that nobody else uses, and whose devices are where the pod cannot go."""
        for index in sorted(self.unavailable):
            claim = self.claims[index]
            users = (claim.get("status") or {}).get("reservedFor") or []
            if users and not (len(users) == 1 and claims.is_reserved_for(claim, self.pod)):
                continue
            try:
                freed = changed(claim, ("status",), {})
                await handle.client.update(RESOURCE_CLAIMS, freed, subresource="status")
            except (ApiError, Unavailable) as e:
                return failed(str(e))
            return unschedulable("deallocation of ResourceClaim completed")
        if self.own is not None and self.own.exists:
            try:
                await binding.delete(self.own.claim, handle)
            except (ApiError, Unavailable) as e:
                return failed(str(e))
            return unschedulable("deletion of ResourceClaim completed")
        return unschedulable()

    def promise(self, node: str, handle: Handle) -> Status | None:
        """Promise what the node would give: nobody else gets it, and nobody else begins with the claims."""
        waiting = self._waiting_on(node)
        if not waiting:
            return None
        if node not in self.by_node:
            return (
                None
                if waiting == [self.own and self.own.claim]
                else failed("claim allocation not found for node")
            )
        claims.forget_kept(handle.snapshot)
        for claim, given in zip(waiting, self.by_node[node], strict=True):
            try:
                found = results.allocation(claim, given, self.classes, node)
            except results.SelectorError as e:
                return failed(f"create NodeSelector for claim {claim['metadata']['name']}: {e}")
            self.promised[key(claim)] = found
            handle.snapshot.set(PENDING, changed(claim, ("status",), {"allocation": found}))
        return None

    def withdraw(self, handle: Handle) -> None:
        """Take the promise back, and what was written of it."""
        for name in self.promised:
            handle.snapshot.remove(PENDING, name)
        self.promised.clear()
        users = [claim for claim in self.claims if self.own is None or claim is not self.own.claim]
        handle.spawn(binding.let_go(users, self.pod, handle, self.created), f"claims of {self.pod.key}")

    async def write(self, node: str, handle: Handle) -> Status | None:
        """Write the allocations, and that the pod uses its claims."""
        try:
            for claim in self.claims:
                if self.own is not None and claim is self.own.claim:
                    await self._write_own(self.own, node, handle)
                elif not claims.is_reserved_for(claim, self.pod):
                    found = self.promised.get(key(claim))
                    binding.remember(await binding.write(claim, self.pod, found, handle), handle)
        except (ApiError, Unavailable, ClaimError) as e:
            return failed(str(e))
        return None

    async def _write_own(self, own: Extended, node: str, handle: Handle) -> None:
        """Create the claim for extended resources, and tell the pod what each of its requests is for."""
        name = key(own.claim)
        found = self.promised.get(name)
        if found is None or not own.by_node[node].mappings:
            return
        self.created = await handle.client.create(
            RESOURCE_CLAIMS, extended.to_create(own.by_node[node].claim)
        )
        binding.remember(await binding.write(self.created, self.pod, found, handle), handle, name)
        status = {
            "resourceClaimName": self.created["metadata"]["name"],
            "requestMappings": own.by_node[node].mappings,
        }
        patch = {"metadata": {"uid": self.pod.uid}, "status": {"extendedResourceClaimStatus": status}}
        await handle.client.patch(
            "pods", self.pod.name, self.pod.namespace, patch, type="strategic", subresource="status"
        )


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
