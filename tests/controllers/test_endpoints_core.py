"""Endpoints of Services with a selector, and slices that repeat what people write for those without."""

from __future__ import annotations

from typing import Any

from tests.controllers.running import cluster

from sampan.controllers import endpoint_slice_mirroring as mirroring
from sampan.controllers import endpoints
from sampan.machinery.objects import Object
from sampan.reconcile.controller import Create, Delete, Emit, Patch


def service(**spec: Any) -> Object:
    port = {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}
    meta = {"name": "web", "namespace": "default", "uid": "s", "labels": {"tier": "front"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [port], **spec}}


def pod(name: str, ip: str, ready: bool = True, port: int = 8080, **meta: Any) -> Object:
    ports = [{"name": "web", "containerPort": port, "protocol": "TCP"}]
    status = {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": str(ready)}]}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, **meta},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": ports}]},
        "status": status,
    }


def decided(found: Object, *pods: Object, current: Object | None = None) -> list[Any]:
    return list(endpoints.decide(endpoints.Observed(found, pods, current), 0.0).actions)


def test_ready_addresses_apart_from_the_others_by_ports() -> None:
    pods = [pod("a", "10.0.0.1"), pod("b", "10.0.0.2", ready=False), pod("c", "10.0.0.3", port=9090)]
    (made,) = decided(service(selector={"app": "web"}, clusterIP="10.1.0.1"), *pods)
    assert isinstance(made, Create)
    assert made.object["metadata"]["labels"] == {
        "tier": "front",
        "endpoints.kubernetes.io/managed-by": "endpoint-controller",
    }
    shown = [
        (
            [p["port"] for p in s["ports"]],
            [a["ip"] for a in s.get("addresses", ())],
            [a["ip"] for a in s.get("notReadyAddresses", ())],
        )
        for s in made.object["subsets"]
    ]
    assert shown == [([8080], ["10.0.0.1"], ["10.0.0.2"]), ([9090], ["10.0.0.3"], [])]


def test_what_stands_is_not_written_again_and_who_ends_leaves() -> None:
    found = service(selector={"app": "web"}, clusterIP="10.1.0.1")
    (made,) = decided(found, pod("a", "10.0.0.1"))
    assert decided(found, pod("a", "10.0.0.1"), current=made.object) == []
    going = pod("a", "10.0.0.1", deletionTimestamp="2026-01-01T00:00:00Z")
    (change,) = decided(found, going, current=made.object)
    assert isinstance(change, Patch)
    assert change.patch["subsets"] == []


def test_more_than_a_thousand_are_cut_and_marked() -> None:
    many = [pod(f"p{i:04}", f"10.0.{i // 250}.{i % 250 + 1}", ready=i % 2 == 0) for i in range(1200)]
    (made,) = decided(service(selector={"app": "web"}, clusterIP="10.1.0.1"), *many)
    (subset,) = made.object["subsets"]
    assert (len(subset["addresses"]), len(subset["notReadyAddresses"])) == (600, 400)
    marks = made.object["metadata"]["annotations"]
    assert marks == {"endpoints.kubernetes.io/over-capacity": "truncated"}


def test_endpoints_go_with_their_service() -> None:
    left = {"metadata": {"name": "web", "namespace": "default", "uid": "e"}}
    seen = endpoints.Observed(None, (), left)
    assert [type(a) for a in endpoints.decide(seen, 0.0).actions] == [Delete]


# Mirroring


def written(*ips: str, **meta: Any) -> Object:
    subset = {
        "addresses": [{"ip": ip} for ip in ips],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }
    whole = {"name": "web", "namespace": "default", "uid": "e", **meta}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": whole, "subsets": [subset]}


def mirrored(found: Object | None, *slices: Object) -> list[Any]:
    return list(mirroring.decide(mirroring.Observed(found, slices), 0.0).actions)


def test_each_family_has_its_slice_and_what_is_no_address_is_told() -> None:
    told, four, six = mirrored(written("10.0.0.1", "fd00::1", "there"))
    assert isinstance(told, Emit)
    assert told.message == "Skipped 1 invalid IP addresses when mirroring to EndpointSlices"
    assert [m.object["addressType"] for m in (four, six)] == ["IPv4", "IPv6"]
    labels = four.object["metadata"]["labels"]
    assert labels["endpointslice.kubernetes.io/managed-by"] == "endpointslicemirroring-controller.k8s.io"
    assert four.object["endpoints"] == [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}]


def test_a_change_is_repeated_in_the_same_slice() -> None:
    (made,) = mirrored(written("10.0.0.1"))
    there = {**made.object, "metadata": {**made.object["metadata"], "uid": "x"}}
    assert mirrored(written("10.0.0.1"), there) == []
    (change,) = mirrored(written("10.0.0.1", "10.0.0.2"), there)
    assert isinstance(change, Patch)
    assert len(change.patch["endpoints"]) == 2
    (gone,) = mirrored(None, there)
    assert isinstance(gone, Delete)


async def test_on_a_server_both_follow_what_happens() -> None:
    async with cluster("n1") as c:
        await c.admin.create("services", service(selector={"app": "web"}))
        spec = {
            "containers": [{"name": "c", "image": "x", "ports": [{"name": "web", "containerPort": 8080}]}]
        }
        meta = {"name": "p", "namespace": "default", "labels": {"app": "web"}}
        await c.admin.create("pods", {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})

        def holds(found: Object | None) -> object:
            subsets = (found or {}).get("subsets") or [{}]
            return [a["targetRef"]["name"] for a in subsets[0].get("addresses", ())] == ["p"]

        await c.until("endpoints", "web", holds)
        await c.admin.delete("services", "web", "default")
        await c.until("endpoints", "web", lambda found: found is None)
        plain = service()
        plain["metadata"]["name"] = "byhand"
        await c.admin.create("services", plain)
        await c.admin.create("endpoints", written("192.0.2.1", name="byhand"))

        def mirrors(slices: list[Object]) -> bool:
            mine = [
                s for s in slices if s["metadata"]["labels"].get("kubernetes.io/service-name") == "byhand"
            ]
            return [e["addresses"] for s in mine for e in s["endpoints"]] == [["192.0.2.1"]]

        await c.until_all(mirroring.KIND, mirrors)
