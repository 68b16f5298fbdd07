"""APIService (apiregistration.k8s.io/v1): a group's version, served by this server or by another one behind a Service.

Source: k8s.io/kube-aggregator pkg/apis/apiregistration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from sampan.kinds import faults, strategy
from sampan.kinds.columns import AGE, NAME
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.kinds.metadata import checked
from sampan.machinery import names
from sampan.machinery.objects import Object, get


def _default(obj: Object) -> None:
    service = get(obj, "spec.service")
    if service is not None:
        service.setdefault("port", 443)


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    strategy.uncounted(obj, old, subresource)
    if old is None and get(obj, "spec.service") is None:
        obj["status"] = {"conditions": [{"type": "Available", "status": "True", "reason": "Local",
                                         "message": "Local APIServices are always available",
                                         "lastTransitionTime": obj["metadata"]["creationTimestamp"]}]}  # fmt: skip


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name", "")
    group, version = spec.get("group") or "", spec.get("version") or ""
    found: list[Invalid] = []
    if name != f"{version}.{group}":
        said = f'must be `spec.version+"."+spec.group`: {json.dumps(f"{version}.{group}")}'
        found.append(faults.invalid("metadata.name", name, said))
    if not group and version != "v1":
        said = "only v1 may have an empty group and it better be legacy kube"
        found.append(faults.required("spec.group", said))
    if group:
        found += faults.each_invalid("spec.group", group, names.dns_subdomain(group))
    found += faults.each_invalid("spec.version", version, names.service_name(version))
    for field, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(field) or 0
        if not 0 < value <= most:
            found.append(faults.invalid(f"spec.{field}", value, f"must be positive and less than {most}"))
    return found + list(_service(spec))


def _service(spec: Object) -> Iterator[Invalid]:
    service, bundle, insecure = spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify")
    if service is None:
        if bundle:
            yield faults.invalid(
                "spec.caBundle", f"{len(bundle)} bytes", "local APIServices may not have a caBundle"
            )
        if insecure:
            said = "local APIServices may not have insecureSkipTLSVerify"
            yield faults.invalid("spec.insecureSkipTLSVerify", True, said)
        return
    for field in ("namespace", "name"):
        if not service.get(field):
            yield faults.required(f"spec.service.{field}")
    if wrong := names.port_number(service.get("port", 443)):
        said = "port is not valid: " + ", ".join(wrong)
        yield faults.invalid("spec.service.port", service.get("port"), said)
    if insecure and bundle:
        yield faults.invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")


def _where(obj: Object, now: float) -> str:
    service = get(obj, "spec.service")
    return f"{service.get('namespace')}/{service.get('name')}" if service else "Local"


def _available(obj: Object, now: float) -> str:
    for condition in get(obj, "status.conditions", ()):
        if condition.get("type") == "Available":
            told = condition.get("status", "")
            return told if told == "True" else f"{told} ({condition.get('reason', '')})"
    return "Unknown"


KIND = Kind(
    group="apiregistration.k8s.io",
    version="v1",
    kind="APIService",
    plural="apiservices",
    namespaced=False,
    categories=("api-extensions",),
    subresources=("status",),
    columns=(
        NAME,
        Column("Service", _where, description="The Service that serves it, or Local."),
        Column("Available", _available, description="Whether it can be used."),
        AGE,
    ),
    default=_default,
    prepare=_prepare,
    validate=checked(_validate, name=names.path_segment, namespaced=False, core=False),
)
