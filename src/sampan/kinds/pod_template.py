"""PodTemplate (core/v1): a pod to make copies of, stored by itself. Workloads carry theirs inside."""

from __future__ import annotations

from sampan.kinds import metadata, pod_defaults, pod_spec, strategy
from sampan.kinds.columns import NAME, container_columns, labels_text
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery.objects import Object, get


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    return pod_spec.validate_template(obj.get("template") or {}, "template")


def _labels(obj: Object, now: float) -> str:
    return labels_text(get(obj, "template.metadata.labels"))


_CONTAINERS = tuple(
    Column(c.name, c.value, description=c.description) for c in container_columns("template.spec")
)

KIND = Kind(
    group="",
    version="v1",
    kind="PodTemplate",
    plural="podtemplates",
    namespaced=True,
    columns=(NAME, *_CONTAINERS, Column("Pod Labels", _labels, description="The labels of its pods.")),
    default=lambda obj: pod_defaults.default_template(obj.setdefault("template", {})),
    prepare=strategy.counted_whole,
    validate=metadata.checked(_validate),
)
