"""Job (batch/v1): pods that run to completion."""

from __future__ import annotations

from sampan.kinds import faults, label_selectors, metadata, pod_defaults, strategy, workloads
from sampan.kinds.columns import AGE, NAME, container_columns
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names, times
from sampan.machinery.conditions import is_true
from sampan.machinery.objects import Object, get

UID_LABEL, NAME_LABEL = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
_OLD_UID_LABEL, _OLD_NAME_LABEL = "controller-uid", "job-name"
_MODES = ("NonIndexed", "Indexed")
_NUMBERS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip


def _completions(obj: Object, now: float) -> str:
    done, wanted = get(obj, "status.succeeded", 0), get(obj, "spec.completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallel = get(obj, "spec.parallelism", 0)
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _duration(obj: Object, now: float) -> str:
    start, end = get(obj, "status.startTime"), get(obj, "status.completionTime")
    if not start:
        return ""
    return times.human((times.seconds(end) if end else now) - times.seconds(start))


def _status(obj: Object, now: float) -> str:
    for kind in ("Complete", "Failed"):
        if is_true(obj, kind):
            return kind
    if get(obj, "metadata.deletionTimestamp"):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if is_true(obj, kind):
            return kind
    return "Running"


def default_spec(spec: Object) -> None:
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    per_index = spec.get("backoffLimitPerIndex") is not None
    values = {
        "parallelism": 1,
        "backoffLimit": 2**31 - 1 if per_index else 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed",
        "manualSelector": False,
    }
    for name, value in values.items():
        if spec.get(name) is None:
            spec[name] = value
    pod_defaults.default_template(spec.setdefault("template", {}))


def _default(obj: Object) -> None:
    default_spec(obj.setdefault("spec", {}))
    if not get(obj, "metadata.labels"):
        labels = get(obj, "spec.template.metadata.labels")
        if labels:
            obj["metadata"]["labels"] = dict(labels)


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    """A new Job's pods are selected by its uid, unless its writer chose a selector."""
    strategy.counted(obj, old, subresource)
    if old is None and not get(obj, "spec.manualSelector"):
        _select_by_uid(obj)


def _select_by_uid(obj: Object) -> None:
    uid, name = obj["metadata"].get("uid", ""), obj["metadata"].get("name", "")
    spec = obj["spec"]
    meta = spec["template"]["metadata"] = spec["template"].get("metadata") or {}
    owned = {UID_LABEL: uid, NAME_LABEL: name, _OLD_UID_LABEL: uid, _OLD_NAME_LABEL: name}
    meta["labels"] = {**(meta.get("labels") or {}), **owned}
    selector = spec["selector"] = spec.get("selector") or {}
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), UID_LABEL: uid}


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found = validate_spec(spec, "spec")
    found += label_selectors.validate(spec.get("selector"), "spec.selector")
    if spec.get("completionMode") == "Indexed" and spec.get("completions"):
        last = f"{obj['metadata'].get('name', '')}-{spec['completions'] - 1}"
        found += faults.each_invalid("metadata.name", last, names.dns_label(last))
    return found + (_changes(spec, old["spec"]) if old else [])


def validate_spec(spec: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for name in _NUMBERS:
        found += faults.not_negative(f"{path}.{name}", spec.get(name))
    found += faults.one_of(f"{path}.completionMode", spec.get("completionMode"), _MODES)
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        text = "when completion mode is Indexed"
        found.append(faults.required(f"{path}.completions", text))
    if get(spec, "template.spec.restartPolicy") == "Always":
        at = f"{path}.template.spec.restartPolicy"
        return [*found, faults.unsupported(at, "Always", ("OnFailure", "Never"))]
    return found + workloads.template(spec, restart=("OnFailure", "Never"), path=path)


def _changes(new: Object, old: Object) -> list[Invalid]:
    found: list[Invalid] = []
    for name in ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"):
        found += faults.immutable(f"spec.{name}", new.get(name), old.get(name))
    if new.get("completionMode") != "Indexed":
        found += faults.immutable("spec.completions", new.get("completions"), old.get("completions"))
    if not (old.get("suspend") and new.get("suspend") is not None):
        found += faults.immutable("spec.template", new.get("template"), old.get("template"))
    return found


KIND = Kind(
    group="batch",
    version="v1",
    kind="Job",
    plural="jobs",
    namespaced=True,
    categories=("all",),
    subresources=("status",),
    columns=(
        NAME,
        Column("Status", _status, description="Whether it runs, is complete or has failed."),
        Column("Completions", _completions, description="How many pods succeeded, of how many wanted."),
        Column("Duration", _duration, description="How long it took, or takes."),
        AGE,
        *container_columns("spec.template.spec", "spec.selector"),
    ),
    fields=lambda obj: {"status.successful": str(get(obj, "status.succeeded", 0))},
    default=_default,
    prepare=_prepare,
    validate=metadata.checked(_validate),
)
