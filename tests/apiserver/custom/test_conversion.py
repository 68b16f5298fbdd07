"""Versions of a custom kind between which a webhook converts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.conftest import Cluster
from tests.apiserver.custom.boats import boat, definition, version
from tests.apiserver.custom.test_definitions import define, refused
from tests.apiserver.dynamic.programs import Program, program

from sampan.machinery.objects import Object, get

OLD, NEW = "boats.v1beta1.fleet.example.com", "boats.fleet.example.com"


def converted(request: Object) -> Object:
    """v1beta1 has the harbour as `spec.port`."""
    wanted = request["desiredAPIVersion"]
    made = []
    for obj in request["objects"]:
        spec = dict(obj["spec"])
        before, after = ("port", "harbour") if wanted.endswith("/v1") else ("harbour", "port")
        if before in spec:
            spec[after] = spec.pop(before)
        made.append({**obj, "apiVersion": wanted, "spec": spec})
    return {"convertedObjects": made, "result": {"status": "Success"}}


def with_webhook(hook: Program) -> Object:
    loose = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    old = version("v1beta1", schema={"openAPIV3Schema": loose}, selectableFields=[])
    found = definition(version(), old)
    found["spec"]["conversion"] = {
        "strategy": "Webhook",
        "webhook": {"clientConfig": hook.config("/convert"), "conversionReviewVersions": ["v1"]},
    }
    return found


@pytest.fixture
async def hook(cluster: Cluster) -> Any:
    async with program(cluster.pki) as found:
        found.answers["/convert"] = converted
        await define(cluster, with_webhook(found))
        yield found


async def test_an_object_is_read_and_written_in_either_version(cluster: Cluster, hook: Program) -> None:
    await cluster.admin.create(NEW, boat())
    old = await cluster.admin.get(OLD, "tern", "default")
    assert (old["apiVersion"], old["spec"]["port"]) == ("fleet.example.com/v1beta1", "East")
    await cluster.admin.patch(OLD, "tern", "default", {"spec": {"port": "West"}})
    assert get(await cluster.admin.get(NEW, "tern", "default"), "spec.harbour") == "West"
    second = boat("gull", "v1beta1", port="East")
    del second["spec"]["harbour"]
    await cluster.admin.create(OLD, second)
    listed = (await cluster.admin.list(NEW, "default")).items
    assert [get(b, "spec.harbour") for b in listed] == ["East", "West"]
    ran = await cluster.kubectl("get", OLD, "-o", "jsonpath={.items[*].spec.port}")
    assert ran.out == "East West"


async def test_a_watch_in_one_version_sees_writes_in_the_other(cluster: Cluster, hook: Program) -> None:
    await cluster.admin.create(NEW, boat())
    seen = []
    async for change in cluster.admin.watch(OLD, "default"):
        if change.type == "BOOKMARK":
            await cluster.admin.patch(NEW, "tern", "default", {"spec": {"crew": 7}})
            continue
        seen.append((change.type, change.object["apiVersion"], get(change.object, "spec.crew")))
        if len(seen) == 2:
            break
    assert seen == [("ADDED", "fleet.example.com/v1beta1", 2), ("MODIFIED", "fleet.example.com/v1beta1", 7)]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"result": {"status": "Failure", "message": "cannot"}}, "Kind=Boat failed: cannot"),
        ({"convertedObjects": [], "result": {"status": "Success"}}, "returned 0 objects, expected 1"),
        (
            {"convertedObjects": [{"metadata": {}}], "result": {"status": "Success"}},
            "returned invalid converted object at index 0: invalid groupVersion",
        ),
    ],
)
async def test_a_webhook_that_fails_is_named(
    cluster: Cluster, hook: Program, answer: Object, message: str
) -> None:
    await cluster.admin.create(NEW, boat())
    hook.answers["/convert"] = lambda request: answer
    said = await refused(cluster.admin.get(OLD, "tern", "default"))
    assert said.startswith("Internal error occurred: conversion webhook for fleet.example.com/v1, ")
    assert message in said
