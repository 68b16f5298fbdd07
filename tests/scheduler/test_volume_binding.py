"""Volumes that are bound once their pod's node is chosen, on a real API server with its volume controllers."""

from __future__ import annotations

from typing import Any

from tests.controllers.running import Cluster, cluster
from tests.scheduler.test_preemption import bound

from sampan.machinery.objects import Object

SELECTED = "volume.kubernetes.io/selected-node"


def local(name: str, node: str, size: str = "1Gi") -> Object:
    """A volume on one node's disk."""
    host = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local",
            "local": {"path": "/data"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
        },
    }


def claim(name: str, storage_class: str = "local") -> Object:
    resources = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": storage_class, "resources": resources}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


def pod(name: str, *claims: str) -> Object:
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    spec = {"containers": [{"name": "c", "image": "i"}], "volumes": volumes}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


async def late_class(c: Cluster, name: str, provisioner: str = "kubernetes.io/no-provisioner") -> None:
    made = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
    late = {"provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"}
    await c.admin.create("storageclasses.storage.k8s.io", {**made, **late})


async def disks(c: Cluster, *volumes: Object) -> None:
    """Make volumes, and wait until they are known to be free."""
    for volume in volumes:
        await c.admin.create("persistentvolumes", volume)
        name = volume["metadata"]["name"]
        await c.until("persistentvolumes", name, lambda v: v and v["status"].get("phase") == "Available", "")


async def node_of(c: Cluster, name: str) -> str:
    await bound(c, name)
    return str((await c.admin.get("pods", name, "default"))["spec"]["nodeName"])


async def volume_of(c: Cluster, name: str) -> str:
    return str((await c.admin.get("persistentvolumeclaims", name, "default"))["spec"]["volumeName"])


def told(text: str) -> Any:
    return lambda p: p and text in str((p.get("status") or {}).get("conditions"))


async def test_a_pod_goes_where_a_free_volume_is_and_gets_the_smallest() -> None:
    async with cluster("n1", "n2") as c:
        await late_class(c, "local")
        await disks(c, local("large", "n2", "5Gi"), local("small", "n2", "2Gi"))
        await c.admin.create("persistentvolumeclaims", claim("data"))
        await c.admin.create("pods", pod("web", "data"))
        assert await node_of(c, "web") == "n2"
        assert await volume_of(c, "data") == "small"


async def test_pods_that_come_together_do_not_get_the_same_volume() -> None:
    async with cluster("n1", "n2") as c:
        await late_class(c, "local")
        await disks(c, local("disk-1", "n1"), local("disk-2", "n2"))
        for n in range(3):
            await c.admin.create("persistentvolumeclaims", claim(f"data-{n}"))
        for n in range(3):
            await c.admin.create("pods", pod(f"web-{n}", f"data-{n}"))
        await bound(c, "web-0")
        await bound(c, "web-1")
        assert {await volume_of(c, "data-0"), await volume_of(c, "data-1")} == {"disk-1", "disk-2"}
        why = "2 node(s) didn't find available persistent volumes to bind"
        await c.until("pods", "web-2", told(why))
        await c.admin.create("persistentvolumes", local("disk-3", "n1"))
        assert await node_of(c, "web-2") == "n1"


async def test_a_pod_with_two_claims_needs_both_on_one_node() -> None:
    async with cluster("n1", "n2") as c:
        await late_class(c, "local")
        await disks(c, local("a", "n1"), local("b", "n2"), local("c", "n2"))
        for name in ("data", "log"):
            await c.admin.create("persistentvolumeclaims", claim(name))
        await c.admin.create("pods", pod("db", "data", "log"))
        assert await node_of(c, "db") == "n2"
        assert {await volume_of(c, "data"), await volume_of(c, "log")} == {"b", "c"}


async def test_a_provisioner_that_fails_sends_the_pod_elsewhere() -> None:
    """The provisioner of n1 takes the note of the selected node away again, as one does that has no space."""
    async with cluster("n1", "n2") as c:
        await late_class(c, "made", "example.com/made")
        await c.admin.create("persistentvolumeclaims", claim("data", "made"))
        await c.admin.create("pods", pod("web", "data"))
        await c.until("persistentvolumeclaims", "data", lambda x: x and SELECTED in notes(x))
        first = notes(await c.admin.get("persistentvolumeclaims", "data", "default"))[SELECTED]
        await c.admin.patch("nodes", first, "", {"spec": {"unschedulable": True}})
        note = {"metadata": {"annotations": {SELECTED: None}}}
        await c.admin.patch("persistentvolumeclaims", "data", "default", note)
        await c.until("pods", "web", told('provisioning failed for PVC "data"'))
        other = {"n1": "n2", "n2": "n1"}[first]
        await c.until("persistentvolumeclaims", "data", lambda x: x and notes(x).get(SELECTED) == other)
        volume = local("made-1", other)
        volume["spec"] |= {"storageClassName": "made", "claimRef": await reference(c, "data")}
        await c.admin.create("persistentvolumes", volume)
        assert await node_of(c, "web") == other


def notes(obj: Object) -> Object:
    return obj["metadata"].get("annotations") or {}


async def reference(c: Cluster, name: str) -> Object:
    found = await c.admin.get("persistentvolumeclaims", name, "default")
    meta = found["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": "default",
        "name": name,
        "uid": meta["uid"],
    }


async def test_a_missing_claim_is_said_and_waited_for() -> None:
    async with cluster("n1") as c:
        await late_class(c, "local")
        await c.admin.create("persistentvolumes", local("disk", "n1"))
        await c.admin.create("pods", pod("web", "data"))
        await c.until("pods", "web", told('persistentvolumeclaim "data" not found'))
        await c.admin.create("persistentvolumeclaims", claim("data"))
        assert await node_of(c, "web") == "n1"
