"""Pod (core/v1): containers that live and die together on one node, with one network address."""

from __future__ import annotations

from sampan.kinds import metadata, pod_defaults, pod_resize, pod_spec, pod_update, strategy
from sampan.kinds.kind import Invalid, Kind
from sampan.kinds.pod_columns import COLUMNS
from sampan.machinery.objects import Object, get
from sampan.machinery.qos import qos


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    pod_defaults.default_spec(spec)
    pod_defaults.default_pod(spec)


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    if old is None:
        obj["status"] = {"phase": "Pending", "qosClass": qos(obj)}
        obj["metadata"]["generation"] = 1
        if get(obj, "spec.schedulingGates"):
            obj["status"]["conditions"] = [_gated(obj)]
        return
    if subresource == "ephemeralcontainers":
        obj["spec"] = {**old["spec"], "ephemeralContainers": get(obj, "spec.ephemeralContainers", [])}
    elif subresource == "resize":
        pod_resize.prepare(obj, old)
    elif subresource != "status":
        _keep_ephemeral(obj["spec"], old["spec"])
    strategy.counted(obj, old, subresource)


def _gated(obj: Object) -> Object:
    """What a pod says of itself as long as no scheduler may look at it."""
    return {
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastTransitionTime": obj["metadata"].get("creationTimestamp"),
    }


def _keep_ephemeral(spec: Object, old: Object) -> None:
    """Ephemeral containers have their own endpoint; other writes leave them as they are."""
    spec.pop("ephemeralContainers", None)
    if "ephemeralContainers" in old:
        spec["ephemeralContainers"] = old["ephemeralContainers"]


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    if old is not None:
        return pod_update.validate(obj, old)
    return pod_spec.validate(obj["spec"], "spec")


def _fields(obj: Object) -> dict[str, str]:
    return {
        "spec.nodeName": get(obj, "spec.nodeName", ""),
        "spec.restartPolicy": get(obj, "spec.restartPolicy", ""),
        "spec.schedulerName": get(obj, "spec.schedulerName", ""),
        "spec.serviceAccountName": get(obj, "spec.serviceAccountName", ""),
        "spec.hostNetwork": "true" if get(obj, "spec.hostNetwork") else "false",
        "status.phase": get(obj, "status.phase", ""),
        "status.podIP": get(obj, "status.podIP", ""),
        "status.podIPs": ",".join(a.get("ip", "") for a in get(obj, "status.podIPs", ())),
        "status.nominatedNodeName": get(obj, "status.nominatedNodeName", ""),
    }


KIND = Kind(
    group="",
    version="v1",
    kind="Pod",
    plural="pods",
    namespaced=True,
    short_names=("po",),
    categories=("all",),
    subresources=(
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "log",
        "portforward",
        "proxy",
        "resize",
        "status",
    ),
    columns=COLUMNS,
    fields=_fields,
    default=_default,
    prepare=_prepare,
    validate=metadata.checked(_validate),
    validators={"resize": metadata.checked(pod_resize.validate)},
)
