"""What a namespace's LimitRanges give to pods that say nothing, and what they refuse of pods and claims.

Source: the concepts' page "Limit Ranges"; k8s.io/kubernetes plugin/pkg/admission/limitranger.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Call
from sampan.machinery import amounts
from sampan.machinery.amounts import Amounts
from sampan.machinery.objects import Object, get
from sampan.machinery.quantities import Quantity

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

ANNOTATION = "kubernetes.io/limit-ranger"


async def _ranges(server: ApiServer, namespace: str) -> list[Object]:
    page = await server.store.list(f"/core/limitranges/{namespace}/")
    return [server.decoded(r) for r in page.records]


def _concerned(call: Call, old: Object | None) -> bool:
    """New pods, resized ones, and claims; all else of a pod cannot change its resources."""
    if call.resource.resource == "pods":
        return call.subresource == ("resize" if old else "")
    return not call.subresource


async def mutate(server: ApiServer, call: Call, obj: Object, old: Object | None) -> None:
    if call.resource.resource != "pods" or not _concerned(call, old):
        return
    for found in await _ranges(server, call.namespace):
        give_defaults(found, obj)


async def validate(server: ApiServer, call: Call, obj: Object | None, old: Object | None) -> None:
    if obj is None or not _concerned(call, old):
        return
    for found in await _ranges(server, call.namespace):
        refusals = list(violations(found, obj))
        if refusals:
            why = refusals[0] if len(refusals) == 1 else f"[{', '.join(refusals)}]"
            raise errors.forbidden(call.resource, call.name, why)


# Defaults


def give_defaults(found: Object, pod: Object) -> None:
    """Fill in what the pod's containers leave out, and note in an annotation what was filled in."""
    requests: Object = {}
    limits: Object = {}
    for item in get(found, "spec.limits", ()):
        if item.get("type") == "Container":
            requests |= item.get("defaultRequest") or {}
            limits |= item.get("default") or {}
    notes: list[str] = []
    for field, noun in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(field) or ():
            about = f"for {noun} {container.get('name', '')}"
            notes += _filled(container, "requests", requests, f"request {about}")
            notes += _filled(container, "limits", limits, f"limit {about}")
    if notes:
        meta = pod["metadata"]
        said = f"LimitRanger plugin set: {'; '.join(notes)}"
        meta["annotations"] = {**(meta.get("annotations") or {}), ANNOTATION: said}


def _filled(container: Object, field: str, defaults: Object, about: str) -> list[str]:
    given = get(container, f"resources.{field}", {})
    missing = {name: amount for name, amount in defaults.items() if name not in given}
    if not missing:
        return []
    container["resources"] = {**(container.get("resources") or {}), field: {**given, **missing}}
    return [f"{', '.join(sorted(missing))} {about}"]


# Bounds


def violations(found: Object, obj: Object) -> Iterator[str]:
    """What of a pod or a claim lies outside a LimitRange's bounds."""
    for item in get(found, "spec.limits", ()):
        kind = item.get("type", "")
        if obj["kind"] == "PersistentVolumeClaim":
            if kind == "PersistentVolumeClaim":
                yield from _claim(item, amounts.parse(get(obj, "spec.resources.requests")))
            continue
        if kind == "Container":
            spec = obj["spec"]
            for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
                resources = container.get("resources") or {}
                yield from _bounds(
                    item, amounts.parse(resources.get("requests")), amounts.parse(resources.get("limits"))
                )
        elif kind == "Pod":
            yield from _bounds(
                item, amounts.requests(obj, overhead=False), amounts.limits(obj, overhead=False)
            )


def _claim(item: Object, requests: Amounts) -> Iterator[str]:
    yield from (
        w for n, q in amounts.parse(item.get("min")).items() if (w := _least(item, n, q, requests, {}))
    )
    for name, most in amounts.parse(item.get("max")).items():
        about = f"maximum {name} usage per {item['type']} is {most}"
        if name not in requests:
            yield f"{about}.  No request is specified"
        elif requests[name] > most:
            yield f"{about}, but request is {requests[name]}"


def _bounds(item: Object, requests: Amounts, limits: Amounts) -> Iterator[str]:
    checks = (("min", _least), ("max", _most), ("maxLimitRequestRatio", _ratio))
    for field, check in checks:
        for name, bound in amounts.parse(item.get(field)).items():
            if why := check(item, name, bound, requests, limits):
                yield why


def _least(item: Object, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> str:
    about = f"minimum {name} usage per {item['type']} is {bound}"
    if name not in requests:
        return f"{about}.  No request is specified"
    if requests[name] < bound:
        return f"{about}, but request is {requests[name]}"
    if name in limits and limits[name] < bound:
        return f"{about}, but limit is {limits[name]}"
    return ""


def _most(item: Object, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> str:
    about = f"maximum {name} usage per {item['type']} is {bound}"
    if name not in limits:
        return f"{about}.  No limit is specified"
    if limits[name] > bound:
        return f"{about}, but limit is {limits[name]}"
    if name in requests and requests[name] > bound:
        return f"{about}, but request is {requests[name]}"
    return ""


def _ratio(item: Object, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> str:
    about = f"{name} max limit to request ratio per {item['type']} is {bound}"
    if not requests.get(name):
        return f"{about}, but no request is specified or request is 0"
    if not limits.get(name):
        return f"{about}, but no limit is specified or limit is 0"
    ratio = limits[name].number / requests[name].number
    return f"{about}, but provided ratio is {ratio:f}" if ratio > bound.number else ""
