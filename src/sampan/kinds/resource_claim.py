"""ResourceClaim (resource.k8s.io/v1): devices that pods ask for; its status says which they got, and who uses them."""

from __future__ import annotations

from sampan.kinds import device_claims, faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object

# How many may use one claim.
MOST_USERS = 256


def _default(obj: Object) -> None:
    device_claims.default(obj.setdefault("spec", {}))


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    found = device_claims.validate(spec, "spec") if old is None else []
    if old is not None:
        found += faults.immutable("spec", spec, old.get("spec") or {})
        before = (old.get("status") or {}).get("allocation")
        if before is not None and status.get("allocation") is not None:
            found += faults.immutable("status.allocation", status["allocation"], before)
    users = status.get("reservedFor") or ()
    if len(users) > MOST_USERS:
        found.append(faults.too_many("status.reservedFor", len(users), MOST_USERS))
    if users and status.get("allocation") is None:
        text = "may not be specified when `allocated` is not set"
        found.append(faults.forbidden("status.reservedFor", text))
    if users and "deletionTimestamp" in obj["metadata"] and old is not None:
        known = {u["uid"] for u in (old.get("status") or {}).get("reservedFor") or ()}
        if any(u["uid"] not in known for u in users):
            text = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
            found.append(faults.forbidden("status.reservedFor", text))
    return found


def _state(obj: Object, now: float) -> str:
    status = obj.get("status") or {}
    words = ["deleted"] if "deletionTimestamp" in obj["metadata"] else []
    if status.get("allocation") is None:
        words += [] if words else ["pending"]
    else:
        words.append("allocated")
    if status.get("reservedFor"):
        words.append("reserved")
    return ",".join(words)


KIND = Kind(
    group="resource.k8s.io",
    version="v1",
    kind="ResourceClaim",
    plural="resourceclaims",
    namespaced=True,
    subresources=("status",),
    columns=(
        NAME,
        Column("State", _state, description="Whether its devices are chosen, and in use."),
        AGE,
    ),
    default=_default,
    prepare=strategy.counted,
    validate=metadata.checked(_validate),
)
