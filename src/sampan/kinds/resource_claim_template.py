"""ResourceClaimTemplate (resource.k8s.io/v1): the claim that is made for each pod that names it."""

from __future__ import annotations

from sampan.kinds import device_claims, faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME
from sampan.kinds.kind import Invalid, Kind
from sampan.machinery.objects import Object


def _default(obj: Object) -> None:
    device_claims.default(obj.setdefault("spec", {}).setdefault("spec", {}))


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    if old is not None:
        return faults.immutable("spec", spec, old["spec"])
    return device_claims.validate(spec.get("spec") or {}, "spec.spec")


KIND = Kind(
    group="resource.k8s.io",
    version="v1",
    kind="ResourceClaimTemplate",
    plural="resourceclaimtemplates",
    namespaced=True,
    columns=(NAME, AGE),
    default=_default,
    prepare=strategy.counted_whole,
    validate=metadata.checked(_validate),
)
