"""Endpoints: the older list of the addresses behind a Service with a selector, for those who still read it.

One object for each Service, of its first address family, with at most 1,000 addresses.
Source: the concepts' page "Services", "Endpoints"; k8s.io/kubernetes pkg/controller/endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sampan.controllers import endpoint_slices, pods
from sampan.controllers.settings import Settings
from sampan.machinery import selectors
from sampan.machinery.objects import Key, Object, get, key
from sampan.reconcile.controller import Action, Cache, Controller, Create, Delete, Patch, Plan, Watch

KIND = "endpoints"
MOST = 1000
MANAGED, MANAGER = "endpoints.kubernetes.io/managed-by", "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
LEADER = "control-plane.alpha.kubernetes.io/leader"


@dataclass(frozen=True, slots=True)
class Observed:
    """`service` is None where only the Endpoints are left; `current` None where there are none yet."""

    service: Object | None
    pods: tuple[Object, ...]
    current: Object | None


def observe(cache: Cache, name: Key) -> Observed | None:
    service, current = cache.get("services", name), cache.get(KIND, name)
    if service is None or "deletionTimestamp" in service["metadata"]:
        return Observed(None, (), current) if current and not _elects(current) else None
    spec = service["spec"]
    if spec.get("type") == "ExternalName" or not spec.get("selector"):
        return None
    selector = selectors.of_labels(spec["selector"])
    matching = [
        p for p in cache.list("pods", name.namespace) if selector.matches(p["metadata"].get("labels"))
    ]
    return Observed(service, tuple(matching), current)


def _elects(found: Object) -> bool:
    """Whether somebody elects a leader by these Endpoints, which no Service stands behind."""
    return LEADER in get(found, "metadata.annotations", {})


def decide(seen: Observed, now: float) -> Plan:
    current, service = seen.current, seen.service
    if service is None:
        assert current is not None
        if "deletionTimestamp" in current["metadata"]:
            return Plan()
        return Plan((Delete(KIND, key(current), current["metadata"].get("uid", "")),))
    subsets, cut = truncated(subsets_of(service, seen.pods))
    labels = _labels(service)
    if current is None:
        annotations = {"annotations": {OVER_CAPACITY: "truncated"}} if cut else {}
        meta = {"name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"]}
        made = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {**meta, "labels": labels, **annotations},
        }
        return Plan((Create(KIND, {**made, "subsets": subsets}),))
    return Plan(tuple(_change(current, subsets, labels, cut)))


def _change(current: Object, subsets: list[Object], labels: dict[str, str], cut: bool) -> Iterable[Action]:
    before = get(current, "metadata.labels", {})
    marked = OVER_CAPACITY in get(current, "metadata.annotations", {})
    if before == labels and (current.get("subsets") or []) == subsets and marked == cut:
        return
    meta: Object = {"labels": {**dict.fromkeys(set(before) - set(labels)), **labels}}
    if marked != cut:
        meta["annotations"] = {OVER_CAPACITY: "truncated" if cut else None}
    yield Patch(KIND, key(current), {"metadata": meta, "subsets": subsets})


def subsets_of(service: Object, matching: Iterable[Object]) -> list[Object]:
    """The addresses by the ports that they share, ready ones apart from those that are not."""
    spec = service["spec"]
    tolerant = spec.get("publishNotReadyAddresses", False)
    headless = spec.get("clusterIP") == "None"
    found: dict[Any, Object] = {}
    for pod in sorted(matching, key=lambda p: str(p["metadata"]["name"])):
        address = _address(service, pod)
        if address is None or pods.is_finished(pod) or (pods.is_terminating(pod) and not tolerant):
            continue
        ports = endpoint_slices.ports_of_pod(service, pod)
        if not ports and not (headless and not spec.get("ports")):
            continue
        field = "addresses" if tolerant or pods.is_ready(pod) else "notReadyAddresses"
        subset = found.setdefault(ports, {"ports": [_port(dict(p)) for p in ports]} if ports else {})
        subset.setdefault(field, []).append(address)
    return list(found.values())


def _port(port: Object) -> Object:
    return {k: v for k, v in port.items() if v != ""}


def _address(service: Object, pod: Object) -> Object | None:
    family = (service["spec"].get("ipFamilies") or ["IPv4"])[0]
    found = list(endpoint_slices.addresses_of(pod, family))
    if not found:
        return None
    spec, meta = pod["spec"], pod["metadata"]
    named = spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]
    target = {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
    return {
        "ip": found[0],
        **({"hostname": spec["hostname"]} if named else {}),
        **({"nodeName": spec["nodeName"]} if spec.get("nodeName") else {}),
        "targetRef": target,
    }


def truncated(subsets: list[Object]) -> tuple[list[Object], bool]:
    """The subsets with no more than the most addresses, ready ones first; and whether any was left out."""
    total = sum(len(s.get(f) or ()) for s in subsets for f in ("addresses", "notReadyAddresses"))
    if total <= MOST:
        return subsets, False
    room, kept = MOST, [dict(s) for s in subsets]
    for field in ("addresses", "notReadyAddresses"):
        for subset in kept:
            if field in subset:
                subset[field] = subset[field][:room]
                room -= len(subset[field])
                if not subset[field]:
                    del subset[field]
    return [s for s in kept if "addresses" in s or "notReadyAddresses" in s], True


def _labels(service: Object) -> dict[str, str]:
    own = {k: v for k, v in get(service, "metadata.labels", {}).items() if k != endpoint_slices.HEADLESS}
    headless = service["spec"].get("clusterIP") in (None, "", "None")
    return {**own, **({endpoint_slices.HEADLESS: ""} if headless else {}), MANAGED: MANAGER}


def _own(cache: Cache, found: Object) -> Iterable[Key]:
    """Endpoints that are ours, or whose Service has a selector; what others make alone is theirs."""
    name = key(found)
    service = cache.get("services", name)
    ours = get(found, "metadata.labels", {}).get(MANAGED) == MANAGER
    return (name,) if ours or (service and service["spec"].get("selector")) else ()


def make(settings: Settings) -> Controller:
    return Controller(
        name="endpoint-controller",
        watches=(Watch("services"), Watch("pods", endpoint_slices.services_of), Watch(KIND, _own)),
        observe=observe,
        decide=decide,
    )
