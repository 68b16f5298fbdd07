"""Custom kinds take part in the collection of garbage and in the deletion of namespaces, while they are defined."""

from __future__ import annotations

from typing import Any

from tests.controllers.running import cluster

from sampan.machinery.objects import Object

CRDS = "customresourcedefinitions.apiextensions.k8s.io"
BOATS = "boats.example.com"
SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
DEFINITION: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": BOATS},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "boats", "kind": "Boat"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}}],
    },
}


def established(found: Object | None) -> bool:
    listed = (found or {}).get("status", {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in listed)


def gone(found: Object | None) -> bool:
    return found is None


def boat(name: str, namespace: str = "default", **meta: Any) -> Object:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Boat",
        "metadata": {"name": name, "namespace": namespace, **meta},
    }


async def test_what_a_custom_object_owns_goes_with_it_and_the_other_way_round() -> None:
    async with cluster("n1") as c:
        await c.admin.create(CRDS, DEFINITION)
        await c.until(CRDS, BOATS, established, "")
        owner = await c.admin.create(BOATS, boat("tern"))
        ref = {
            "apiVersion": "example.com/v1",
            "kind": "Boat",
            "name": "tern",
            "uid": owner["metadata"]["uid"],
        }
        await c.admin.create(BOATS, boat("dinghy", ownerReferences=[ref]))
        owned = {"name": "log", "namespace": "default", "ownerReferences": [ref]}
        await c.admin.create("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": owned})
        await c.until("configmaps", "log", bool)
        await c.admin.delete(BOATS, "tern", "default", propagation="Foreground")
        await c.until("configmaps", "log", gone)
        await c.until(BOATS, "tern", gone)
        await c.until(BOATS, "dinghy", gone)


async def test_a_namespace_goes_with_its_custom_objects() -> None:
    async with cluster("n1") as c:
        await c.admin.create(CRDS, DEFINITION)
        await c.until(CRDS, BOATS, established, "")
        await c.admin.create(
            "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "sea"}}
        )
        await c.admin.create(BOATS, boat("tern", "sea"))
        await c.until("namespaces", "sea", bool, "")
        await c.admin.delete("namespaces", "sea")
        await c.until("namespaces", "sea", gone, "")
        assert not (await c.admin.list(BOATS)).items
