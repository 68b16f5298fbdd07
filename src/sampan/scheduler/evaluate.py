"""Cases to results: what the scheduler makes of one pod on a cluster that is given in full.

A case is an object with `id`, `pod`, and lists of what there is: `nodes`, `pods` (those with a node), `namespaces`,
`services`, and what else decisions depend on (LISTS). Its result has, for each node, the first verdict against it
(plugin, code, reasons), or the plugins' raw scores, their normalised and weighted scores and the total; the nodes
with the highest total; and the filters that had nothing to say (skippedFilters).
"""

from __future__ import annotations

from typing import Any

from sampan.machinery.objects import Object
from sampan.scheduler import snapshot as resources
from sampan.scheduler.decide import Cycle, SchedulingError
from sampan.scheduler.framework import NodeScore, Status
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.snapshot import Snapshot

# The lists of a case besides nodes and pods, and the resource of each.
LISTS = {
    "namespaces": resources.NAMESPACES,
    "services": resources.SERVICES,
    "replicationControllers": resources.REPLICATION_CONTROLLERS,
    "replicaSets": resources.REPLICA_SETS,
    "statefulSets": resources.STATEFUL_SETS,
    "persistentVolumes": resources.VOLUMES,
    "persistentVolumeClaims": resources.CLAIMS,
    "storageClasses": resources.STORAGE_CLASSES,
    "csiNodes": resources.CSI_NODES,
    "csiDrivers": resources.CSI_DRIVERS,
    "csiStorageCapacities": resources.CAPACITIES,
    "volumeAttachments": resources.ATTACHMENTS,
    "deviceClasses": resources.DEVICE_CLASSES,
}


class CaseError(ValueError):
    """The case cannot be read; the text says what is wrong."""


def snapshot_of(case: Object) -> Snapshot:
    """The cluster of a case. Raises CaseError."""
    snapshot = Snapshot()
    for node in _objects(case, "nodes"):
        snapshot.set_node(node)
    for name, resource in LISTS.items():
        for obj in _objects(case, name):
            snapshot.set(resource, obj)
    for pod in _objects(case, "pods"):
        info = PodInfo(pod)
        if info.node and not info.finished:
            snapshot.add_pod(info)
        elif info.nominated:
            snapshot.nominate(info, info.nominated)
    return snapshot


def _objects(case: Object, name: str) -> list[Object]:
    found = case.get(name) or []
    if not isinstance(found, list):
        raise CaseError(f"{name}: expected a list")
    for index, obj in enumerate(found):
        _check(f"{name}[{index}]", obj)
    return found


def _check(where: str, obj: Any) -> None:
    if not isinstance(obj, dict):
        raise CaseError(f"{where}: expected an object")
    meta = obj.get("metadata")
    if not isinstance(meta, dict) or not meta.get("name"):
        raise CaseError(f"{where}: metadata.name is required")


def evaluate(profile: Profile, case: Object) -> Object:
    """The result of a case. Raises CaseError."""
    if not isinstance(case, dict):
        raise CaseError("expected an object")
    _check("pod", case.get("pod"))
    cycle = Cycle(profile, snapshot_of(case), PodInfo(case["pod"]))
    result: Object = {"id": case.get("id", "")}
    try:
        rejected = cycle.pre_filter()
        result["skippedFilters"] = sorted(cycle.skipped_filters)
        result["nodes"] = _verdicts(cycle, rejected)
        _score(cycle, result)
    except SchedulingError as e:
        result["error"] = str(e)
    return result


def _verdicts(cycle: Cycle, rejected: Status | None) -> Object:
    """Each node's verdict; all nodes are asked, those too that pre_filter would leave out."""
    found: Object = {}
    for name, node in sorted(cycle.snapshot.nodes.items()):
        status = rejected or cycle.filter_with_nominated(node)
        found[name] = {"ok": True, "total": 0} if status is None else _refused(status)
    return found


def _refused(status: Status) -> Object:
    return {
        "ok": False,
        "plugin": status.plugin,
        "code": str(status.code),
        "reasons": list(status.reasons),
        "total": 0,
    }


def _score(cycle: Cycle, result: Object) -> None:
    verdicts = result["nodes"]
    feasible = [node for name, node in cycle.snapshot.nodes.items() if verdicts[name]["ok"]]
    if not feasible:
        return
    scores = cycle.score(feasible)
    top = max(score.total for score in scores)
    for score in scores:
        verdicts[score.node] = _scored(score)
    result["best"] = sorted(score.node for score in scores if score.total == top)


def _scored(score: NodeScore) -> Object:
    return {
        "ok": True,
        "raw": dict(sorted(score.raw.items())),
        "scores": dict(sorted(score.scores.items())),
        "total": score.total,
    }
