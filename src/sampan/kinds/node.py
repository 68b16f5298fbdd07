"""Node (core/v1): a machine, or what acts as one, that runs pods."""

from __future__ import annotations

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, NONE, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object, get

ROLE_PREFIX = "node-role.kubernetes.io/"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _status(obj: Object, now: float) -> str:
    ready = next((c for c in get(obj, "status.conditions", ()) if c.get("type") == "Ready"), None)
    found = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if get(obj, "spec.unschedulable"):
        found.append("SchedulingDisabled")
    return ",".join(found)


def _roles(obj: Object, now: float) -> str:
    labels = get(obj, "metadata.labels", {})
    roles = {k.removeprefix(ROLE_PREFIX) for k in labels if k.startswith(ROLE_PREFIX)}
    roles.add(labels.get("kubernetes.io/role", ""))
    return ",".join(sorted(roles - {""})) or NONE


def _address(kind: str, obj: Object) -> str:
    addresses = get(obj, "status.addresses", ())
    return next((a["address"] for a in addresses if a.get("type") == kind), NONE)


def _kernel(obj: Object, now: float) -> str:
    version = get(obj, "status.nodeInfo.kernelVersion") or "<unknown>"
    architecture = get(obj, "status.nodeInfo.architecture")
    return f"{version} ({architecture})" if architecture else version


def _default(obj: Object) -> None:
    status = obj.setdefault("status", {})
    if status.get("allocatable") is None and status.get("capacity") is not None:
        status["allocatable"] = dict(status["capacity"])


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    """Unlike other kinds, a node is created with its status: it is the node that speaks."""
    if subresource == "status" and old is not None:
        labels = get(obj, "metadata.labels")
        strategy.keep_all_but_status(obj, old)
        if labels is not None:
            obj["metadata"]["labels"] = labels
    elif old is not None:
        strategy.keep_status(obj, old)


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    found: list[Invalid] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(get(obj, "spec.taints", ())):
        path = f"spec.taints[{index}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        found += faults.each_invalid(f"{path}.key", key, names.qualified(key))
        found += faults.each_invalid(f"{path}.value", value, names.label_value(value))
        found += faults.one_of(f"{path}.effect", effect, _EFFECTS, needed=True)
        if (key, effect) in seen:
            found.append(faults.duplicate(path, taint))
        seen.add((key, effect))
    if old is not None:
        for field in ("podCIDR", "podCIDRs", "providerID"):
            before = get(old, f"spec.{field}")
            if before and get(obj, f"spec.{field}") != before:
                text = "node updates may not change " + field + ' except from "" to valid'
                found.append(faults.forbidden(f"spec.{field}", text))
    return found


KIND = Kind(
    group="",
    version="v1",
    kind="Node",
    plural="nodes",
    namespaced=False,
    short_names=("no",),
    subresources=("proxy", "status"),
    columns=(
        NAME,
        Column("Status", _status, description="Whether the node is ready, and takes new pods."),
        Column("Roles", _roles, description="The roles that its labels give it."),
        AGE,
        Column("Version", at("status.nodeInfo.kubeletVersion"), description="The version of its kubelet."),
        Column("Internal-IP", lambda obj, now: _address("InternalIP", obj), wide=True),
        Column("External-IP", lambda obj, now: _address("ExternalIP", obj), wide=True),
        Column("OS-Image", at("status.nodeInfo.osImage", "<unknown>"), wide=True),
        Column("Kernel-Version", _kernel, wide=True),
        Column("Container-Runtime", at("status.nodeInfo.containerRuntimeVersion", "<unknown>"), wide=True),
    ),
    fields=lambda obj: {"spec.unschedulable": "true" if get(obj, "spec.unschedulable") else "false"},
    default=_default,
    prepare=_prepare,
    validate=metadata.checked(_validate, namespaced=False),
)
