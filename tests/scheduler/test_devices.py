"""Devices: their allocation as plain functions, and pods that claim them on a real API server."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controllers.running import Cluster, cluster

from sampan.client.api import ApiError
from sampan.machinery.objects import Object
from sampan.scheduler.devices import AllocationError, results
from sampan.scheduler.devices.allocator import Allocator
from sampan.scheduler.devices.state import Taken
from sampan.scheduler.nodes import NodeInfo

DRIVER = "gpu.example.com"


def resource_slice(name: str, *devices: Object, **spec: Any) -> Object:
    pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
    where = {} if {"allNodes", "nodeSelector"} & spec.keys() else {"nodeName": name}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": name},
        "spec": {"driver": DRIVER, "pool": pool, "devices": list(devices), **where, **spec},
    }


def device(name: str, model: str = "small", memory: str = "16Gi", **more: Any) -> Object:
    attributes = {"model": {"string": model}, "numa": {"int": more.pop("numa", 0)}}
    return {"name": name, "attributes": attributes, "capacity": {"memory": {"value": memory}}, **more}


def device_class(name: str = "gpu", *expressions: str, **spec: Any) -> Object:
    selectors = [{"cel": {"expression": e}} for e in expressions]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": name},
        "spec": {"selectors": selectors, **spec},
    }


def wanted(device_class: str = "gpu", expression: str = "", **more: Any) -> Object:
    found = {"deviceClassName": device_class, "allocationMode": "ExactCount", **more}
    if found["allocationMode"] == "ExactCount":
        found.setdefault("count", 1)
    if expression:
        found["selectors"] = [{"cel": {"expression": expression}}]
    return found


def claim(*requests: Object, name: str = "claim", **devices: Any) -> Object:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"devices": {"requests": list(requests), **devices}},
    }


def exactly(name: str, *words: str, **more: Any) -> Object:
    return {"name": name, "exactly": wanted(*words, **more)}


BIG = 'device.attributes["gpu.example.com"].model == "big"'
MORE_THAN_40 = 'device.capacity["gpu.example.com"].memory.isGreaterThan(quantity("40Gi"))'
CLASSES = {c["metadata"]["name"]: c for c in (device_class(), device_class("big", BIG))}


def allocated(slices: list[Object], *claims: Object, node: str = "n1", **labels: str) -> list[str] | None:
    """What is allocated on a node: `request=device`, claim after claim; None where it does not work out."""
    info = NodeInfo({"metadata": {"name": node, "labels": labels}})
    found = Allocator(CLASSES, slices, Taken()).allocate(info, claims)
    if found is None:
        return None
    return [f"{one.request.full_name}={one.found.id[2]}" for given in found for one in given]


SMALL_AND_BIG = [resource_slice("n1", device("a"), device("b", "big", "80Gi"), device("c", "big", "80Gi"))]


@pytest.mark.parametrize(
    ("requests", "outcome"),
    [
        ([exactly("one")], ["one=a"]),
        ([exactly("one", "big")], ["one=b"]),
        ([exactly("one", "gpu", MORE_THAN_40)], ["one=b"]),
        ([exactly("two", count=2)], ["two=a", "two=b"]),
        ([exactly("any"), exactly("big", "big", count=2)], ["any=a", "big=b", "big=c"]),
        ([exactly("big", "big", count=3)], None),
        ([exactly("all", "big", allocationMode="All")], ["all=b", "all=c"]),
        ([exactly("all", "gpu", 'device.driver == "other"', allocationMode="All")], None),
    ],
)  # fmt: skip
def test_requests(requests: list[Object], outcome: list[str] | None) -> None:
    assert allocated(SMALL_AND_BIG, claim(*requests)) == outcome


def test_the_search_goes_back_where_the_first_choice_was_wrong() -> None:
    slices = [resource_slice("n1", device("a", "big"), device("b"))]
    assert allocated(slices, claim(exactly("any"), exactly("big", "big"))) == ["any=b", "big=a"]


def test_several_claims_of_a_pod_do_not_share_a_device() -> None:
    slices = [resource_slice("n1", device("a"), device("b"))]
    assert allocated(slices, claim(exactly("x"), name="one"), claim(exactly("y"), name="two")) == [
        "x=a",
        "y=b",
    ]


def test_the_first_alternative_that_can_be_had_is_taken() -> None:
    alternatives = [{"name": "big", **wanted("big", count=3)}, {"name": "small", **wanted()}]
    assert allocated(SMALL_AND_BIG, claim({"name": "gpu", "firstAvailable": alternatives})) == ["gpu/small=a"]


def test_devices_may_have_to_agree_on_an_attribute() -> None:
    slices = [resource_slice("n1", device("a", numa=0), device("b", numa=1), device("c", numa=1))]
    same = [{"matchAttribute": "gpu.example.com/numa", "requests": ["two"]}]
    assert allocated(slices, claim(exactly("two", count=2), constraints=same)) == ["two=b", "two=c"]


def test_partitions_share_the_counters_of_their_device() -> None:
    def part(name: str, memory: str) -> Object:
        counters = {"memory": {"value": memory}}
        return device(name, consumesCounters=[{"counterSet": "card", "counters": counters}])

    shared = [{"name": "card", "counters": {"memory": {"value": "80Gi"}}}]
    parts = (part("whole", "80Gi"), part("half-1", "40Gi"), part("half-2", "40Gi"))
    slices = [resource_slice("n1", *parts), resource_slice("counters", sharedCounters=shared, nodeName="n1")]
    for piece in slices:
        piece["spec"]["pool"] = {"name": "n1", "generation": 1, "resourceSliceCount": 2}
    assert allocated(slices, claim(exactly("two", count=2))) == ["two=half-1", "two=half-2"]
    assert allocated(slices, claim(exactly("three", count=3))) is None


def test_a_tainted_device_goes_to_who_tolerates_it() -> None:
    taint = {"key": "broken", "value": "yes", "effect": "NoSchedule"}
    slices = [resource_slice("n1", device("a", taints=[taint]))]
    assert allocated(slices, claim(exactly("one"))) is None
    tolerated = [{"key": "broken", "operator": "Exists"}]
    assert allocated(slices, claim(exactly("one", tolerations=tolerated))) == ["one=a"]


def test_devices_within_reach() -> None:
    zone = [{"key": "zone", "operator": "In", "values": ["a"]}]
    selector = {"nodeSelectorTerms": [{"matchExpressions": zone}]}
    slices = [resource_slice("fabric", device("far"), nodeSelector=selector)]
    assert allocated(slices, claim(exactly("one")), zone="a") == ["one=far"]
    assert allocated(slices, claim(exactly("one")), zone="b") is None


def test_a_pool_that_is_being_published_gives_nothing_yet() -> None:
    unfinished = resource_slice("n1", device("a"))
    unfinished["spec"]["pool"]["resourceSliceCount"] = 2
    assert allocated([unfinished], claim(exactly("one"))) is None
    with pytest.raises(AllocationError, match=r"resource pool .* is currently being updated"):
        allocated([unfinished], claim(exactly("all", allocationMode="All")))


def test_an_older_generation_of_a_pool_counts_for_nothing() -> None:
    old, new = resource_slice("n1", device("old")), resource_slice("n1", device("new"))
    new["spec"]["pool"]["generation"] = 2
    assert allocated([old, new], claim(exactly("one"))) == ["one=new"]


def test_a_selector_that_fails_is_said() -> None:
    with pytest.raises(AllocationError, match="no such key: colour"):
        allocated(SMALL_AND_BIG, claim(exactly("one", "gpu", 'device.attributes["x.io"].colour == "red"')))


def test_the_result_names_the_node_and_carries_the_configuration() -> None:
    config = {"opaque": {"driver": DRIVER, "parameters": {"mode": "shared"}}}
    own = device_class("gpu", config=[config])
    info = NodeInfo({"metadata": {"name": "n1"}})
    asked = claim(exactly("one"), config=[{**config, "requests": ["one"]}])
    found = Allocator({"gpu": own}, SMALL_AND_BIG, Taken()).allocate(info, [asked])
    assert found is not None
    assert results.allocation(asked, found[0], {"gpu": own}, "n1") == {
        "devices": {
            "results": [{"request": "one", "driver": DRIVER, "pool": "n1", "device": "a"}],
            "config": [{"source": "FromClass", **config}, {"source": "FromClaim", **config}],
        },
        "nodeSelector": {
            "nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
            ]
        },
    }


GROUP = "resource.k8s.io"


async def offered(c: Cluster) -> None:
    """A class, and one device on n2."""
    await c.admin.create(f"deviceclasses.{GROUP}", device_class())
    await c.admin.create(f"resourceslices.{GROUP}", resource_slice("n2", device("a")))


def pod(name: str, **entry: str) -> Object:
    container = {"name": "c", "image": "i", "resources": {"claims": [{"name": "gpu"}]}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], "resourceClaims": [{"name": "gpu", **entry}]},
    }


async def bound(c: Cluster, name: str) -> str:
    await c.until("pods", name, lambda p: p and p["spec"].get("nodeName"))
    return str((await c.admin.get("pods", name, "default"))["spec"]["nodeName"])


def told(text: str) -> Any:
    return lambda p: p and text in str((p.get("status") or {}).get("conditions"))


async def test_a_pod_goes_where_its_device_is_and_the_next_one_waits_for_it() -> None:
    async with cluster("n1", "n2") as c:
        await offered(c)
        template = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaimTemplate",
            "metadata": {"name": "gpu", "namespace": "default"},
            "spec": {
                "spec": {"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu"}}]}}
            },
        }
        await c.admin.create(f"resourceclaimtemplates.{GROUP}", template)
        await c.admin.create("pods", pod("first", resourceClaimTemplateName="gpu"))
        assert await bound(c, "first") == "n2"
        first = await c.admin.get("pods", "first", "default")
        (status,) = first["status"]["resourceClaimStatuses"]
        made = await c.admin.get(f"resourceclaims.{GROUP}", status["resourceClaimName"], "default")
        assert made["status"]["allocation"]["devices"]["results"][0]["device"] == "a"
        assert [u["name"] for u in made["status"]["reservedFor"]] == ["first"]
        assert "resource.kubernetes.io/delete-protection" in made["metadata"]["finalizers"]
        await c.admin.create("pods", pod("second", resourceClaimTemplateName="gpu"))
        await c.until("pods", "second", told("0/2 nodes are available: 2 cannot allocate all claims."))
        await c.admin.delete("pods", "first", "default")
        assert await bound(c, "second") == "n2"


async def test_pods_share_a_claim_and_it_is_given_back_when_the_last_is_gone() -> None:
    async with cluster("n1", "n2") as c:
        await offered(c)
        shared = claim({"name": "one", "exactly": {"deviceClassName": "gpu"}}, name="shared")
        await c.admin.create("pods", pod("early", resourceClaimName="shared"))
        await c.admin.create(f"resourceclaims.{GROUP}", shared)
        assert await bound(c, "early") == "n2"
        await c.admin.create("pods", pod("late", resourceClaimName="shared"))
        assert await bound(c, "late") == "n2"
        for name in ("early", "late"):
            await c.admin.delete("pods", name, "default")
        await c.until(
            f"resourceclaims.{GROUP}", "shared", lambda x: x and "allocation" not in x.get("status", {})
        )


async def test_an_extended_resource_may_come_from_a_device_class() -> None:
    async with cluster("n1", "n2") as c:
        await c.admin.create(
            f"deviceclasses.{GROUP}", device_class("gpu", extendedResourceName="example.com/gpu")
        )
        await c.admin.create(f"resourceslices.{GROUP}", resource_slice("n2", device("a")))
        amounts = {"example.com/gpu": "1"}
        container = {"name": "c", "image": "i", "resources": {"requests": amounts, "limits": amounts}}
        for name in ("first", "second"):
            meta = {"name": name, "namespace": "default"}
            await c.admin.create(
                "pods",
                {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}},
            )
            if name == "first":
                assert await bound(c, "first") == "n2"
        first = await c.admin.get("pods", "first", "default")
        status = first["status"]["extendedResourceClaimStatus"]
        assert status["requestMappings"] == [
            {"containerName": "c", "resourceName": "example.com/gpu", "requestName": "container-0-request-0"}
        ]
        made = await c.admin.get(f"resourceclaims.{GROUP}", status["resourceClaimName"], "default")
        assert made["status"]["allocation"]["devices"]["results"][0]["device"] == "a"
        await c.until("pods", "second", told("0/2 nodes are available: 2 cannot allocate all claims."))


async def test_a_missing_class_is_said_and_waited_for() -> None:
    async with cluster("n1") as c:
        wanted = claim({"name": "one", "exactly": {"deviceClassName": "gpu"}}, name="early")
        await c.admin.create(f"resourceclaims.{GROUP}", wanted)
        await c.admin.create("pods", pod("p", resourceClaimName="early"))
        await c.until("pods", "p", told("request one: device class gpu does not exist"))
        await c.admin.create(f"resourceslices.{GROUP}", resource_slice("n1", device("a")))
        await c.admin.create(f"deviceclasses.{GROUP}", device_class())
        assert await bound(c, "p") == "n1"


def rule(effect: str, **selector: str) -> Object:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceTaintRule",
        "metadata": {"name": "repair"},
        "spec": {"deviceSelector": selector, "taint": {"key": "repair", "effect": effect}},
    }


async def test_a_rule_taints_devices_until_it_is_gone() -> None:
    async with cluster("n1", "n2") as c:
        await offered(c)
        rules = f"devicetaintrules.{GROUP}"
        await c.admin.create(rules, rule("NoSchedule", device="a"))
        shared = claim({"name": "one", "exactly": {"deviceClassName": "gpu"}}, name="shared")
        await c.admin.create(f"resourceclaims.{GROUP}", shared)
        await c.admin.create("pods", pod("p", resourceClaimName="shared"))
        await c.until("pods", "p", told("0/2 nodes are available: 2 cannot allocate all claims."))
        await c.admin.delete(rules, "repair")
        assert await bound(c, "p") == "n2"


async def test_a_rule_keeps_when_its_taint_got_its_effect() -> None:
    async with cluster() as c:
        rules = f"devicetaintrules.{GROUP}"
        made = await c.admin.create(rules, {**rule("None"), "status": {"conditions": []}})
        assert made["spec"]["taint"]["timeAdded"]
        assert made["metadata"]["generation"] == 1
        made["spec"]["taint"] |= {"timeAdded": "2020-01-01T00:00:00Z"}
        old = await c.admin.update(rules, made)
        assert old["spec"]["taint"]["timeAdded"] == "2020-01-01T00:00:00Z"
        old["spec"]["taint"]["effect"] = "NoExecute"
        new = await c.admin.update(rules, old)
        assert new["spec"]["taint"]["timeAdded"] > "2020-01-01T00:00:00Z"
        assert new["metadata"]["generation"] == 3
        new["spec"]["taint"] = {"key": "", "effect": "Sometimes"}
        with pytest.raises(ApiError, match="is invalid") as caught:
            await c.admin.update(rules, new)
        assert 'spec.taint.effect: Unsupported value: "Sometimes"' in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"name": "one"}, "exactly one of `exactly` or `firstAvailable` is required"),
        ({"name": "one", "exactly": {}}, "spec.devices.requests[0].exactly.deviceClassName: Required value"),
        (
            exactly("one", "gpu", "device.colour == 1"),
            "undefined field 'colour'",
        ),
        (
            exactly("one", "gpu", capacity={"requests": {"a/b/c": "1"}}),
            "spec.devices.requests[0].exactly.capacity.requests[a/b/c]: Invalid value",
        ),
        (exactly("one", allocationMode="All", count=2), "must not be specified when allocationMode is 'All'"),
    ],
)
async def test_claims_that_make_no_sense_are_refused(request_: Object, message: str) -> None:
    async with cluster() as c:
        with pytest.raises(ApiError, match="is invalid") as caught:
            await c.admin.create(f"resourceclaims.{GROUP}", claim(request_))
        assert message in str(caught.value)
