"""ControllerRevision (apps/v1): a past state of a StatefulSet or DaemonSet, kept for rolling back."""

from __future__ import annotations

from sampan.kinds import faults, metadata
from sampan.kinds.columns import AGE, NAME, NONE, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, owner


def _controller(obj: Object, now: float) -> str:
    found = owner(obj)
    if not found:
        return NONE
    group = found["apiVersion"].rpartition("/")[0]
    kind = found["kind"].lower()
    return f"{kind}.{group}/{found['name']}" if group else f"{kind}/{found['name']}"


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    found = faults.not_negative("revision", obj.get("revision", 0))
    if obj.get("data") is None:
        found.append(faults.required("data", "data is mandatory"))
    if old is not None:
        found += faults.immutable("data", obj.get("data"), old.get("data"))
    return found


KIND = Kind(
    group="apps",
    version="v1",
    kind="ControllerRevision",
    plural="controllerrevisions",
    namespaced=True,
    columns=(
        NAME,
        Column("Controller", _controller, description="Whose state it is."),
        Column("Revision", at("revision", 0), description="Its number."),
        AGE,
    ),
    validate=metadata.checked(_validate),
)
