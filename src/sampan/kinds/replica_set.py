"""ReplicaSet (apps/v1): so many equal pods at any time."""

from __future__ import annotations

from sampan.kinds import faults, label_selectors, metadata, pod_defaults, strategy, workloads
from sampan.kinds.columns import AGE, NAME, at, container_columns
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    pod_defaults.default_template(spec.setdefault("template", {}))


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found = faults.not_negative("spec.replicas", spec.get("replicas"))
    found += faults.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    found += label_selectors.validate(spec.get("selector"), "spec.selector", whose="deployment")
    found += workloads.template(spec)
    if old is not None:
        found += faults.immutable("spec.selector", spec.get("selector"), old["spec"].get("selector"))
    return found


KIND = Kind(
    group="apps",
    version="v1",
    kind="ReplicaSet",
    plural="replicasets",
    namespaced=True,
    short_names=("rs",),
    categories=("all",),
    subresources=("scale", "status"),
    columns=(
        NAME,
        Column("Desired", at("spec.replicas", 0), type="integer", description="How many pods are wanted."),
        Column("Current", at("status.replicas", 0), type="integer", description="How many there are."),
        Column("Ready", at("status.readyReplicas", 0), type="integer", description="How many are ready."),
        AGE,
        *container_columns("spec.template.spec", "spec.selector"),
    ),
    fields=lambda obj: {"status.replicas": str(get(obj, "status.replicas", 0))},
    default=_default,
    prepare=strategy.counted,
    validate=metadata.checked(_validate),
)
