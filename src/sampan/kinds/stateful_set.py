"""StatefulSet (apps/v1): pods with lasting names and volumes, started and stopped in order."""

from __future__ import annotations

from sampan.kinds import (
    faults,
    label_selectors,
    metadata,
    persistent_volume_claim,
    pod_defaults,
    strategy,
    workloads,
)
from sampan.kinds.columns import AGE, NAME, container_columns
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object, changed, get

_POLICIES = ("OrderedReady", "Parallel")
_STRATEGIES = ("RollingUpdate", "OnDelete")
_CHANGEABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
_UNCHANGEABLE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def _ready(obj: Object, now: float) -> str:
    return f"{get(obj, 'status.readyReplicas', 0)}/{get(obj, 'spec.replicas', 0)}"


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for name, value in (("replicas", 1), ("revisionHistoryLimit", 10)):
        if spec.get(name) is None:
            spec[name] = value
    spec["podManagementPolicy"] = spec.get("podManagementPolicy") or "OrderedReady"
    pod_defaults.default_template(spec.setdefault("template", {}))
    update = spec["updateStrategy"] = spec.get("updateStrategy") or {}
    update["type"] = update.get("type") or "RollingUpdate"
    if update["type"] == "RollingUpdate":
        rolling = update["rollingUpdate"] = update.get("rollingUpdate") or {}
        if rolling.get("partition") is None:
            rolling["partition"] = 0
    retention = spec["persistentVolumeClaimRetentionPolicy"] = (
        spec.get("persistentVolumeClaimRetentionPolicy") or {}
    )
    for name in ("whenDeleted", "whenScaled"):
        retention[name] = retention.get(name) or "Retain"
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        persistent_volume_claim.default(claim)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found: list[Invalid] = []
    for name in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        found += faults.not_negative(f"spec.{name}", spec.get(name))
    found += faults.one_of(
        "spec.podManagementPolicy", spec.get("podManagementPolicy"), _POLICIES, needed=True
    )
    found += _strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    found += label_selectors.validate(spec.get("selector"), "spec.selector", whose="statefulset")
    found += workloads.template(_with_claims(spec))
    if name := spec.get("serviceName"):
        found += faults.each_invalid("spec.serviceName", name, names.service_name(name))
    for field, value in (spec.get("persistentVolumeClaimRetentionPolicy") or {}).items():
        path = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
        found += faults.one_of(path, value, ("Retain", "Delete"), needed=True)
    found += faults.not_negative("spec.ordinals.start", get(spec, "ordinals.start"))
    return found + (_changes(spec, old["spec"]) if old else [])


def _with_claims(spec: Object) -> Object:
    """The spec whose template also has the volumes that its claims become, for what mounts them."""
    claims = [get(c, "metadata.name", "") for c in spec.get("volumeClaimTemplates") or ()]
    pods = get(spec, "template.spec", {})
    own = [v for v in pods.get("volumes") or () if v.get("name") not in claims]
    volumes = [*own, *({"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims)]
    return changed(spec, ("template", "spec", "volumes"), volumes)


def _strategy(update: Object, path: str) -> list[Invalid]:
    found = faults.one_of(f"{path}.type", update.get("type"), _STRATEGIES, needed=True)
    rolling = update.get("rollingUpdate")
    if update.get("type") == "OnDelete" and rolling is not None:
        text = "only allowed for updateStrategy 'RollingUpdate'"
        found.append(faults.invalid(f"{path}.rollingUpdate", rolling, text))
    elif rolling is not None:
        at = f"{path}.rollingUpdate"
        found += faults.not_negative(f"{at}.partition", rolling.get("partition"))
        found += workloads.count_or_percent(rolling.get("maxUnavailable"), f"{at}.maxUnavailable", limit=100)
    return found


def _changes(new: Object, old: Object) -> list[Invalid]:
    def fixed(spec: Object) -> Object:
        return {k: v for k, v in spec.items() if k not in _CHANGEABLE and v not in (None, "", [])}

    return [] if fixed(new) == fixed(old) else [faults.forbidden("spec", _UNCHANGEABLE)]


KIND = Kind(
    group="apps",
    version="v1",
    kind="StatefulSet",
    plural="statefulsets",
    namespaced=True,
    short_names=("sts",),
    categories=("all",),
    subresources=("scale", "status"),
    columns=(
        NAME,
        Column("Ready", _ready, description="How many pods are ready, of how many wanted."),
        AGE,
        *container_columns("spec.template.spec"),
    ),
    default=_default,
    prepare=strategy.counted,
    validate=metadata.checked(_validate),
)
