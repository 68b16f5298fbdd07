"""ReplicationController (core/v1): what ReplicaSets replaced; stored, and shown."""

from __future__ import annotations

from sampan.kinds import faults, metadata, pod_defaults, pod_spec, strategy
from sampan.kinds.columns import AGE, NAME, at, container_columns, labels_text
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    pod_defaults.default_template(spec.setdefault("template", {}))
    labels = get(spec, "template.metadata.labels", {})
    if not spec.get("selector"):
        spec["selector"] = dict(labels)
    if labels and not get(obj, "metadata.labels"):
        obj["metadata"]["labels"] = dict(labels)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found = faults.not_negative("spec.replicas", spec.get("replicas"))
    if not spec.get("selector"):
        found.append(faults.required("spec.selector"))
    return found + pod_spec.validate_template(spec.get("template") or {}, "spec.template")


def _selector(obj: Object, now: float) -> str:
    return labels_text(get(obj, "spec.selector"))


KIND = Kind(
    group="",
    version="v1",
    kind="ReplicationController",
    plural="replicationcontrollers",
    namespaced=True,
    short_names=("rc",),
    categories=("all",),
    subresources=("scale", "status"),
    columns=(
        NAME,
        Column("Desired", at("spec.replicas", 0), type="integer", description="How many pods are wanted."),
        Column("Current", at("status.replicas", 0), type="integer", description="How many there are."),
        Column("Ready", at("status.readyReplicas", 0), type="integer", description="How many are ready."),
        AGE,
        *container_columns("spec.template.spec"),
        Column("Selector", _selector, wide=True, description="Which pods it manages."),
    ),
    fields=lambda obj: {"status.replicas": str(get(obj, "status.replicas", 0))},
    default=_default,
    prepare=strategy.counted,
    validate=metadata.checked(_validate),
)
