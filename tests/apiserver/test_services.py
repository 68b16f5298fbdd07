"""Where a Service's traffic goes: what is filled in, what goes with its type, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.objects import Object

from .conftest import Cluster
from .test_access import pod, refused
from .test_objects import service

LOCAL = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}


async def _patched(cluster: Cluster, **spec: Any) -> Object:
    found = await cluster.admin.patch("services", "s", "default", {"spec": spec})
    return found["spec"]  # type: ignore[no-any-return]


async def test_a_balanced_service_with_local_traffic_has_a_port_for_health(cluster: Cluster) -> None:
    made = await cluster.admin.create("services", service("s", **LOCAL))
    port = made["spec"]["healthCheckNodePort"]
    assert 30000 <= port <= 32767
    assert port != made["spec"]["ports"][0]["nodePort"]
    error = await refused(_patched(cluster, healthCheckNodePort=port - 1 if port > 30000 else port + 1))
    assert "spec.healthCheckNodePort: Forbidden: field is immutable" in str(error)
    spec = await _patched(cluster, externalTrafficPolicy="Cluster")
    assert "healthCheckNodePort" not in spec
    spec = await _patched(cluster, type="ClusterIP")
    assert not {"externalTrafficPolicy", "allocateLoadBalancerNodePorts"} & spec.keys()
    assert "nodePort" not in spec["ports"][0]


async def test_headless_services_without_selector_may_have_endpoints_of_both_families(
    cluster: Cluster,
) -> None:
    made = await cluster.admin.create("services", service("s", clusterIP="None"))
    assert made["spec"]["ipFamilyPolicy"] == "RequireDualStack"
    assert made["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
    made = await cluster.admin.create("services", service("t", clusterIP="None", selector={"a": "b"}))
    assert made["spec"]["ipFamilyPolicy"] == "SingleStack"
    made = await cluster.admin.create("services", service("u", ipFamilyPolicy="PreferDualStack"))
    assert made["spec"]["ipFamilies"] == ["IPv4"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"ipFamilyPolicy": "RequireDualStack"},
         'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack'),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        ({"externalTrafficPolicy": "Local"},
         "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services"),
        ({"trafficDistribution": "Near"}, 'spec.trafficDistribution: Unsupported value: "Near"'),
        ({"healthCheckNodePort": 30001}, "may only be set when `type` is 'LoadBalancer' and"),
        ({"loadBalancerClass": "a/b"}, "spec.loadBalancerClass: Forbidden: may only be used when"),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
         "must be greater than 0 and less than 86400"),
        ({**LOCAL, "loadBalancerSourceRanges": ["10.0.0.0/33"]}, "must be a valid CIDR value"),
    ],
)  # fmt: skip
async def test_a_service_is_refused_in_upstreams_words(cluster: Cluster, spec: Object, why: str) -> None:
    assert why in str(await refused(cluster.admin.create("services", service("s", **spec))))


async def test_a_service_cidr_adds_addresses(cluster: Cluster) -> None:
    asked = service("s", clusterIP="10.99.0.7")
    assert "does not match the current range" in str(await refused(cluster.admin.create("services", asked)))
    kind, kinds = "ServiceCIDR", "servicecidrs.networking.k8s.io"
    made = {"apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": {"name": "more"}}
    await cluster.admin.create(kinds, {**made, "spec": {"cidrs": ["10.99.0.0/24"]}})
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    await cluster.admin.patch(kinds, "more", "", {"status": {"conditions": [ready]}}, subresource="status")
    found = await cluster.admin.create("services", asked)
    assert found["spec"]["clusterIPs"] == ["10.99.0.7"]


# Endpoints


def _slice(**fields: Any) -> Object:
    meta = {"name": "s", "namespace": "default"}
    head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta}
    return {**head, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], **fields}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"endpoints": [{"addresses": ["127.0.0.1"]}]}, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ({"endpoints": [{"addresses": ["10.0.0.1"]}] * 1001}, "endpoints: Too many: 1001: must have at most"),
        ({"endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "A"}]}, "endpoints[0].nodeName: Invalid value"),
        ({"endpoints": [{"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "a"}, {"name": "a"}]}}]},
         'endpoints[0].hints.forZones[1].name: Duplicate value: "a"'),
    ],
)  # fmt: skip
async def test_a_slice_is_refused_in_upstreams_words(cluster: Cluster, fields: Object, why: str) -> None:
    kind = "endpointslices.discovery.k8s.io"
    assert why in str(await refused(cluster.admin.create(kind, _slice(**fields))))


async def test_endpoints_are_checked(cluster: Cluster) -> None:
    made = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "s", "namespace": "default"}}
    subset = {"addresses": [{"ip": "169.254.0.1"}], "ports": [{"port": 80}, {"port": 0, "name": "a"}]}
    error = str(await refused(cluster.admin.create("endpoints", {**made, "subsets": [subset, {}]})))
    assert "subsets[0].addresses[0].ip: Invalid value" in error
    assert "subsets[0].ports[0].name: Required value" in error
    assert "subsets[1]: Required value: must specify `addresses` or `notReadyAddresses`" in error


async def test_a_pod_carries_its_nodes_zone(cluster: Cluster) -> None:
    await cluster.account()
    labels = {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "o"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": labels}}
    await cluster.admin.create("nodes", node)
    made = await cluster.admin.create("pods", pod("p"))
    assert not made["metadata"].get("labels")
    target = {"apiVersion": "v1", "kind": "Node", "name": "n"}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": target}
    await cluster.admin.create(
        "pods",
        {**binding, "metadata": {"name": "p", "namespace": "default"}},
        name="p",
        subresource="binding",
    )
    found = await cluster.admin.get("pods", "p", "default")
    expected = {k: v for k, v in labels.items() if k != "other"}
    assert found["metadata"]["labels"] == expected
    made = await cluster.admin.create("pods", pod("q", nodeName="n"))
    assert made["metadata"]["labels"] == expected
