"""EndpointSlices: for each Service with a selector, the addresses of the pods behind it.

At most 100 endpoints stand in a slice; pods that need different ports (a named port may differ) stand in
different ones. Slices are changed as little as possible: an endpoint keeps its slice. Source: KEP-752;
KEP-1672 (terminating); the concepts' page on EndpointSlices.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sampan.controllers import pods
from sampan.controllers.settings import Settings
from sampan.kinds.service_traffic import DISTRIBUTIONS
from sampan.machinery import generated, selectors
from sampan.machinery.objects import Key, Object, key
from sampan.reconcile.controller import (
    Action,
    Cache,
    Controller,
    Create,
    Delete,
    Index,
    Patch,
    Plan,
    Watch,
)

KIND = "endpointslices.discovery.k8s.io"
MOST = 100
SERVICE = "kubernetes.io/service-name"
MANAGED = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
ZONE = "topology.kubernetes.io/zone"

Ports = tuple[tuple[tuple[str, Any], ...], ...]


@dataclass(frozen=True, slots=True)
class Observed:
    """`zones` are the zones of the nodes that have one."""

    service: Object
    pods: tuple[Object, ...]
    slices: tuple[Object, ...]
    zones: dict[str, str]


def observe(cache: Cache, name: Key) -> Observed | None:
    service = cache.get("services", name)
    if service is None or not service["spec"].get("selector") or "deletionTimestamp" in service["metadata"]:
        return None
    selector = selectors.of_labels(service["spec"]["selector"])
    matching = [
        p for p in cache.list("pods", name.namespace) if selector.matches(p["metadata"].get("labels"))
    ]
    mine = [
        s
        for s in cache.index(KIND, "service", str(name))
        if (s["metadata"].get("labels") or {}).get(MANAGED) == MANAGER
    ]
    zones = {}
    for pod in matching:
        node = cache.get("nodes", Key("", pod["spec"].get("nodeName", "")))
        if node and (zone := (node["metadata"].get("labels") or {}).get(ZONE)):
            zones[node["metadata"]["name"]] = zone
    return Observed(service, tuple(matching), tuple(mine), zones)


def decide(seen: Observed, now: float) -> Plan:
    actions: list[Action] = []
    families = seen.service["spec"].get("ipFamilies") or ["IPv4"]
    for family in families:
        wanted = _wanted(seen, family)
        slices = [s for s in seen.slices if s["addressType"] == family and not pods.is_terminating(s)]
        actions += _settle(seen, family, wanted, slices, now)
    strays = [s for s in seen.slices if s["addressType"] not in families and not pods.is_terminating(s)]
    actions += [Delete(KIND, key(s), s["metadata"]["uid"]) for s in strays]
    return Plan(tuple(actions))


def _wanted(seen: Observed, family: str) -> dict[Ports, dict[str, Object]]:
    """The endpoints by the ports they share and by address."""
    wanted: dict[Ports, dict[str, Object]] = {}
    tolerant = seen.service["spec"].get("publishNotReadyAddresses", False)
    for pod in seen.pods:
        if pods.is_finished(pod) or (pods.is_terminating(pod) and not pod["spec"].get("nodeName")):
            continue
        for address in addresses_of(pod, family):
            ports = ports_of_pod(seen.service, pod)
            wanted.setdefault(ports, {})[address] = _endpoint(seen, pod, address, tolerant)
    return wanted


def addresses_of(pod: Object, family: str) -> Iterable[str]:
    """The pod's address of a family, where it has one."""
    status = pod.get("status") or {}
    found = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
    found = found or ([status["podIP"]] if status.get("podIP") else [])
    return [ip for ip in found if (":" in ip) == (family == "IPv6")][:1]


def ports_of_pod(service: Object, pod: Object) -> Ports:
    """A Service's ports as a pod has them."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = target_port(port, pod)
        if number:
            entry = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
            if port.get("appProtocol"):
                entry["appProtocol"] = port["appProtocol"]
            found.append(tuple(sorted(entry.items())))
    return tuple(found)


def target_port(port: Object, pod: Object) -> int | None:
    """The pod's port behind a Service port; a name is looked up among the containers' ports of that protocol."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*pod["spec"]["containers"], *sidecars]:
        for candidate in container.get("ports") or ():
            same = candidate.get("protocol", "TCP") == port.get("protocol", "TCP")
            if same and candidate.get("name") == target:
                return int(candidate["containerPort"])
    return None


def _endpoint(seen: Observed, pod: Object, address: str, tolerant: bool) -> Object:
    ready, going = pods.is_ready(pod), pods.is_terminating(pod)
    conditions = {
        "ready": tolerant or (ready and not going),
        "serving": tolerant or ready,
        "terminating": going,
    }
    meta = pod["metadata"]
    node = pod["spec"].get("nodeName")
    hints = _hints(seen, node, ready=conditions["ready"])
    named = pod["spec"].get("hostname") and pod["spec"].get("subdomain") == seen.service["metadata"]["name"]
    return {
        "addresses": [address],
        "conditions": conditions,
        **({"hostname": pod["spec"]["hostname"]} if named else {}),
        **({"nodeName": node} if node else {}),
        "targetRef": {
            "kind": "Pod",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        **({"zone": seen.zones[node]} if node in seen.zones else {}),
        **({"hints": hints} if hints else {}),
    }


def _hints(seen: Observed, node: str | None, *, ready: bool) -> Object:
    """For whom an endpoint is meant, where the Service prefers those that are close."""
    wanted = seen.service["spec"].get("trafficDistribution")
    if wanted not in DISTRIBUTIONS or not ready or node is None:
        return {}
    found: Object = {"forZones": [{"name": seen.zones[node]}]} if node in seen.zones else {}
    return found | ({"forNodes": [{"name": node}]} if wanted == "PreferSameNode" else {})


def _settle(
    seen: Observed, family: str, wanted: dict[Ports, dict[str, Object]], slices: list[Object], now: float
) -> list[Action]:
    """Turn the slices of one address family into what is wanted: keep, then fill up, then add, then delete."""
    make = _Maker(seen.service, family, now)
    oldest = sorted(slices, key=pods.created)
    if not wanted:
        # An empty slice says that the service is known and has nobody behind it.
        spare = oldest[1:]
        actions = make.patch(oldest[0], []) if oldest else [make.create((), [])]
    else:
        by_ports: dict[Ports, list[Object]] = {}
        for one in oldest:
            by_ports.setdefault(ports_of_slice(one), []).append(one)
        spare = [s for ports, there in by_ports.items() if ports not in wanted for s in there]
        actions = []
        for ports, endpoints in wanted.items():
            plan, unused = _fill(make, ports, endpoints, by_ports.get(ports, []))
            actions += plan
            spare += unused
    return actions + [Delete(KIND, key(s), s["metadata"]["uid"]) for s in spare]


def _fill(
    make: _Maker, ports: Ports, endpoints: dict[str, Object], slices: list[Object]
) -> tuple[list[Action], list[Object]]:
    """Actions that put `endpoints` into `slices` of the same ports, and the slices that are not needed."""
    left = dict(endpoints)
    contents: list[list[Object]] = []
    for one in slices:
        addresses = [e["addresses"][0] for e in one.get("endpoints") or ()]
        contents.append([left.pop(a) for a in addresses if a in left])
    rest = list(left.values())
    actions: list[Action] = []
    unused = []
    for one, kept in zip(slices, contents, strict=True):
        room = MOST - len(kept)
        content, rest = kept + rest[:room], rest[room:]
        if content:
            actions += make.patch(one, content)
        else:
            unused.append(one)
    actions += [make.create(ports, rest[i : i + MOST]) for i in range(0, len(rest), MOST)]
    return actions, unused


class _Maker:
    """Makes the creates and patches of one Service's slices of one address family."""

    def __init__(self, service: Object, family: str, now: float) -> None:
        self._service, self._family, self._now = service, family, now
        self._labels = _labels(service)
        self._made = 0

    def patch(self, one: Object, endpoints: list[Object]) -> list[Action]:
        """The change that makes `one` hold `endpoints`; none where it does."""
        labelled = self._labels.items() <= (one["metadata"].get("labels") or {}).items()
        if labelled and endpoints == (one.get("endpoints") or []):
            return []
        return [Patch(KIND, key(one), {"metadata": {"labels": self._labels}, "endpoints": endpoints})]

    def create(self, ports: Ports, endpoints: list[Object]) -> Action:
        self._made += 1
        meta = self._service["metadata"]
        name = generated.name(f"{meta['name']}-", meta["uid"], self._family, self._now, self._made)
        made = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "labels": self._labels,
                "ownerReferences": [pods.reference(self._service)],
            },
            "addressType": self._family,
            "ports": [dict(p) for p in ports],
            "endpoints": endpoints,
        }
        return Create(KIND, made)


def ports_of_slice(found: Object) -> Ports:
    """The ports that an EndpointSlice holds, comparable."""
    return tuple(
        tuple(sorted((k, v) for k, v in p.items() if v is not None)) for p in found.get("ports") or ()
    )


def _labels(service: Object) -> dict[str, str]:
    """The Service's own labels, and ours. Only a headless service is marked so."""
    own = {
        k: v
        for k, v in (service["metadata"].get("labels") or {}).items()
        if k not in (SERVICE, MANAGED, HEADLESS)
    }
    headless = {HEADLESS: ""} if service["spec"].get("clusterIP") == "None" else {}
    return {**own, **headless, SERVICE: service["metadata"]["name"], MANAGED: MANAGER}


def services_of(cache: Cache, pod: Object) -> Iterable[Key]:
    """The Services whose selectors choose a pod."""
    labels = pod["metadata"].get("labels")
    if not labels:
        return ()
    return [
        key(service)
        for service in cache.list("services", pod["metadata"]["namespace"])
        if selectors.of_labels(service["spec"].get("selector")).matches(labels)
    ]


def _service_of(found: Object) -> Iterable[str]:
    name = (found["metadata"].get("labels") or {}).get(SERVICE)
    return (str(Key(found["metadata"]["namespace"], name)),) if name else ()


# Slices by the namespace and name of their Service.
BY_SERVICE = Index(KIND, "service", _service_of)


def _slice_wakes(cache: Cache, found: Object) -> Iterable[Key]:
    labels = found["metadata"].get("labels") or {}
    if labels.get(MANAGED) != MANAGER or SERVICE not in labels:
        return ()
    return (Key(found["metadata"]["namespace"], labels[SERVICE]),)


def make(settings: Settings) -> Controller:
    return Controller(
        name="endpointslice-controller",
        watches=(
            Watch("services"),
            Watch("pods", services_of),
            Watch(KIND, _slice_wakes),
            Watch("nodes", lambda cache, node: ()),
        ),
        observe=observe,
        decide=decide,
        indexes=(BY_SERVICE,),
    )
