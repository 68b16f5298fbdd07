"""Queueing hints of the default plugins: which change may help a pod that a plugin refused.

`TABLE` names for each plugin the events that concern it, and the question that is then asked of each pod: given the
plugin, the waiting pod, and the object before and after the change, is the pod worth another try? No question means
that it always is. A question must rather say yes once too often than leave a pod waiting.

Source: KEP-4247; EventsToRegister and the QueueingHintFns of kube-scheduler 1.37's plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from sampan.machinery import quantities, selectors
from sampan.machinery.objects import Object, key
from sampan.scheduler import gang, resources
from sampan.scheduler.events import Action, ClusterEvent, EventHint, Kind
from sampan.scheduler.framework import EnqueuePlugin, Named, PreFiltered
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.terms import AffinityTerm, Labels, untolerated

Question = Callable[[Any, PodInfo, Object | None, Object | None], bool]
Row = tuple[Kind, Action, Question | None]
# An extender says nothing of events, so each may help.
EXTENDERS = "Extender"
# Refuses pods while there are no nodes at all.
NO_NODES = "NoNodes"


def of(profile: Profile, extenders: bool = False) -> dict[str, tuple[EventHint, ...]]:
    """The hints of a profile's plugins by name."""
    found = {name: _of_plugin(plugin) for name, plugin in profile.plugins().items()}
    found[NO_NODES] = (EventHint(ClusterEvent(Kind.NODE, Action.ADD)),)
    if extenders:
        found[EXTENDERS] = tuple(EventHint(ClusterEvent(kind, Action.ALL)) for kind in Kind)
    return found


def _of_plugin(plugin: Named) -> tuple[EventHint, ...]:
    """An own plugin that names no events is tried again on every one, as upstream does."""
    if isinstance(plugin, EnqueuePlugin):
        return tuple(plugin.events())
    if plugin.name not in TABLE:
        return tuple(EventHint(ClusterEvent(kind, Action.ALL)) for kind in Kind)
    return tuple(
        EventHint(ClusterEvent(kind, action), partial(question, plugin) if question else None)
        for kind, action, question in TABLE[plugin.name]
    )


def _always(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    return True


def _never(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    return False


def _info(node: Object | None) -> NodeInfo:
    if node is None:
        raise ValueError("the event is about a node, but has none")
    return NodeInfo(node)


def _labels(obj: Object | None) -> Labels:
    return (obj["metadata"].get("labels") or {}) if obj else {}


def _placed(pod: Object) -> bool:
    """Whether a pod took room: it was on a node, or a place was kept for it."""
    return bool(pod["spec"].get("nodeName") or (pod.get("status") or {}).get("nominatedNodeName"))


# Groups


def _of_the_group(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """GangScheduling: a pod of the same group came, which may be the one that was missing."""
    if new is None:
        return False
    same = gang.group_of(pod.object) == gang.group_of(new) is not None
    return same and pod.namespace == new["metadata"].get("namespace", "")


def _own_group(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    return new is not None and key(new) == (pod.namespace, gang.group_of(pod.object))


def _smaller_gang(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """GangScheduling: the group needs fewer pods than before."""
    if old is None or new is None or not _own_group(plugin, pod, old, new):
        return False
    return gang.min_count(new) < gang.min_count(old)


# Nodes


def _node_allowed(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """NodeAffinity: the node is allowed now, and was not before."""
    if plugin.filter(None, pod, _info(new)) is not None:
        return False
    return old is None or not pod.required_nodes.matches(NodeInfo(old).name, _labels(old))


def _node_opened(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """NodeUnschedulable: the node takes pods now."""
    return not _info(new).unschedulable and (old is None or NodeInfo(old).unschedulable)


def _tolerates_closed(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    return untolerated([taint], PodInfo(new or pod.object).tolerations) is None


def _taint_gone(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """TaintToleration: no taint keeps the pod off the node now, and one did before."""
    was = old is None or untolerated(NodeInfo(old).taints, pod.tolerations) is not None
    return was and untolerated(_info(new).taints, pod.tolerations) is None


def _node_grew(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """NodeResourcesFit: the pod would fit on the node if it were empty, and there is more of what it requests."""
    node = _info(new)
    found = plugin.pre_filter(pod, Snapshot())
    state = found.state if isinstance(found, PreFiltered) else None
    if plugin.filter(state, pod, node) is not None:
        return False
    if old is None:
        return True
    before = NodeInfo(old)
    return node.allowed_pods > before.allowed_pods or any(
        amount > 0 and node.allocatable.get(name, 0) > before.allocatable.get(name, 0)
        for name, amount in pod.requests.items()
    )


def _pod_shrank(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """NodeResourcesFit: a pod on a node gave back some of what this one requests."""
    if old is None or new is None or not new["spec"].get("nodeName"):
        return True
    before, after = resources.requests(old), resources.requests(new)
    return any(
        amount > 0 and before.get(name, 0) > after.get(name, 0) for name, amount in pod.requests.items()
    )


def _room_left(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """NodeResourcesFit: a pod that had a place is gone."""
    return old is None or _placed(old)


def _class_of_resource(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """NodeResourcesFit: a device class now provides an extended resource that the pod requests."""
    if new is None:
        return False
    name = new["spec"].get("extendedResourceName")
    if old is not None and old["spec"].get("extendedResourceName") == name:
        return False
    implicit = f"deviceclass.resource.kubernetes.io/{new['metadata']['name']}"
    return (name or "") in pod.requests or (old is None and implicit in pod.requests)


def _features_declared(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    return old is None or _info(new).declared_features != NodeInfo(old).declared_features


def _port_freed(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """NodePorts: the pod that is gone had a port that this one wants."""
    if old is None or not _placed(old):
        return old is None
    node = NodeInfo({"metadata": {"name": ""}})
    node.add_pod(PodInfo(old))
    return any(node.conflicts(port) for port in pod.host_ports)


# Other pods


def _terms(pod: PodInfo) -> tuple[tuple[AffinityTerm, ...], tuple[AffinityTerm, ...]]:
    return pod.required_affinity, pod.required_anti_affinity


def _all_match(terms: Iterable[AffinityTerm], other: Object) -> bool:
    """Whether all terms mean the pod; none at all mean nobody."""
    listed = tuple(terms)
    return bool(listed) and all(_matches(term, other) for term in listed)


def _matches(term: AffinityTerm, other: Object) -> bool:
    if term.namespace_selector and not term.namespace_selector.nothing:
        # Namespaces' labels are not known here, so the term may mean it.
        return term.selector.matches(_labels(other))
    return term.matches(other["metadata"].get("namespace", ""), _labels(other), None)


def _near_or_gone(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """InterPodAffinity: a pod that this one wants near has come, or one that it is kept apart from has gone."""
    if any(other is not None and not _placed(other) for other in (old, new)):
        return False
    wanted, unwanted = _terms(pod)
    if old is None or new is None:
        if new is not None:
            return _all_match(wanted, new)
        gone = old or {}
        repels = PodInfo(gone).required_anti_affinity
        return any(_matches(t, gone) for t in unwanted) or any(_matches(t, pod.object) for t in repels)
    if not _all_match(wanted, old) and _all_match(wanted, new):
        return True
    return any(_matches(t, old) for t in unwanted) and not any(_matches(t, new) for t in unwanted)


def _topology_changed(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """InterPodAffinity: the node is in another domain of a term than before."""
    wanted, unwanted = _terms(pod)
    labels, before = _labels(new), _labels(old)
    if old is None:
        return bool(unwanted) or any(term.topology_key in labels for term in wanted)
    for term in wanted:
        if term.topology_key in labels and before.get(term.topology_key) != labels[term.topology_key]:
            return True
    return any(
        term.topology_key in before and labels.get(term.topology_key) != before[term.topology_key]
        for term in unwanted
    )


def _constraints(pod: PodInfo) -> list[Object] | None:
    """The pod's own hard constraints; None where the profile's may hold, whose selectors are not known here."""
    listed = pod.spec.get("topologySpreadConstraints") or ()
    hard = [c for c in listed if c.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"]
    return hard if listed else None


def _selects(constraint: Object, labels: Labels) -> bool:
    return selectors.of(constraint.get("labelSelector")).matches(labels)


def _spread_pods_changed(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """PodTopologySpread: a pod that counts has come, gone, or changed its labels."""
    for other in (old, new):
        if other is not None and (
            not _placed(other) or other["metadata"].get("namespace", "") != pod.namespace
        ):
            return False
    constraints = _constraints(pod)
    if constraints is None:
        return True
    if old is not None and new is not None:
        return any(_selects(c, _labels(old)) != _selects(c, _labels(new)) for c in constraints)
    return any(_selects(c, _labels(old or new)) for c in constraints)


def _spread_pod_itself_changed(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    constraints = _constraints(pod)
    if constraints is None or old is None or new is None:
        return True
    honoured = any(c.get("nodeTaintsPolicy") == "Honor" for c in constraints)
    if honoured and old["spec"].get("tolerations") != new["spec"].get("tolerations"):
        return True
    return any(_selects(c, _labels(old)) != _selects(c, _labels(new)) for c in constraints)


def _spread_nodes_changed(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """PodTopologySpread: a node with the domains of all constraints has come, gone, or moved."""
    constraints = _constraints(pod)
    if constraints is None:
        return True
    keys = [c["topologyKey"] for c in constraints]
    was = old is not None and all(k in _labels(old) for k in keys)
    is_now = new is not None and all(k in _labels(new) for k in keys)
    if old is None or new is None or was != is_now:
        return was or is_now
    moved = any(_labels(old).get(k) != _labels(new).get(k) for k in keys)
    return is_now and (moved or NodeInfo(old).taints != NodeInfo(new).taints)


# Volumes


def _claim_names(pod: PodInfo, ephemeral: bool = True) -> set[str]:
    found = {claim.name for claim in pod.claims}
    if ephemeral:
        found |= {f"{pod.name}-{v['name']}" for v in pod.spec.get("volumes") or () if v.get("ephemeral")}
    return found


def _own_claim(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """The claim is one of the pod's."""
    meta = (new or old or {}).get("metadata") or {}
    return meta.get("namespace", "") == pod.namespace and meta.get("name", "") in _claim_names(pod)


def _volume_conflict_gone(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """VolumeRestrictions: the pod that is gone shared a claim or a disk with this one."""
    if old is None:
        return True
    gone = PodInfo(old)
    if gone.namespace != pod.namespace:
        return False
    disks = ("gcePersistentDisk", "awsElasticBlockStore", "rbd", "iscsi")
    kinds = {d for d in disks for v in pod.spec.get("volumes") or () if v.get(d)}
    shared = any(v.get(d) for d in kinds for v in gone.spec.get("volumes") or ())
    return shared or bool(set(gone.claims) & set(pod.claims))


def _volumes_gone(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """NodeVolumeLimits: the pod that is gone had volumes on a node."""
    if old is None:
        return True
    return _placed(old) and bool(_claim_names(PodInfo(old)))


def _has_claims(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    return bool(pod.claims)


def _limits_raised(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    before, after = _limits(old), _limits(new)
    return any(limit > before.get(driver, 0) for driver, limit in after.items())


def _limits(csi_node: Object | None) -> dict[str, int]:
    drivers = ((csi_node or {}).get("spec") or {}).get("drivers") or ()
    return {d["name"]: (d.get("allocatable") or {}).get("count") or 0 for d in drivers}


def _topologies_allowed(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """VolumeBinding: the storage class is new, or allows other topologies."""
    return old is None or new is None or old.get("allowedTopologies") != new.get("allowedTopologies")


def _late_class(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """VolumeZone: the new storage class binds once a pod has its node."""
    return (new or {}).get("volumeBindingMode") == "WaitForFirstConsumer"


def _zone_changed(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """VolumeZone: the volume is new, or says another zone."""
    return old is None or _zones(old) != _zones(new)


def _zones(volume: Object | None) -> dict[str, str]:
    names = ("zone", "region")
    keys = {f"topology.kubernetes.io/{n}" for n in names} | {
        f"failure-domain.beta.kubernetes.io/{n}" for n in names
    }
    return {key: value for key, value in _labels(volume).items() if key in keys}


def _migrated(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    name = "storage.alpha.kubernetes.io/migrated-plugins"
    if old is None or new is None:
        return True
    return (old["metadata"].get("annotations") or {}).get(name) != (
        new["metadata"].get("annotations") or {}
    ).get(name)


def _capacity_unchecked(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """VolumeBinding: the driver's capacity is not looked at any more."""
    if old is None or new is None:
        return True
    return bool(old["spec"].get("storageCapacity")) and not new["spec"].get("storageCapacity")


def _capacity_grew(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    limit = _capacity(new)
    return old is None or (limit is not None and (_capacity(old) or quantities.parse("0")) < limit)


def _capacity(obj: Object | None) -> quantities.Quantity | None:
    text = (obj or {}).get("maximumVolumeSize") or (obj or {}).get("capacity")
    return quantities.parse(text) if text is not None else None


# Devices


def _claim_of_pod(plugin: Any, pod: PodInfo, old: Object | None, new: Object | None) -> bool:
    """DynamicResources: a claim of the pod has changed, or any gave back devices."""
    found = new or old or {}
    meta = found.get("metadata") or {}
    if meta.get("namespace", "") == pod.namespace and meta.get("name", "") in _resource_claims(pod):
        return True
    return _allocated(old) and not (new is not None and _allocated(new))


def _allocated(claim: Object | None) -> bool:
    return bool(((claim or {}).get("status") or {}).get("allocation"))


def _resource_claims(pod: PodInfo) -> set[str]:
    made = {s["name"]: s.get("resourceClaimName") for s in pod.status.get("resourceClaimStatuses") or ()}
    listed = pod.spec.get("resourceClaims") or ()
    return {c.get("resourceClaimName") or made.get(c["name"]) or "" for c in listed} - {""}


_NODE_ADDED_OR_LABELLED = Action.ADD | Action.UPDATE_NODE_LABEL
_WRITTEN = Action.ADD | Action.UPDATE
TABLE: Mapping[str, tuple[Row, ...]] = {
    "SchedulingGates": ((Kind.TARGET_POD, Action.UPDATE_POD_GATES_ELIMINATED, _always),),
    "GangScheduling": (
        (Kind.UNSCHEDULED_POD, Action.ADD, _of_the_group),
        (Kind.ASSIGNED_POD, Action.ADD, _of_the_group),
        (Kind.POD_GROUP, Action.ADD, _own_group),
        (Kind.POD_GROUP, Action.UPDATE, _smaller_gang),
    ),
    "PrioritySort": (),
    "DefaultBinder": (),
    "ImageLocality": (),
    "NodeResourcesBalancedAllocation": (),
    "NodeName": ((Kind.NODE, Action.ADD, None),),
    "NodeUnschedulable": (
        (Kind.NODE, Action.ADD | Action.UPDATE_NODE_TAINT, _node_opened),
        (Kind.TARGET_POD, Action.UPDATE_POD_TOLERATION, _tolerates_closed),
    ),
    "TaintToleration": (
        (Kind.NODE, Action.ADD | Action.UPDATE_NODE_TAINT, _taint_gone),
        (Kind.TARGET_POD, Action.UPDATE_POD_TOLERATION, _always),
    ),
    "NodeAffinity": ((Kind.NODE, _NODE_ADDED_OR_LABELLED, _node_allowed),),
    "NodePorts": (
        (Kind.ASSIGNED_POD, Action.DELETE, _port_freed),
        (Kind.NODE, Action.ADD, None),
    ),
    "NodeResourcesFit": (
        (Kind.ASSIGNED_POD, Action.DELETE, _room_left),
        (Kind.NODE, Action.ADD | Action.UPDATE_NODE_ALLOCATABLE, _node_grew),
        (Kind.DEVICE_CLASS, _WRITTEN, _class_of_resource),
        (Kind.ASSIGNED_POD, Action.UPDATE_POD_SCALE_DOWN, _pod_shrank),
        (Kind.TARGET_POD, Action.UPDATE_POD_SCALE_DOWN, _always),
    ),
    "VolumeRestrictions": (
        (Kind.ASSIGNED_POD, Action.DELETE, _volume_conflict_gone),
        (Kind.NODE, Action.ADD, None),
        (Kind.CLAIM, Action.ADD, _own_claim),
    ),
    "NodeVolumeLimits": (
        (Kind.CSI_NODE, Action.ADD, None),
        (Kind.CSI_NODE, Action.UPDATE, _limits_raised),
        (Kind.ASSIGNED_POD, Action.DELETE, _volumes_gone),
        (Kind.CLAIM, Action.ADD, _own_claim),
        (Kind.ATTACHMENT, Action.DELETE, _has_claims),
    ),
    "VolumeBinding": (
        (Kind.STORAGE_CLASS, _WRITTEN, _topologies_allowed),
        (Kind.CLAIM, _WRITTEN, _own_claim),
        (Kind.VOLUME, _WRITTEN, None),
        (Kind.NODE, _NODE_ADDED_OR_LABELLED, None),
        (Kind.CSI_NODE, _WRITTEN, _migrated),
        (Kind.CSI_DRIVER, Action.UPDATE, _capacity_unchecked),
        (Kind.CAPACITY, _WRITTEN, _capacity_grew),
    ),
    "VolumeZone": (
        (Kind.STORAGE_CLASS, Action.ADD, _late_class),
        (Kind.NODE, _NODE_ADDED_OR_LABELLED, None),
        (Kind.CLAIM, _WRITTEN, _own_claim),
        (Kind.VOLUME, _WRITTEN, _zone_changed),
    ),
    "PodTopologySpread": (
        (Kind.ASSIGNED_POD, Action.ADD | Action.UPDATE_POD_LABEL | Action.DELETE, _spread_pods_changed),
        (Kind.TARGET_POD, Action.UPDATE_POD_TOLERATION | Action.UPDATE_POD_LABEL, _spread_pod_itself_changed),
        (
            Kind.NODE,
            Action.ADD | Action.DELETE | Action.UPDATE_NODE_LABEL | Action.UPDATE_NODE_TAINT,
            _spread_nodes_changed,
        ),
    ),
    "InterPodAffinity": (
        (Kind.ASSIGNED_POD, Action.ADD | Action.UPDATE_POD_LABEL | Action.DELETE, _near_or_gone),
        (Kind.TARGET_POD, Action.UPDATE_POD_LABEL, _always),
        (Kind.NODE, _NODE_ADDED_OR_LABELLED, _topology_changed),
    ),
    # Who waits for its victims to go is woken by the plugins that refused it.
    "DefaultPreemption": ((Kind.ASSIGNED_POD, Action.DELETE, _never),),
    "NodeDeclaredFeatures": (
        (Kind.NODE, Action.ADD | Action.UPDATE_NODE_DECLARED_FEATURE, _features_declared),
        (Kind.TARGET_POD, Action.UPDATE, None),
    ),
    "DynamicResources": (
        (Kind.NODE, Action.ADD | Action.UPDATE_NODE_LABEL | Action.UPDATE_NODE_ALLOCATABLE, None),
        (Kind.RESOURCE_CLAIM, Action.ADD | Action.UPDATE | Action.DELETE, _claim_of_pod),
        (Kind.TARGET_POD, Action.UPDATE_POD_RESOURCE_CLAIM, _always),
        (Kind.DEVICE_CLASS, _WRITTEN, None),
        (Kind.RESOURCE_SLICE, _WRITTEN, None),
        (Kind.DEVICE_TAINT_RULE, _WRITTEN | Action.DELETE, None),
    ),
}
