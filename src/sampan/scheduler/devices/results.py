"""Allocations as they are written into a claim's status."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from sampan.machinery import quantities
from sampan.machinery.objects import Object
from sampan.scheduler.devices.allocator import Given
from sampan.scheduler.devices.requests import Request, of


class SelectorError(Exception):
    """A slice's node selector is of a form that cannot be written into a claim."""


def allocation(claim: Object, given: Sequence[Given], classes: dict[str, Object], node: str) -> Object:
    """What a claim gets on a node: its devices, their configurations, and the nodes that it can be used on."""
    chosen = _chosen(claim, given)
    found: Object = {"devices": {"results": [_result(g) for g in given]}}
    if configs := [*_of_classes(chosen, classes), *_of_claim(claim, chosen)]:
        names = [_names(request, chosen) for request in of(claim)]
        found["devices"]["config"] = [_for_all(config, names) for config in configs]
    if selector := node_selector(given, node):
        found["nodeSelector"] = selector
    return found


def _chosen(claim: Object, given: Sequence[Given]) -> list[Request]:
    """Each request, or the alternative of it that was taken."""
    by_request = {g.request.parent or g.request.name: g.request for g in given}
    return [by_request[request["name"]] for request in of(claim) if request["name"] in by_request]


def _names(request: Object, chosen: Iterable[Request]) -> set[str]:
    """What a configuration may call a request."""
    return {name for one in chosen if one.names[0] == request["name"] for name in one.names} | {
        request["name"]
    }


def _result(given: Given) -> Object:
    driver, pool, device = given.found.id
    found: Object = {"request": given.request.full_name, "driver": driver, "pool": pool, "device": device}
    if given.request.admin:
        found["adminAccess"] = True
    if given.request.tolerations:
        found["tolerations"] = given.request.tolerations
    for name in ("bindingConditions", "bindingFailureConditions"):
        if given.found.device.get(name):
            found[name] = given.found.device[name]
    if given.found.shareable:
        found["shareID"] = str(uuid.uuid4())
        if given.consumed:
            shares = given.consumed.items()
            found["consumedCapacity"] = {name: str(quantities.Quantity(amount)) for name, amount in shares}
    return found


def _of_classes(chosen: Iterable[Request], classes: dict[str, Object]) -> list[Object]:
    """The configurations of the classes, each once, for the requests that name the class."""
    requests: dict[str, list[str]] = {}
    for request in chosen:
        requests.setdefault(request.device_class, []).append(request.full_name)
    return [
        {**config, "source": "FromClass", "requests": names}
        for name, names in requests.items()
        for config in (classes[name].get("spec") or {}).get("config") or ()
    ]


def _of_claim(claim: Object, chosen: Iterable[Request]) -> list[Object]:
    """The claim's own configurations that concern what it got."""
    taken = {name for request in chosen for name in request.names}
    configs = ((claim.get("spec") or {}).get("devices") or {}).get("config") or ()
    return [
        {**config, "source": "FromClaim"}
        for config in configs
        if not config.get("requests") or not taken.isdisjoint(config["requests"])
    ]


def _for_all(config: Object, requests: Iterable[set[str]]) -> Object:
    """A configuration for every request need not name them."""
    named = config.get("requests") or ()
    if named and all(not names.isdisjoint(named) for names in requests):
        return {name: value for name, value in config.items() if name != "requests"}
    return config


def node_selector(given: Iterable[Given], node: str) -> Object | None:
    """The nodes that can use the devices: this one, those selected, or any (None). Raises SelectorError."""
    term: Object = {}
    for one in given:
        spec, device = one.found.piece["spec"], one.found.device
        where = device if spec.get("perDeviceNodeSelection") else spec
        if where.get("nodeName") or device.get("bindsToNode"):
            only = {"key": "metadata.name", "operator": "In", "values": [node]}
            return {"nodeSelectorTerms": [{"matchFields": [only]}]}
        terms = (where.get("nodeSelector") or {}).get("nodeSelectorTerms") or []
        if len(terms) > 1:
            raise SelectorError(f"unsupported ResourceSlice.NodeSelector with {len(terms)} terms")
        for kind in ("matchFields", "matchExpressions"):
            for requirement in terms[0].get(kind) or () if terms else ():
                if requirement not in term.setdefault(kind, []):
                    term[kind].append(requirement)
    return {"nodeSelectorTerms": [term]} if term else None
