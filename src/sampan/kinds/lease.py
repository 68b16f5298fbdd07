"""Lease (coordination.k8s.io/v1): who holds something, until when: leaders, and nodes' heartbeats."""

from __future__ import annotations

from sampan.kinds import faults, metadata
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    found: list[Invalid] = []
    duration, transitions = get(obj, "spec.leaseDurationSeconds"), get(obj, "spec.leaseTransitions")
    if duration is not None and duration <= 0:
        found.append(faults.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    return found + faults.not_negative("spec.leaseTransitions", transitions)


KIND = Kind(
    group="coordination.k8s.io",
    version="v1",
    kind="Lease",
    plural="leases",
    namespaced=True,
    columns=(NAME, Column("Holder", at("spec.holderIdentity"), description="Who holds the lease."), AGE),
    validate=metadata.checked(_validate),
)
