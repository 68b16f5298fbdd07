"""The pools of devices that a node can reach, from ResourceSlices: complete, valid, and of the newest generation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sampan.machinery import quantities
from sampan.machinery.objects import Object
from sampan.scheduler.devices import AllocationError
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.terms import NodeTermError, is_empty, node_term

# Amounts in billionths, by counter set and counter.
Counters = dict[str, dict[str, int]]
PoolId = tuple[str, str]


@dataclass(slots=True)
class Pool:
    """One pool of one driver. `here` are the slices that the node reaches, `elsewhere` the others of the pool."""

    id: PoolId
    incomplete: bool = False
    invalid: bool = False
    here: list[Object] = field(default_factory=list)
    elsewhere: list[Object] = field(default_factory=list)
    counters: Counters = field(default_factory=dict)

    def __str__(self) -> str:
        return "/".join(self.id)


def gather(slices: Sequence[Object], node: NodeInfo) -> list[Pool]:
    """The pools for a node, in the order in which they are searched. Raises AllocationError."""
    newest: dict[PoolId, list[Object]] = {}
    for piece in slices:
        # A slice of another node is not even looked at.
        if piece["spec"].get("nodeName") in (None, "", node.name) and _is_reached(piece, node):
            _add(newest, piece)
    found: list[Pool] = []
    binding: list[Pool] = []
    for name in sorted(newest):
        if (pool := _pool(name, newest[name], slices)) is not None:
            later = any(device.get("bindingConditions") for piece in pool.here for device in devices(piece))
            (binding if later else found).append(pool)
    return [*found, *binding]


def tainted(slices: Iterable[Object], rules: Sequence[Object]) -> list[Object]:
    """The slices with the taints that DeviceTaintRules add to their devices; a rule without selector adds none."""
    chosen = [rule["spec"] for rule in rules if rule["spec"].get("deviceSelector") is not None]
    return [_with_taints(piece, chosen) for piece in slices] if chosen else list(slices)


def _with_taints(piece: Object, rules: Sequence[Object]) -> Object:
    driver, pool = _id(piece)
    found = []
    for rule in rules:
        selector = rule["deviceSelector"]
        if selector.get("driver") in (None, driver) and selector.get("pool") in (None, pool):
            found.append((selector.get("device"), rule["taint"]))
    if not found:
        return piece
    listed = [
        {**device, "taints": [*(device.get("taints") or ()), *added]}
        if (added := [taint for name, taint in found if name in (None, device["name"])])
        else device
        for device in devices(piece)
    ]
    return {**piece, "spec": {**piece["spec"], "devices": listed}}


def devices(piece: Object) -> list[Object]:
    """A slice's devices."""
    found: list[Object] = piece["spec"].get("devices") or []
    return found


def matches(where: Object, node: NodeInfo) -> bool:
    """Whether a slice or a device (nodeName, allNodes, nodeSelector) is for the node. Raises AllocationError."""
    if name := where.get("nodeName"):
        return bool(name == node.name)
    if where.get("allNodes"):
        return True
    if (selector := where.get("nodeSelector")) is None:
        return False
    try:
        terms = [
            node_term(term, where=f"nodeSelectorTerms[{i}]")
            for i, term in enumerate(selector.get("nodeSelectorTerms") or ())
            if not is_empty(term)
        ]
    except NodeTermError as e:
        raise AllocationError(f"failed to parse node selector: {e}") from e
    return any(term.matches(node.name, node.labels) for term in terms)


def _is_reached(piece: Object, node: NodeInfo) -> bool:
    spec = piece["spec"]
    if spec.get("nodeName") or spec.get("allNodes") or spec.get("nodeSelector") is not None:
        return matches(spec, node)
    return bool(spec.get("perDeviceNodeSelection")) and any(matches(d, node) for d in devices(piece))


def _id(piece: Object) -> PoolId:
    return piece["spec"]["driver"], piece["spec"]["pool"]["name"]


def _generation(piece: Object) -> int:
    return piece["spec"]["pool"].get("generation") or 0


def _add(newest: dict[PoolId, list[Object]], piece: Object) -> None:
    known = newest.setdefault(_id(piece), [])
    if known and _generation(piece) < _generation(known[0]):
        return
    if known and _generation(piece) > _generation(known[0]):
        known.clear()
    known.append(piece)


def _pool(name: PoolId, reached: list[Object], slices: Iterable[Object]) -> Pool | None:
    """A pool from the slices that the node reaches; None where a newer generation is known."""
    wanted = reached[0]["spec"]["pool"].get("resourceSliceCount") or 0
    if len(reached) == wanted:
        return _built(name, reached, [])
    same_pool = [piece for piece in slices if _id(piece) == name]
    generation = _generation(reached[0])
    if any(_generation(piece) > generation for piece in same_pool):
        return None
    whole = [piece for piece in same_pool if _generation(piece) == generation]
    if len(whole) != wanted:
        return Pool(name, incomplete=True)
    names = {piece["metadata"]["name"] for piece in reached}
    return _built(name, reached, [piece for piece in whole if piece["metadata"]["name"] not in names])


def _built(name: PoolId, reached: list[Object], others: list[Object]) -> Pool:
    ordered = sorted(reached, key=lambda piece: str(piece["metadata"]["name"]))
    counting = [piece for piece in [*ordered, *others] if piece["spec"].get("sharedCounters")]
    here = [piece for piece in ordered if not piece["spec"].get("sharedCounters")]
    elsewhere = [piece for piece in others if not piece["spec"].get("sharedCounters")]
    names = [device["name"] for piece in here for device in devices(piece)]
    counters = _counters(counting)
    valid = (
        len(set(names)) == len(names)
        and counters is not None
        and all(
            _counters_exist(device, counters) for piece in [*here, *elsewhere] for device in devices(piece)
        )
    )
    return (
        Pool(name, here=here, elsewhere=elsewhere, counters=counters or {})
        if valid
        else Pool(name, invalid=True)
    )


def _counters(slices: Iterable[Object]) -> Counters | None:
    """The counter sets of a pool; None where one is there twice."""
    found: Counters = {}
    for piece in slices:
        for counter_set in piece["spec"]["sharedCounters"]:
            if counter_set["name"] in found:
                return None
            found[counter_set["name"]] = amounts(counter_set)
    return found


def amounts(counter_set: Object) -> dict[str, int]:
    """The amounts of a set of counters, in billionths."""
    counters = (counter_set.get("counters") or {}).items()
    return {name: quantities.parse(counter["value"]).nano for name, counter in counters}


def _counters_exist(device: Object, counters: Counters) -> bool:
    return all(
        used["counterSet"] in counters
        and set(used.get("counters") or ()) <= counters[used["counterSet"]].keys()
        for used in device.get("consumesCounters") or ()
    )
