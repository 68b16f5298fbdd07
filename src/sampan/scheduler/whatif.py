"""What if: other pods, another configuration, more nodes. Everything is played on a snapshot; nothing is written.

`replay` places pods and says how full that leaves the cluster; two replays are compared with `differences`; `needed`
adds nodes of given shapes until all pods have one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sampan.machinery.objects import Object, owner
from sampan.scheduler.batch.prepare import in_use
from sampan.scheduler.cluster import ClusterState, order
from sampan.scheduler.explain import unbound
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.resources import CPU, MEMORY
from sampan.scheduler.simulate import Placement, Simulation
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.terms import HOSTNAME

# More nodes than these are not asked for.
MOST_NODES = 10_000


@dataclass(frozen=True, slots=True)
class Fill:
    """How much of a resource is requested, on all nodes; the least and the fullest node's share in percent."""

    requested: int
    allocatable: int
    least: float
    most: float

    @property
    def percent(self) -> float:
        return 100 * self.requested / self.allocatable if self.allocatable else 0.0


@dataclass(slots=True)
class Replay:
    """What came of placing pods: where they went, how many nodes are in use, and how full all nodes are."""

    placement: Placement
    in_use: int
    nodes: int
    fill: dict[str, Fill]


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of node that could be added: `node` is its object, but for the name."""

    name: str
    node: Object


@dataclass(slots=True)
class Needed:
    """How many nodes of each shape were added; pods that fit on none of the shapes, with why."""

    added: dict[str, int] = field(default_factory=dict)
    hopeless: dict[str, str] = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)


def movable(state: ClusterState) -> list[PodInfo]:
    """The pods on nodes that a scheduler placed: not those of DaemonSets, of nodes themselves, or on their way out."""
    found = [
        pod
        for pod, _ in state.snapshot.pods()
        if not pod.terminating and (owner(pod.object) or {}).get("kind") not in ("DaemonSet", "Node")
    ]
    return sorted(found, key=order)


def replay(
    profiles: Mapping[str, Profile],
    state: ClusterState,
    pods: Iterable[PodInfo],
    again: Sequence[PodInfo] = (),
) -> Replay:
    """Place `pods`, after the pods `again` were taken off their nodes to be placed anew. The state stays as it was."""
    snapshot = state.snapshot
    was = {pod.uid: (pod, node.name) for pod in again if (node := snapshot.node_of(pod.uid))}
    for uid in was:
        snapshot.remove_pod(uid)
    simulation = Simulation(profiles, snapshot)
    placement = simulation.place(sorted([*(unbound(p) for p in again), *pods], key=order))
    found = measure(snapshot, placement)
    simulation.undo(placement)
    for pod, name in was.values():
        snapshot.add_pod(pod, name)
    return found


def measure(snapshot: Snapshot, placement: Placement) -> Replay:
    nodes = list(snapshot.nodes.values())
    fill = {}
    for name in (CPU, MEMORY):
        shares = [
            100 * n.requested.get(name, 0) / n.allocatable[name] for n in nodes if n.allocatable.get(name, 0)
        ]
        fill[name] = Fill(
            sum(n.requested.get(name, 0) for n in nodes),
            sum(n.allocatable.get(name, 0) for n in nodes),
            min(shares, default=0.0),
            max(shares, default=0.0),
        )
    return Replay(placement, sum(1 for n in nodes if in_use(n)), len(nodes), fill)


def differences(one: Replay, other: Replay) -> list[tuple[PodInfo, str, str]]:
    """The pods that two replays place differently, with their nodes, empty for none."""
    a, b = one.placement.nodes, other.placement.nodes
    return [
        (pod, a.get(uid, ""), b.get(uid, ""))
        for uid, pod in one.placement.pods.items()
        if a.get(uid, "") != b.get(uid, "")
    ]


def needed(
    profiles: Mapping[str, Profile], state: ClusterState, pods: Iterable[PodInfo], shapes: Sequence[Shape]
) -> Needed:
    """Place pods, adding a node whenever one fits nowhere: of the first of the shapes that it fits on.

    Gangs are counted pod by pod, since nodes are added until all fit. The state stays as it was.
    """
    snapshot, found = state.snapshot, Needed()
    simulation = Simulation(profiles, snapshot)
    placed: list[str] = []
    added: list[str] = []
    for pod in pods:
        found.pods[pod.uid] = pod
        decision = simulation.decide(pod)
        if not decision.node:
            shape = _fitting(simulation, pod, shapes, len(added)) if len(added) < MOST_NODES else None
            if shape is None:
                found.hopeless[pod.uid] = decision.message()
                continue
            added.append(_add(snapshot, shape, len(added)))
            found.added[shape.name] = found.added.get(shape.name, 0) + 1
            decision = simulation.decide(pod)
        snapshot.add_pod(pod, decision.node)
        placed.append(pod.uid)
    for uid in placed:
        snapshot.remove_pod(uid)
    for name in added:
        snapshot.remove_node(name)
    return found


def _fitting(simulation: Simulation, pod: PodInfo, shapes: Sequence[Shape], number: int) -> Shape | None:
    """The first shape that takes the pod."""
    for shape in shapes:
        name = _add(simulation.snapshot, shape, number)
        fits = bool(simulation.decide(pod).node)
        simulation.snapshot.remove_node(name)
        if fits:
            return shape
    return None


def _add(snapshot: Snapshot, shape: Shape, number: int) -> str:
    name = f"{shape.name}-{number + 1}"
    meta = shape.node["metadata"]
    labels = {**(meta.get("labels") or {}), HOSTNAME: name}
    snapshot.set_node({**shape.node, "metadata": {**meta, "name": name, "labels": labels}})
    return name


def shape_like(snapshot: Snapshot, name: str) -> Shape:
    """The shape of a node that is there. Raises KeyError."""
    from sampan.scheduler.remedies import new_node

    return Shape(f"like-{name}", new_node(snapshot.nodes[name].object, name))


def shape_of(text: str) -> Shape:
    """A shape from `cpu=8,memory=32Gi,zone=west`: amounts of resources, and labels. Raises ValueError."""
    from sampan.machinery import quantities

    allocatable, labels = {"pods": "110"}, {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"{part!r} is not NAME=AMOUNT or LABEL=VALUE")
        try:
            quantities.parse(value)
            allocatable[name] = value
        except ValueError:
            labels[name] = value
    if "cpu" not in allocatable or "memory" not in allocatable:
        raise ValueError(f"{text!r} names no cpu and memory, such as cpu=8,memory=32Gi")
    name = f"{allocatable['cpu']}-cpu-{allocatable['memory'].lower()}"
    return Shape(name, {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}})
