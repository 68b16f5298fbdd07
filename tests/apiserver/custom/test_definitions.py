"""CustomResourceDefinitions, as kubectl and clients over HTTP meet them."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from tests.apiserver.conftest import Cluster
from tests.apiserver.custom.boats import NAME, boat, definition, version

from sampan.client.api import ApiError
from sampan.machinery.objects import Object, get

CRDS = "customresourcedefinitions.apiextensions.k8s.io"
BOATS = "boats.fleet.example.com"


async def define(cluster: Cluster, found: Object) -> None:
    """Create a definition and wait until it is served."""
    await cluster.admin.create(CRDS, found)
    await until(cluster, found["metadata"]["name"], "Established", "True")


async def until(cluster: Cluster, name: str, condition: str, status: str) -> Object:
    async with asyncio.timeout(10):
        while True:
            found = await cluster.admin.get(CRDS, name)
            listed = get(found, "status.conditions", ())
            if any(c["type"] == condition and c["status"] == status for c in listed):
                return found
            await asyncio.sleep(0.01)


async def refused(action: Any) -> str:
    with pytest.raises(ApiError) as found:
        await action
    return str(found.value)


async def test_kubectl_uses_a_custom_kind_as_any_other(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=orjson.dumps(definition()).decode())
    await cluster.kubectl("wait", "--for=condition=Established", f"crd/{NAME}")
    await cluster.kubectl("apply", "-f", "-", stdin=orjson.dumps(boat()).decode())
    listed = (await cluster.kubectl("get", "bo", "-o", "wide")).out.split()
    assert listed == ["NAME", "HARBOUR", "SAILS", "tern", "East", "1"]
    assert "boat.fleet.example.com/tern" in (await cluster.kubectl("get", "all", "-o", "name")).out
    explained = (await cluster.kubectl("explain", "boats.spec.sails")).out
    assert "<integer>" in explained
    await cluster.kubectl("scale", "bo/tern", "--replicas=4")
    await cluster.kubectl("patch", "bo/tern", "--type=merge", "-p", '{"spec":{"sails":3}}')
    await cluster.kubectl("label", "bo/tern", "a=b")
    assert get(await cluster.admin.get(BOATS, "tern", "default"), "spec") == {
        "harbour": "East",
        "sails": 3,
        "crew": 4,
    }
    chosen = await cluster.kubectl("get", "bo", "--field-selector=spec.harbour=West", "-o", "name")
    assert chosen.out == ""
    await cluster.kubectl("delete", "crd", NAME)
    assert (await cluster.kubectl("get", "bo", check=False)).status == 1


async def test_defaults_pruning_and_unknown_fields(cluster: Cluster) -> None:
    await define(cluster, definition())
    given = boat(wings=2, anything={"free": 1}, labels={"a": "b"}, note=None)
    made = await cluster.admin.create(BOATS, given)
    assert made["spec"] == {
        "harbour": "East", "anything": {"free": 1}, "labels": {"a": "b"}, "note": None, "sails": 1, "crew": 2,
    }  # fmt: skip
    path = "/apis/fleet.example.com/v1/namespaces/default/boats"
    status, answer = await cluster.ask("POST", f"{path}?fieldValidation=Strict", boat("gull", wings=2))
    assert (status, answer["message"].split(": ", 1)[1]) == (
        400,
        'strict decoding error: unknown field "spec.wings"',
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"harbour": "North"}, 'spec.harbour: Unsupported value: "North": supported values: "East", "West"'),
        ({"sails": 0}, "spec.sails: Invalid value: 0: spec.sails in body should be greater than or equal to 1"),
        ({"sails": "two"}, 'spec.sails: Invalid value: "string": spec.sails in body must be of type integer: "string"'),
        ({"title": "a" * 11}, "spec.title: Too long: may not be more than 10 bytes"),
        ({"title": "A"}, "spec.title: Invalid value: \"A\": spec.title in body should match '^[a-z]+$'"),
        ({"draught": True}, 'spec.draught in body must be of type integer,string: "boolean"'),
        ({"harbour": None}, "spec.harbour: Required value"),
        ({"flags": ["a", "b", "a"]}, 'spec.flags[2]: Duplicate value: "a"'),
        ({"cargo": [{"kind": "a"}, {"kind": "a"}]}, 'spec.cargo[1]: Duplicate value: {"kind":"a"}'),
        ({"sails": 9}, "spec: Invalid value: too few hands for the sails"),
    ],
)  # fmt: skip
async def test_faults_are_told_in_upstreams_words(cluster: Cluster, spec: Object, message: str) -> None:
    await define(cluster, definition())
    assert message in await refused(cluster.admin.create(BOATS, boat(**spec)))


async def test_transition_rules_compare_with_the_old_object(cluster: Cluster) -> None:
    await define(cluster, definition())
    await cluster.admin.create(BOATS, boat(harbour="West"))
    moved = cluster.admin.patch(BOATS, "tern", "default", {"spec": {"harbour": "East"}})
    assert "spec.harbour: Forbidden: nobody leaves West" in await refused(moved)
    await cluster.admin.create(BOATS, boat("gull"))
    left = cluster.admin.patch(BOATS, "gull", "default", {"spec": {"harbour": "West", "crew": 0, "sails": 1}})
    assert "no crew to leave East" in await refused(left)


async def test_a_new_limit_spares_what_does_not_change(cluster: Cluster) -> None:
    await define(cluster, definition())
    await cluster.admin.create(BOATS, boat(title="abcdefghij"))
    found = await cluster.admin.get(CRDS, NAME)
    stricter = orjson.loads(orjson.dumps(found))
    spec = stricter["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["title"]["maxLength"] = 3
    await cluster.admin.update(CRDS, stricter)
    for _ in range(500):
        if await too_long(cluster):
            break
        await cluster.admin.delete(BOATS, "x", "default")
        await asyncio.sleep(0.01)
    changed = await cluster.admin.patch(BOATS, "tern", "default", {"spec": {"crew": 5}})
    assert changed["spec"]["title"] == "abcdefghij"
    assert "Too long" in await refused(
        cluster.admin.patch(BOATS, "tern", "default", {"spec": {"title": "abcde"}})
    )


async def too_long(cluster: Cluster) -> bool:
    await asyncio.sleep(0.01)  # what follows definitions gets its turn
    try:
        await cluster.admin.create(BOATS, boat("x", title="abcd"))
    except ApiError as e:
        return "Too long" in str(e)
    return False


async def test_status_and_generation(cluster: Cluster) -> None:
    await define(cluster, definition())
    made = await cluster.admin.create(BOATS, {**boat(), "status": {"afloat": True}})
    assert "status" not in made
    afloat = await cluster.admin.patch(
        BOATS, "tern", "default", {"status": {"afloat": True}}, subresource="status"
    )
    assert (afloat["status"], afloat["metadata"]["generation"]) == ({"afloat": True}, 1)
    changed = await cluster.admin.patch(BOATS, "tern", "default", {"spec": {"crew": 3}})
    assert (changed["status"], changed["metadata"]["generation"]) == ({"afloat": True}, 2)


async def test_versions_are_one_object_in_several_forms(cluster: Cluster) -> None:
    old = version("v1beta1", deprecated=True)
    await define(cluster, definition(version(), old))
    await cluster.admin.create("boats.v1beta1.fleet.example.com", boat(version="v1beta1"))
    assert (await cluster.admin.get(BOATS, "tern", "default"))["apiVersion"] == "fleet.example.com/v1"
    ran = await cluster.kubectl(
        "get", "boats.v1beta1.fleet.example.com", "tern", "-o", "jsonpath={.apiVersion}"
    )
    assert ran.out == "fleet.example.com/v1beta1"
    assert "fleet.example.com/v1beta1 Boat is deprecated" in ran.err


async def test_names_that_are_taken_are_refused_until_they_are_free(cluster: Cluster) -> None:
    await define(cluster, definition())
    second = definition(plural="dinghies", kind="Boat")
    second["metadata"]["name"] = "dinghies.fleet.example.com"
    await cluster.admin.create(CRDS, second)
    found = await until(cluster, "dinghies.fleet.example.com", "NamesAccepted", "False")
    reasons = {c["type"]: (c["reason"], c["message"]) for c in found["status"]["conditions"]}
    assert reasons["NamesAccepted"] == ("ListKindConflict", '"BoatList" is already in use')
    await cluster.admin.delete(CRDS, NAME)
    await until(cluster, "dinghies.fleet.example.com", "Established", "True")


async def test_a_definition_goes_once_its_objects_are_gone(cluster: Cluster) -> None:
    await define(cluster, definition())
    held = boat()
    held["metadata"]["finalizers"] = ["example.com/anchor"]
    await cluster.admin.create(BOATS, held)
    await cluster.admin.delete(CRDS, NAME)
    await until(cluster, NAME, "Terminating", "True")
    assert (await cluster.admin.get(BOATS, "tern", "default"))["metadata"]["deletionTimestamp"]
    await cluster.admin.patch(BOATS, "tern", "default", {"metadata": {"finalizers": None}})
    async with asyncio.timeout(10):
        async for change in cluster.admin.watch(CRDS):
            if change.type == "DELETED":
                break


async def test_server_side_apply_knows_the_schema(cluster: Cluster) -> None:
    await define(cluster, definition())
    one, other = boat(cargo=[{"kind": "tea", "tons": 1}]), boat(cargo=[{"kind": "salt", "tons": 2}])
    for manager, wanted in (("a", one), ("b", other)):
        found = await cluster.admin.patch(BOATS, "tern", "default", wanted, type="apply", manager=manager)
    assert [c["kind"] for c in found["spec"]["cargo"]] == ["tea", "salt"]
    clash = boat(cargo=[{"kind": "tea", "tons": 9}])
    answer = await refused(cluster.admin.patch(BOATS, "tern", "default", clash, type="apply", manager="b"))
    assert '.spec.cargo[kind="tea"].tons' in answer


async def test_discovery_and_openapi_follow(cluster: Cluster) -> None:
    _, before = await cluster.ask("GET", "/openapi/v3")
    await define(cluster, definition())
    status, found = await cluster.ask("GET", "/apis/fleet.example.com/v1")
    assert (status, [r["name"] for r in found["resources"]]) == (
        200,
        ["boats", "boats/status", "boats/scale"],
    )
    _, after = await cluster.ask("GET", "/openapi/v3")
    assert set(after["paths"]) - set(before["paths"]) == {"apis/fleet.example.com/v1"}
    _, document = await cluster.ask("GET", after["paths"]["apis/fleet.example.com/v1"]["serverRelativeURL"])
    assert "com.example.fleet.v1.Boat" in document["components"]["schemas"]
