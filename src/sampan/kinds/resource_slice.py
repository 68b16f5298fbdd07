"""ResourceSlice (resource.k8s.io/v1): devices that a driver offers, on a node or within reach of several."""

from __future__ import annotations

from sampan.kinds import affinity, faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, NONE, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object, get

MOST_DEVICES = 128
WHERE = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj.get("spec") or {}
    driver, pool = spec.get("driver", ""), spec.get("pool") or {}
    found = faults.each_invalid("spec.driver", driver, names.dns_subdomain(driver))
    found += _pool(pool)
    chosen = [name for name in WHERE if spec.get(name)]
    if len(chosen) != 1:
        listed = "`nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection`"
        text = f"exactly one of {listed} is required"
        fault = faults.invalid("spec", f"{{{', '.join(chosen)}}}", f"{text}, but multiple fields are set")
        found.append(fault if chosen else faults.required("spec", text))
    if spec.get("nodeSelector"):
        found += affinity.node_selector(spec["nodeSelector"], "spec.nodeSelector")
    found += _devices(spec)
    if old is not None:
        before = old.get("spec") or {}
        for name in ("driver", "nodeName"):
            found += faults.immutable(f"spec.{name}", spec.get(name), before.get(name))
        found += faults.immutable("spec.pool.name", pool.get("name"), get(old, "spec.pool.name"))
    return found


def _pool(pool: Object) -> list[Invalid]:
    name, found = pool.get("name") or "", []
    if not name:
        found.append(faults.required("spec.pool.name"))
    for part in name.split("/") if name else ():
        found += faults.each_invalid("spec.pool.name", name, names.dns_subdomain(part))
    if (count := pool.get("resourceSliceCount") or 0) <= 0:
        found.append(faults.invalid("spec.pool.resourceSliceCount", count, "must be greater than zero"))
    return found + faults.not_negative("spec.pool.generation", pool.get("generation"))


def _devices(spec: Object) -> list[Invalid]:
    devices, found = spec.get("devices") or (), []
    if len(devices) > MOST_DEVICES:
        found.append(faults.too_many("spec.devices", len(devices), MOST_DEVICES))
    seen: set[str] = set()
    for i, device in enumerate(devices):
        path, name = f"spec.devices[{i}]", device.get("name", "")
        found += faults.each_invalid(f"{path}.name", name, names.dns_label(name))
        if name in seen:
            found.append(faults.duplicate(f"{path}.name", name))
        seen.add(name)
        for key, value in (device.get("attributes") or {}).items():
            if sum(kind in value for kind in ("int", "bool", "string", "version")) != 1:
                text = "exactly one value must be specified"
                found.append(faults.invalid(f"{path}.attributes[{key}]", value, text))
    return found


KIND = Kind(
    group="resource.k8s.io",
    version="v1",
    kind="ResourceSlice",
    plural="resourceslices",
    namespaced=False,
    columns=(
        NAME,
        Column("Node", at("spec.nodeName", NONE), description="The node whose devices these are."),
        Column("Driver", at("spec.driver"), description="Who offers them."),
        Column("Pool", at("spec.pool.name"), description="The pool that they belong to."),
        AGE,
    ),
    fields=lambda obj: {
        "spec.nodeName": get(obj, "spec.nodeName", ""),
        "spec.driver": get(obj, "spec.driver", ""),
        "spec.pool.name": get(obj, "spec.pool.name", ""),
    },
    prepare=strategy.counted_whole,
    validate=metadata.checked(_validate, namespaced=False),
)
