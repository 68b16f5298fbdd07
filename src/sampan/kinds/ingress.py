"""Ingress (networking.k8s.io/v1): which Service answers for which host and path."""

from __future__ import annotations

from sampan.kinds import faults, metadata, strategy
from sampan.kinds.columns import AGE, NAME, NONE, at
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object, get

_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")


def _hosts(obj: Object, now: float) -> str:
    rules = get(obj, "spec.rules", [])
    hosts = [r["host"] for r in rules if r.get("host")]
    if not hosts:
        return "*"
    shown = ",".join(hosts[:3])
    return f"{shown} + {len(rules) - 3} more..." if len(hosts) >= 3 and len(rules) > 3 else shown


def _address(obj: Object, now: float) -> str:
    ingress = get(obj, "status.loadBalancer.ingress", ())
    return ",".join(sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""}))


def _ports(obj: Object, now: float) -> str:
    return "80, 443" if get(obj, "spec.tls") else "80"


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj.get("spec") or {}
    found: list[Invalid] = []
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        found.append(
            faults.invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified")
        )
    if spec.get("defaultBackend") is not None:
        found += _backend(spec["defaultBackend"], "spec.defaultBackend")
    if name := spec.get("ingressClassName"):
        found += faults.each_invalid("spec.ingressClassName", name, names.dns_subdomain(name))
    for index, rule in enumerate(spec.get("rules") or ()):
        host = rule.get("host") or ""
        if host:
            found += faults.each_invalid(f"spec.rules[{index}].host", host, _host(host))
        if rule.get("http") is not None:
            found += _paths(rule["http"].get("paths") or [], f"spec.rules[{index}].http.paths")
    return found


def _host(host: str) -> list[str]:
    return names.dns_subdomain(host[2:]) if host.startswith("*.") else names.dns_subdomain(host)


def _paths(paths: list[Object], path: str) -> list[Invalid]:
    found = [] if paths else [faults.required(path)]
    for index, item in enumerate(paths):
        at_path, kind, text = f"{path}[{index}]", item.get("pathType"), item.get("path") or ""
        found += faults.one_of(f"{at_path}.pathType", kind, _PATH_TYPES, needed=True)
        if kind in ("Exact", "Prefix") and not text.startswith("/"):
            found.append(faults.invalid(f"{at_path}.path", text, "must be an absolute path"))
        found += _backend(item.get("backend") or {}, f"{at_path}.backend")
    return found


def _backend(backend: Object, path: str) -> list[Invalid]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [faults.invalid(path, "", "cannot set both resource and service backends")]
    if service is None and resource is None:
        return [faults.required(path, "service or resource backend is required")]
    if service is None:
        return []
    found = [] if service.get("name") else [faults.required(f"{path}.service.name")]
    if service.get("name"):
        found += faults.each_invalid(
            f"{path}.service.name", service["name"], names.service_name(service["name"])
        )
    number, name = get(service, "port.number"), get(service, "port.name")
    if number and name:
        text = "cannot set both port name & port number"
        found.append(faults.invalid(path, "", text))
    elif number:
        found += faults.each_invalid(f"{path}.service.port.number", number, names.port_number(number))
    elif name:
        found += faults.each_invalid(f"{path}.service.port.name", name, names.port_name(name))
    else:
        found.append(faults.required(path, "port name or number is required"))
    return found


KIND = Kind(
    group="networking.k8s.io",
    version="v1",
    kind="Ingress",
    plural="ingresses",
    namespaced=True,
    short_names=("ing",),
    subresources=("status",),
    columns=(
        NAME,
        Column("Class", at("spec.ingressClassName", NONE), description="Who implements it."),
        Column("Hosts", _hosts, description="For which hosts."),
        Column("Address", _address, description="Where it can be reached."),
        Column("Ports", _ports, description="On which ports."),
        AGE,
    ),
    prepare=strategy.counted,
    validate=metadata.checked(_validate),
)
