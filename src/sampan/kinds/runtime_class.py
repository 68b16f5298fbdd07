"""RuntimeClass (node.k8s.io/v1): which OCI runtime runs a pod's containers."""

from __future__ import annotations

from sampan.kinds import faults, metadata
from sampan.kinds.columns import AGE, NAME, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    handler = obj.get("handler") or ""
    if not handler:
        return [faults.required("handler")]
    found = faults.each_invalid("handler", handler, names.dns_label(handler))
    return found + (faults.immutable("handler", handler, old.get("handler")) if old else [])


KIND = Kind(
    group="node.k8s.io",
    version="v1",
    kind="RuntimeClass",
    plural="runtimeclasses",
    namespaced=False,
    columns=(NAME, Column("Handler", at("handler"), description="The runtime's name at the engine."), AGE),
    validate=metadata.checked(_validate, namespaced=False),
)
