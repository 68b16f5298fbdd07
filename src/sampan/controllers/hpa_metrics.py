"""What a HorizontalPodAutoscaler's metrics say now, from the metrics APIs; and the scale of what it scales.

Source: k8s.io/metrics: metrics.k8s.io/v1beta1, custom.metrics.k8s.io/v1beta2, external.metrics.k8s.io/v1beta1.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from sampan.client.api import ApiError, Client, Unavailable
from sampan.controllers.hpa_replicas import Sample
from sampan.kinds import registry
from sampan.machinery import quantities, selectors, times
from sampan.machinery.objects import Object, get

CUSTOM, EXTERNAL = "/apis/custom.metrics.k8s.io/v1beta2", "/apis/external.metrics.k8s.io/v1beta1"
# Over how long a custom metric was measured, where it does not say (seconds).
WINDOW = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What one metric says: samples by the pod's name, or one value in thousandths, or why it says nothing."""

    samples: dict[str, Sample] | None = None
    value: int = 0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What is scaled: its resource and its scale, or why that cannot be had."""

    resource: str = ""
    scale: Object | None = None
    fault: str = ""


async def target(client: Client, hpa: Object) -> Target:
    ref = hpa["spec"]["scaleTargetRef"]
    group, kind = ref.get("apiVersion", "").rpartition("/")[0], ref["kind"]
    try:
        resource = await _resource(client, group, kind)
        if not resource:
            return Target(fault=f'no matches for kind "{kind}" in group "{group}"')
        scale = await client.get(resource, ref["name"], hpa["metadata"]["namespace"], subresource="scale")
    except (ApiError, Unavailable) as e:
        return Target(fault=str(e))
    return Target(resource, scale)


async def _resource(client: Client, group: str, kind: str) -> str:
    """The resource of a kind that is built in, or that a definition brought; empty where there is none."""
    for known in registry.builtin():
        if (known.group, known.kind) == (group, kind):
            return known.resource
    found = await client.list("customresourcedefinitions.apiextensions.k8s.io")
    for definition in found.items:
        spec = definition["spec"]
        if (spec["group"], spec["names"]["kind"]) == (group, kind):
            return f"{spec['names']['plural']}.{group}"
    return ""


async def read(client: Client, hpa: Object, selector: str) -> tuple[Reading, ...]:
    """A reading for each of the autoscaler's metrics, in their order."""
    return tuple([await _reading(client, hpa, spec, selector) for spec in get(hpa, "spec.metrics", ())])


async def _reading(client: Client, hpa: Object, spec: Object, selector: str) -> Reading:
    namespace = hpa["metadata"]["namespace"]
    try:
        match spec["type"]:
            case "Resource":
                return await _resource_metric(client, namespace, selector, spec["resource"]["name"], "")
            case "ContainerResource":
                asked = spec["containerResource"]
                return await _resource_metric(client, namespace, selector, asked["name"], asked["container"])
            case "Pods":
                return await _pods_metric(client, namespace, selector, spec["pods"]["metric"])
            case "Object":
                return await _object_metric(client, namespace, spec["object"])
            case "External":
                return await _external_metric(client, namespace, spec["external"]["metric"])
    except (ApiError, Unavailable) as e:
        api = {"Pods": "custom", "Object": "custom", "External": "external"}.get(spec["type"], "resource")
        return Reading(fault=f"unable to fetch metrics from {api} metrics API: {e}")
    return Reading(fault=f'unknown metric source type "{spec["type"]}"')


async def _resource_metric(
    client: Client, namespace: str, selector: str, resource: str, container: str
) -> Reading:
    listing = await client.list("pods.metrics.k8s.io", namespace, labels=selector)
    if not listing.items:
        return Reading(fault="no metrics returned from resource metrics API")
    samples: dict[str, Sample] = {}
    for item in listing.items:
        every = item.get("containers") or []
        chosen = [c for c in every if not container or c["name"] == container]
        if not chosen or any(resource not in c["usage"] for c in chosen):
            continue
        value = sum(quantities.parse(c["usage"][resource]).milli for c in chosen)
        window = times.duration(item.get("window", "0s"))
        samples[item["metadata"]["name"]] = Sample(value, times.seconds(item["timestamp"]), window)
    return Reading(samples)


async def _pods_metric(client: Client, namespace: str, selector: str, metric: Object) -> Reading:
    path = f"{CUSTOM}/namespaces/{quote(namespace)}/pods/*/{quote(metric['name'])}"
    found = await client.read(path, labelSelector=selector, metricLabelSelector=_selector(metric))
    items = found.get("items") or []
    if not items:
        return Reading(fault="no metrics returned from custom metrics API")
    return Reading({item["describedObject"]["name"]: _sample(item) for item in items})


def _sample(item: Object) -> Sample:
    window = item.get("windowSeconds")
    return Sample(
        quantities.parse(item["value"]).milli,
        times.seconds(item["timestamp"]),
        WINDOW if window is None else float(window),
    )


async def _object_metric(client: Client, namespace: str, asked: Object) -> Reading:
    ref, metric = asked["describedObject"], asked["metric"]
    group, kind = ref.get("apiVersion", "").rpartition("/")[0], ref["kind"]
    if (group, kind) == ("", "Namespace"):
        path = f"{CUSTOM}/namespaces/{quote(namespace)}/metrics/{quote(metric['name'])}"
    else:
        resource = await _resource(client, group, kind) or f"{kind.lower()}s"
        where = f"namespaces/{quote(namespace)}/{resource}/{quote(ref['name'])}"
        path = f"{CUSTOM}/{where}/{quote(metric['name'])}"
    found = await client.read(path, metricLabelSelector=_selector(metric))
    items = found.get("items") or []
    if not items:
        return Reading(fault="no metrics returned from custom metrics API")
    return Reading(value=quantities.parse(items[0]["value"]).milli)


async def _external_metric(client: Client, namespace: str, metric: Object) -> Reading:
    path = f"{EXTERNAL}/namespaces/{quote(namespace)}/{quote(metric['name'])}"
    found = await client.read(path, labelSelector=_selector(metric))
    items = found.get("items") or []
    if not items:
        return Reading(fault="no metrics returned from external metrics API")
    return Reading(value=sum(quantities.parse(item["value"]).milli for item in items))


def _selector(metric: Object) -> str:
    found = metric.get("selector")
    return str(selectors.of(found)) if found else ""
