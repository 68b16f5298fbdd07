"""VolumeBinding: a node must reach the pod's volumes, and have free ones, or room to make them, for its claims.

Claims that wait for their pod's node (WaitForFirstConsumer) get the smallest free volume that is reachable from the
node, or are provisioned there. What was found for a node is kept in the state, to be bound once it is chosen.
Claims on the scored nodes are compared by how well the volumes fit them.

Arguments: `bindTimeoutSeconds` (600), `shape` (from used percent to score; the emptier the better).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sampan.client.api import ApiError, Unavailable
from sampan.machinery import quantities, selectors
from sampan.machinery.objects import Object
from sampan.scheduler import volume_binder
from sampan.scheduler.framework import (
    MAX_SCORE,
    SKIP,
    Handle,
    Plugin,
    PreFiltered,
    Status,
    failed,
    unresolvable,
)
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.plugins import volumes
from sampan.scheduler.plugins.node_resources_fit import MAX_SHAPE_SCORE
from sampan.scheduler.plugins.normal import broken_line, rounded
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.snapshot import CAPACITIES, CLAIMS, CSI_DRIVERS, STORAGE_CLASSES, VOLUMES, Snapshot
from sampan.scheduler.terms import Labels

UNREACHABLE = "node(s) didn't match PersistentVolume's node affinity"
NO_VOLUME = "node(s) didn't find available persistent volumes to bind"
BIND_TIMEOUT = 600.0
NO_SPACE = "node(s) did not have enough free storage"
LOST = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
DEFAULT_SHAPE: tuple[Object, ...] = ({"utilization": 0, "score": 10}, {"utilization": 100, "score": 0})


class VolumeError(Exception):
    """The cluster's objects do not allow a decision; the text says why."""


@dataclass(slots=True)
class Provision:
    """A claim that is to be provisioned, and the CSIStorageCapacity that has room for it, where one is kept."""

    claim: Object
    capacity: Object | None = None


@dataclass(slots=True)
class NodeVolumes:
    """What is to be bound if the pod goes to a node: claims with their volumes, and claims to provision."""

    static: list[tuple[Object, Object]] = field(default_factory=list)
    dynamic: list[Provision] = field(default_factory=list)


@dataclass(slots=True)
class PodVolumes:
    """The pod's claims: those that have their volume, and those that wait for the node; and what each node gives."""

    bound: list[Object]
    waiting: list[Object]
    # The volumes of the waiting claims' classes.
    free: dict[str, list[Object]]
    snapshot: Snapshot
    by_node: dict[str, NodeVolumes] = field(default_factory=dict)


class VolumeBinding(Plugin):
    name = "VolumeBinding"

    def __init__(self, arguments: Object | None = None, handle: Handle | None = None) -> None:
        super().__init__(arguments, handle)
        shape = self.arguments.get("shape") or DEFAULT_SHAPE
        self.shape = tuple(
            (p.get("utilization", 0), p.get("score", 0) * (MAX_SCORE // MAX_SHAPE_SCORE)) for p in shape
        )

    def pre_filter(self, pod: PodInfo, snapshot: Snapshot) -> PreFiltered | Status:
        claims: list[Object] = []
        for name, ephemeral in volumes.claimed(pod):
            claim = snapshot.get(CLAIMS, name.name, name.namespace)
            if fault := _fault(pod, name.name, claim, ephemeral):
                return unresolvable(fault)
            claims.append(claim or {})
        if not claims:
            return SKIP
        try:
            waiting = [c for c in claims if not volumes.is_bound(c) and _waits(c, snapshot)]
        except VolumeError as e:
            return failed(str(e))
        bound = [c for c in claims if volumes.is_bound(c)]
        if len(bound) + len(waiting) < len(claims):
            return unresolvable("pod has unbound immediate PersistentVolumeClaims")
        classes = {volumes.class_of(claim) for claim in waiting}
        free: dict[str, list[Object]] = {name: [] for name in classes}
        for volume in snapshot.list(VOLUMES) if classes else ():
            if volumes.class_of(volume) in classes:
                free[volumes.class_of(volume)].append(volume)
        return PreFiltered(PodVolumes(bound, waiting, free, snapshot))

    def filter(self, state: PodVolumes, pod: PodInfo, node: NodeInfo) -> Status | None:
        found = NodeVolumes()
        try:
            reasons = [*_check_bound(state, node), *_check_waiting(state, node, found)]
        except VolumeError as e:
            return failed(str(e))
        if reasons:
            return unresolvable(*sorted(reasons, key=(UNREACHABLE, NO_VOLUME, NO_SPACE, LOST).index))
        state.by_node[node.name] = found
        return None

    def pre_score(
        self, state: PodVolumes | None, pod: PodInfo, nodes: Sequence[NodeInfo], snapshot: Snapshot
    ) -> PodVolumes | None:
        return state

    def score(self, state: PodVolumes | None, pod: PodInfo, node: NodeInfo) -> int:
        found = state.by_node.get(node.name) if state else None
        by_class = _used(found) if found else {}
        if not by_class:
            return 0
        total = sum(self._height(used, there) for used, there in by_class.values())
        return rounded(total / len(by_class))

    def reserve(self, state: PodVolumes | None, pod: PodInfo, node: str) -> Status | None:
        """Promise the volumes found for the node to the pod's claims."""
        if state is not None and state.waiting and self.handle is not None:
            volume_binder.assume(state.by_node[node], node, self.handle)
        return None

    def unreserve(self, state: PodVolumes | None, pod: PodInfo, node: str) -> None:
        if state is not None and state.waiting and self.handle is not None:
            volume_binder.revert(state.by_node[node], self.handle)

    async def pre_bind(self, state: PodVolumes | None, pod: PodInfo, node: str) -> Status | None:
        """Bind the volumes, and wait until they are."""
        if state is None or not state.waiting or self.handle is None:
            return None
        timeout = float(self.arguments.get("bindTimeoutSeconds", BIND_TIMEOUT))
        try:
            await volume_binder.bind(state.by_node[node], pod, node, self.handle, timeout)
        except (volume_binder.BindingError, ApiError, Unavailable) as e:
            return failed(str(e))
        return None

    def _height(self, used: int, there: int) -> int:
        full = there == 0 or used > there
        return broken_line(self.shape, 100 if full else used * 100 // there)


def _fault(pod: PodInfo, name: str, claim: Object | None, ephemeral: bool) -> str:
    """Why the pod has to wait whatever the node."""
    if claim is None:
        if ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        return f'persistentvolumeclaim "{name}" not found'
    if (claim.get("status") or {}).get("phase") == "Lost":
        volume = claim["spec"].get("volumeName") or ""
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
    if claim["metadata"].get("deletionTimestamp") is not None:
        return f'persistentvolumeclaim "{name}" is being deleted'
    return volumes.fault_of_owner(pod, claim) if ephemeral else ""


def _waits(claim: Object, snapshot: Snapshot) -> bool:
    """Whether the claim waits for its pod's node. Raises VolumeError."""
    name = volumes.class_of(claim)
    storage_class = snapshot.get(STORAGE_CLASSES, name) if name else None
    if storage_class is None:
        return False
    if (mode := storage_class.get("volumeBindingMode")) is None:
        raise VolumeError(f'VolumeBindingMode not set for StorageClass "{name}"')
    return mode == "WaitForFirstConsumer" and not claim["spec"].get("volumeName")


def _check_bound(state: PodVolumes, node: NodeInfo) -> list[str]:
    for claim in state.bound:
        volume = state.snapshot.get(VOLUMES, claim["spec"]["volumeName"])
        if volume is None:
            return [LOST]
        if not volumes.reachable(volume, node.labels):
            return [UNREACHABLE]
    return []


def _check_waiting(state: PodVolumes, node: NodeInfo, found: NodeVolumes) -> list[str]:
    """Find a volume, or room for one, for each waiting claim. Raises VolumeError."""
    to_provision, to_match = [], []
    for claim in state.waiting:
        selected = volumes.notes(claim).get(volumes.SELECTED_NODE)
        if selected is None:
            to_match.append(claim)
        elif selected != node.name:
            return [NO_VOLUME]
        else:
            to_provision.append(claim)
    taken: set[str] = set()
    for claim in sorted(to_match, key=lambda c: volumes.requested(c).nano):
        volume = volumes.match(claim, state.free[volumes.class_of(claim)], node.labels, taken)
        if volume is None:
            to_provision.append(claim)
        else:
            taken.add(volume["metadata"]["name"])
            found.static.append((claim, volume))
    return _check_provision(state.snapshot, to_provision, node, found)


def _check_provision(
    snapshot: Snapshot, claims: Iterable[Object], node: NodeInfo, found: NodeVolumes
) -> list[str]:
    for claim in claims:
        name = volumes.class_of(claim)
        storage_class = snapshot.get(STORAGE_CLASSES, name)
        if storage_class is None:
            raise VolumeError(f'failed to find storage class "{name}"')
        provisioner = storage_class.get("provisioner") or ""
        if provisioner in ("", volumes.NO_PROVISIONER):
            return [NO_VOLUME]
        if not _is_allowed(storage_class.get("allowedTopologies") or (), node.labels):
            return [NO_VOLUME]
        fits, capacity = _room(snapshot, provisioner, claim, name, node.labels)
        if not fits:
            return [NO_SPACE]
        found.dynamic.append(Provision(claim, capacity))
    return []


def _is_allowed(terms: Sequence[Object], labels: Labels) -> bool:
    """Whether one of a class's topology terms allows a node; none allow all."""
    return not terms or any(
        term.get("matchLabelExpressions")
        and all(labels.get(e["key"], None) in (e.get("values") or ()) for e in term["matchLabelExpressions"])
        for term in terms
    )


def _room(
    snapshot: Snapshot, provisioner: str, claim: Object, class_name: str, labels: Labels
) -> tuple[bool, Object | None]:
    """Whether the driver has room for the claim near the node, and the capacity that says so where it reports any."""
    asked = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage")
    driver = snapshot.get(CSI_DRIVERS, provisioner)
    if asked is None or driver is None or not (driver.get("spec") or {}).get("storageCapacity"):
        return True, None
    size = quantities.parse(asked).value
    for capacity in snapshot.list(CAPACITIES):
        limit = capacity.get("maximumVolumeSize", capacity.get("capacity"))
        if (
            capacity.get("storageClassName") == class_name
            and limit is not None
            and quantities.parse(limit).value >= size
            and capacity.get("nodeTopology") is not None
            and selectors.of(capacity["nodeTopology"]).matches(labels)
        ):
            return True, capacity
    return False, None


def _used(found: NodeVolumes) -> dict[str, tuple[int, int]]:
    """By storage class, what the claims ask for and what there is for them: volumes, else room to make them."""
    by_class: dict[str, tuple[int, int]] = {}
    for claim, volume in found.static:
        name = volume["spec"].get("storageClassName") or ""
        used, there = by_class.get(name, (0, 0))
        capacity = volumes.storage(volume["spec"].get("capacity")).value
        by_class[name] = used + volumes.requested(claim).value, there + capacity
    for provision in found.dynamic if not found.static else ():
        if provision.capacity is not None:
            name = provision.claim["spec"].get("storageClassName") or ""
            used, _ = by_class.get(name, (0, 0))
            there = quantities.parse(provision.capacity.get("capacity") or "0").value
            by_class[name] = used + volumes.requested(provision.claim).value, there
    return by_class
