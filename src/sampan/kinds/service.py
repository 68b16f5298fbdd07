"""Service (core/v1): one lasting address for pods that come and go.

The API server allocates addresses and node ports; what is here keeps and checks them.
"""

from __future__ import annotations

import ipaddress

from sampan.kinds import faults, metadata, service_traffic, strategy
from sampan.kinds.columns import AGE, NAME, NONE, at, labels_text
from sampan.kinds.containers import PROTOCOLS, port
from sampan.kinds.kind import Column, Invalid, Kind
from sampan.machinery import names
from sampan.machinery.objects import Object, get

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_AFFINITIES = ("ClientIP", "None")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")


def is_headless(service: Object) -> bool:
    return bool(get(service, "spec.clusterIP") == "None")


def _cluster_ip(obj: Object, now: float) -> str:
    return str((get(obj, "spec.clusterIPs") or [NONE])[0])


def _external(obj: Object, now: float) -> str:
    kind, addresses = get(obj, "spec.type"), get(obj, "spec.externalIPs", [])
    if kind == "ExternalName":
        return str(get(obj, "spec.externalName", ""))
    if kind == "LoadBalancer":
        ingress = get(obj, "status.loadBalancer.ingress", ())
        found = sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""})
        return ",".join([*found, *addresses]) or "<pending>"
    return ",".join(addresses) or NONE


def _ports(obj: Object, now: float) -> str:
    found = []
    for item in get(obj, "spec.ports", ()):
        number = f"{item.get('port')}:{item['nodePort']}" if item.get("nodePort") else item.get("port")
        found.append(f"{number}/{item.get('protocol', 'TCP')}")
    return ",".join(found) or NONE


def _default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec["type"] = spec.get("type") or "ClusterIP"
    spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif get(spec, "sessionAffinityConfig.clientIP.timeoutSeconds") is None:
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
    for item in spec.get("ports") or ():
        item["protocol"] = item.get("protocol") or "TCP"
        if item.get("targetPort") in (None, "", 0):
            item["targetPort"] = item.get("port")
    if service_traffic.reached_from_outside(spec) and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec["type"] != "ExternalName" and spec.get("internalTrafficPolicy") is None:
        spec["internalTrafficPolicy"] = "Cluster"
    if spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        spec["allocateLoadBalancerNodePorts"] = True
    _default_addresses(spec)
    obj.setdefault("status", {"loadBalancer": {}})


def _default_addresses(spec: Object) -> None:
    """Keep the one cluster IP and the list of them in step, and say which family they are of."""
    if spec["type"] == "ExternalName":
        return
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]
    # Endpoints that somebody else writes may be of both families.
    both = spec.get("clusterIP") == "None" and not spec.get("selector")
    spec["ipFamilyPolicy"] = spec.get("ipFamilyPolicy") or ("RequireDualStack" if both else "SingleStack")
    if not spec.get("ipFamilies"):
        sixth = ":" in (spec.get("clusterIP") or "")
        spec["ipFamilies"] = ["IPv6" if sixth else "IPv4"]
    if both and len(spec["ipFamilies"]) == 1 and spec["ipFamilyPolicy"] != "SingleStack":
        spec["ipFamilies"] = [*spec["ipFamilies"], "IPv4" if "IPv6" in spec["ipFamilies"] else "IPv6"]


def _prepare(obj: Object, old: Object | None, subresource: str) -> None:
    """An update that leaves out what was allocated keeps it; a type without addresses or node ports drops them."""
    strategy.uncounted(obj, old, subresource)
    obj.setdefault("status", {"loadBalancer": {}})
    if subresource == "status":
        return
    spec = obj["spec"]
    if old is not None:
        _keep_allocated(spec, old["spec"])
        service_traffic.drop(spec, old["spec"])
    if spec.get("type") == "ExternalName":
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            spec.pop(field, None)
    if spec.get("type") not in ("NodePort", "LoadBalancer"):
        before = get(old, "spec.type")
        for item in spec.get("ports") or ():
            if before in ("NodePort", "LoadBalancer"):
                item.pop("nodePort", None)


def _keep_allocated(spec: Object, old: Object) -> None:
    if old.get("type") != "ExternalName" and spec.get("type") != "ExternalName":
        for field in ("clusterIP", "clusterIPs", "healthCheckNodePort"):
            if not spec.get(field) and old.get(field):
                spec[field] = old[field]
    if {spec.get("type"), old.get("type")} <= {"NodePort", "LoadBalancer"}:
        known = {(p.get("port"), p.get("protocol")): p.get("nodePort") for p in old.get("ports") or ()}
        for item in spec.get("ports") or ():
            before = known.get((item.get("port"), item.get("protocol")))
            if not item.get("nodePort") and before:
                item["nodePort"] = before


def _validate(obj: Object, old: Object | None) -> list[Invalid]:
    spec = obj["spec"]
    found = faults.one_of("spec.type", spec.get("type"), TYPES, needed=True)
    if not spec.get("ports") and not is_headless(obj) and spec.get("type") != "ExternalName":
        found.append(faults.required("spec.ports"))
    found += _ports_faults(spec)
    found += metadata.labels(spec.get("selector") or {}, "spec.selector")
    found += faults.one_of("spec.sessionAffinity", spec.get("sessionAffinity"), _AFFINITIES, needed=True)
    found += service_traffic.validate(spec, (old or {}).get("spec"))
    found += faults.one_of("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), _FAMILY_POLICIES)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        found += faults.each_invalid(f"spec.externalIPs[{index}]", address, names.ip(address))
    found += _type_faults(obj, spec)
    found += _address_faults(spec)
    if old is not None:
        found += _changes(spec, old["spec"])
    return found


def _ports_faults(spec: Object) -> list[Invalid]:
    found: list[Invalid] = []
    ports = spec.get("ports") or []
    seen: dict[str, set[object]] = {"name": set(), "port": set(), "nodePort": set()}
    for index, item in enumerate(ports):
        path, name = f"spec.ports[{index}]", item.get("name") or ""
        number, protocol, node = item.get("port") or 0, item.get("protocol"), item.get("nodePort")
        if name:
            found += faults.each_invalid(f"{path}.name", name, names.dns_label(name))
            if name in seen["name"]:
                found.append(faults.duplicate(f"{path}.name", name))
        elif len(ports) > 1:
            found.append(faults.required(f"{path}.name"))
        found += faults.each_invalid(f"{path}.port", number, names.port_number(number))
        found += faults.one_of(f"{path}.protocol", protocol, PROTOCOLS, needed=True)
        found += port(item.get("targetPort"), f"{path}.targetPort")
        if (number, protocol) in seen["port"]:
            found.append(faults.duplicate(path, {"port": number, "protocol": protocol}))
        if node and spec.get("type") not in ("NodePort", "LoadBalancer"):
            text = "may not be used when `type` is '" + str(spec.get("type")) + "'"
            found.append(faults.forbidden(f"{path}.nodePort", text))
        elif node and (node, protocol) in seen["nodePort"]:
            found.append(faults.duplicate(f"{path}.nodePort", node))
        seen["name"].add(name)
        seen["port"].add((number, protocol))
        seen["nodePort"].add((node, protocol))
    return found


def _type_faults(obj: Object, spec: Object) -> list[Invalid]:
    kind, found = spec.get("type"), []
    if kind == "ExternalName":
        name = (spec.get("externalName") or "").removesuffix(".")
        if not name:
            found.append(faults.required("spec.externalName"))
        else:
            found += faults.each_invalid("spec.externalName", name, names.dns_subdomain(name))
        if spec.get("clusterIP"):
            text = "may not be set when `type` is 'ExternalName'"
            found.append(faults.forbidden("spec.clusterIPs", text))
    elif kind in ("NodePort", "LoadBalancer") and is_headless(obj):
        text = f"may not be set to 'None' for {kind} services"
        found.append(faults.invalid("spec.clusterIPs[0]", "None", text))
    return found


def _address_faults(spec: Object) -> list[Invalid]:
    single, addresses = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if spec.get("type") == "ExternalName":
        return []
    if single and addresses and addresses[0] != single:
        return [faults.invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`")]
    found: list[Invalid] = []
    families = spec.get("ipFamilies") or []
    for index, address in enumerate(addresses):
        path = f"spec.clusterIPs[{index}]"
        if address == "None" and index == 0:
            continue
        wrong = names.ip(address)
        found += faults.each_invalid(path, address, wrong)
        if (
            not wrong
            and index < len(families)
            and families[index] != f"IPv{ipaddress.ip_address(address).version}"
        ):
            text = f"expected an {families[index]} value as indicated by `ipFamilies[{index}]`"
            found.append(faults.invalid(path, address, text))
    return found


def _changes(spec: Object, old: Object) -> list[Invalid]:
    """A cluster IP stays, while the type keeps one."""
    before = old.get("clusterIP")
    if "ExternalName" in (spec.get("type"), old.get("type")) or not before:
        return []
    if spec.get("clusterIP") != before:
        text = "may not change once set"
        return [faults.invalid("spec.clusterIPs[0]", [spec.get("clusterIP") or ""], text)]
    return []


KIND = Kind(
    group="",
    version="v1",
    kind="Service",
    plural="services",
    namespaced=True,
    short_names=("svc",),
    categories=("all",),
    subresources=("proxy", "status"),
    columns=(
        NAME,
        Column("Type", at("spec.type"), description="How it can be reached."),
        Column("Cluster-IP", _cluster_ip, description="Its address in the cluster."),
        Column("External-IP", _external, description="Its addresses outside."),
        Column("Port(s)", _ports, description="Ports, with node ports after the colon."),
        AGE,
        Column("Selector", lambda obj, now: labels_text(get(obj, "spec.selector")), wide=True),
    ),
    fields=lambda obj: {
        "spec.clusterIP": get(obj, "spec.clusterIP", ""),
        "spec.type": get(obj, "spec.type", ""),
    },
    default=_default,
    prepare=_prepare,
    validate=metadata.checked(_validate, name=names.service_name),
)
