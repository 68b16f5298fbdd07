"""Cases to results: what the scheduler makes of one pod on a cluster that is given in full.

A case is an object with `id`, `pod`, and lists of what there is: `nodes`, `pods` (those with a node), `namespaces`,
`services`, and what else decisions depend on (LISTS). Its result has, for each node, the first verdict against it
(plugin, code, reasons), or the plugins' raw scores, their normalised and weighted scores and the total; the nodes
with the highest total; and the filters that had nothing to say (skippedFilters).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from sampan.machinery.objects import Object
from sampan.scheduler import snapshot as resources
from sampan.scheduler.decide import Cycle, SchedulingError
from sampan.scheduler.framework import NodeScore, Status, failed
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
    "deviceTaintRules": resources.DEVICE_TAINT_RULES,
    "resourceClaims": resources.RESOURCE_CLAIMS,
    "resourceSlices": resources.RESOURCE_SLICES,
}


class CaseError(ValueError):
    """The case cannot be read; the text says what is wrong."""


class Line(NamedTuple):
    """One line of output, and whether it reports a case that could not be evaluated."""

    line: bytes
    faulty: bool


def stream(lines: Iterable[bytes], profiles: Sequence[Profile]) -> Iterator[Line]:
    """A result for each line with a case, in their order; blank lines are passed over.

    The pod's schedulerName chooses the profile, the first where none has that name.
    """
    by_name = {profile.name: profile for profile in profiles}
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _line(number, line, by_name, profiles[0])


def _line(number: int, line: bytes, profiles: dict[str, Profile], first: Profile) -> Line:
    try:
        case = _read(line)
        name = (case["pod"].get("spec") or {}).get("schedulerName", "")
        result = evaluate(profiles.get(name, first), case)
    except Exception as e:
        # Whatever is wrong with one case, the others are evaluated.
        fault = str(e) if isinstance(e, CaseError) else f"an object is malformed: {type(e).__name__}: {e}"
        return Line(orjson.dumps({"line": number, "error": fault}) + b"\n", True)
    return Line(orjson.dumps(result) + b"\n", False)


def _read(line: bytes) -> Object:
    """The case of a line; also the form in which examples are kept, a case beside its result."""
    try:
        case = orjson.loads(line)
    except orjson.JSONDecodeError as e:
        raise CaseError(f"not JSON: {e}") from e
    if not isinstance(case, dict):
        raise CaseError("expected an object")
    found: Object = case.get("case", case)
    _check("pod", found.get("pod"))
    return found


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
    _check("pod", case.get("pod"))
    cycle = Cycle(profile, snapshot_of(case), PodInfo(case["pod"]))
    result: Object = {"id": case.get("id", "")}
    try:
        rejected = cycle.pre_filter()
    except SchedulingError as e:
        rejected = failed(str(e)).of(e.plugin)
    result["skippedFilters"] = sorted(cycle.skipped_filters)
    result["nodes"] = _verdicts(cycle, rejected)
    try:
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
