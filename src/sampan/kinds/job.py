"""Job (batch/v1): pods that run to completion."""

from __future__ import annotations

from sampan.kinds import faults, job_policies, label_selectors, metadata, pod_defaults, strategy, workloads
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
        if names.dns_label(last):
            text = f"will not able to create pod with invalid DNS label: {last}"
            found.append(faults.invalid("metadata.name", obj["metadata"].get("name", ""), text))
    return found + (_changes(spec, old["spec"]) if old else [])


def validate_spec(spec: Object, path: str) -> list[Invalid]:
    found: list[Invalid] = []
    for name in _NUMBERS:
        found += faults.not_negative(f"{path}.{name}", spec.get(name))
    found += faults.one_of(f"{path}.completionMode", spec.get("completionMode"), _MODES)
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        text = "when completion mode is Indexed"
        found.append(faults.required(f"{path}.completions", text))
    found += job_policies.validate(spec, path)
    at, restart = f"{path}.template.spec.restartPolicy", get(spec, "template.spec.restartPolicy")
    if restart in (None, "", "Always"):
        return [*found, faults.required(at, 'valid values: "OnFailure", "Never"')]
    if spec.get("podFailurePolicy") is not None and restart == "OnFailure":
        text = 'only "Never" is supported when podFailurePolicy is specified'
        found.append(faults.invalid(at, restart, text))
    return found + workloads.template(spec, restart=("OnFailure", "Never"), path=path)


def _changes(new: Object, old: Object) -> list[Invalid]:
    found: list[Invalid] = []
    for name in ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "successPolicy"):
        found += faults.immutable(f"spec.{name}", new.get(name), old.get(name))
    if new.get("completionMode") != "Indexed":
        found += faults.immutable("spec.completions", new.get("completions"), old.get("completions"))
    elif new.get("completions") != old.get("completions") and new.get("completions") != new.get(
        "parallelism"
    ):
        # An indexed job grows and shrinks only with its parallelism.
        text = "can only be modified in tandem with spec.parallelism"
        found.append(faults.invalid("spec.completions", new.get("completions"), text))
    if not old.get("suspend"):
        found += faults.immutable("spec.managedBy", new.get("managedBy"), old.get("managedBy"))
        found += faults.immutable("spec.template", new.get("template"), old.get("template"))
    else:
        found += faults.immutable(
            "spec.template", _unscheduled(new.get("template") or {}), _unscheduled(old.get("template") or {})
        )
    return found


# What of its pods a suspended Job may still change: where they run, and what they ask for.
_SCHEDULING = ("nodeSelector", "tolerations", "affinity", "schedulingGates")


def _unscheduled(template: Object) -> Object:
    meta = {k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")}
    spec = {k: v for k, v in (template.get("spec") or {}).items() if k not in _SCHEDULING}
    for field in ("containers", "initContainers"):
        if spec.get(field):
            spec[field] = [{k: v for k, v in c.items() if k != "resources"} for c in spec[field]]
    return {"metadata": meta, "spec": spec}


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
