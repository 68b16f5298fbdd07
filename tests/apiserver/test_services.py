"""Where a Service's traffic goes: what is filled in, what goes with its type, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.objects import Object

from .conftest import Cluster
from .test_access import refused
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
