"""The controllers on a real API server, through its authorization, admission and validation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
from tests.controllers.running import cluster
from tests.controllers.simulation import template, workload

from sampan.machinery.objects import Key, Object

WAITS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": "local-path",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": "sampan.io/local-path",
    "volumeBindingMode": "WaitForFirstConsumer",
}


@pytest.fixture(autouse=True)
def _nothing_is_refused(caplog: pytest.LogCaptureFixture) -> object:
    """Whatever a test does, no controller lacks a permission or fails."""
    yield
    told = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.WARNING]
    assert not told


def rolled_out(d: Object | None) -> bool:
    status = (d or {}).get("status", {})
    generation = (d or {"metadata": {"generation": 0}})["metadata"]["generation"]
    reasons = [c["reason"] for c in status.get("conditions", ()) if c["type"] == "Progressing"]
    return status.get("observedGeneration") == generation and reasons == ["NewReplicaSetAvailable"]


def gone(obj: Object | None) -> bool:
    return obj is None


async def test_a_deployment_with_its_service_from_creation_to_deletion() -> None:
    async with cluster("n1", "n2") as c:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }
        await c.admin.create("services", service)
        await c.admin.create("deployments.apps", workload("Deployment", "web", replicas=3))
        await c.until("deployments.apps", "web", rolled_out)
        change = {"spec": {"template": template("web", "v2")}}
        await c.admin.patch("deployments.apps", "web", "default", change)
        await c.until(
            "deployments.apps", "web", lambda d: rolled_out(d) and d and d["metadata"]["generation"] == 2
        )
        pods = (await c.admin.list("pods", "default")).items
        running = [p for p in pods if "deletionTimestamp" not in p["metadata"]]
        assert [p["spec"]["containers"][0]["image"] for p in running] == ["v2"] * 3
        assert {p["spec"]["nodeName"] for p in running} == {"n1", "n2"}
        (found,) = (
            await c.admin.list(
                "endpointslices.discovery.k8s.io", "default", labels="kubernetes.io/service-name=web"
            )
        ).items
        name = found["metadata"]["name"]
        await c.until(
            "endpointslices.discovery.k8s.io",
            name,
            lambda s: s and [e["conditions"]["ready"] for e in s["endpoints"]] == [True] * 3,
        )
        assert found["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
        await c.admin.delete("deployments.apps", "web", "default", propagation="Foreground")
        await c.until("deployments.apps", "web", gone)
        assert not (await c.admin.list("pods", "default")).items
        assert not (await c.admin.list("replicasets.apps", "default")).items


async def test_a_replication_controller_keeps_its_pods_and_lets_go_of_those_that_do_not_fit() -> None:
    async with cluster("n1") as c:
        spec = {"replicas": 2, "template": template("web")}
        meta = {"name": "web", "namespace": "default"}
        rc = {"apiVersion": "v1", "kind": "ReplicationController", "metadata": meta, "spec": spec}
        await c.admin.create("replicationcontrollers", rc)

        def counts(ready: int) -> Callable[[Object | None], bool]:
            return lambda rc: bool(rc) and (rc or {}).get("status", {}).get("readyReplicas", 0) == ready

        await c.until("replicationcontrollers", "web", counts(2))
        (first, _) = (await c.admin.list("pods", "default", labels="app=web")).items
        other = {"metadata": {"labels": {"app": "other"}}}
        await c.admin.patch("pods", first["metadata"]["name"], "default", other)
        await c.until_all("pods", lambda pods: len(pods) == 3)
        freed = await c.admin.get("pods", first["metadata"]["name"], "default")
        assert not freed["metadata"].get("ownerReferences")
        await c.admin.patch(
            "replicationcontrollers", "web", "default", {"spec": {"replicas": 0}}, subresource="scale"
        )
        await c.until("replicationcontrollers", "web", counts(0))
        await c.until_all("pods", lambda pods: len(pods) == 1)


async def test_a_statefulset_gets_its_volumes_where_its_pods_are() -> None:
    async with cluster("n1", "n2") as c:
        await c.admin.create("storageclasses.storage.k8s.io", WAITS)
        claim = {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        db = workload("StatefulSet", "db", replicas=2, serviceName="db", volumeClaimTemplates=[claim])
        await c.admin.create("statefulsets.apps", db)
        await c.until(
            "statefulsets.apps", "db", lambda s: s and s.get("status", {}).get("readyReplicas") == 2
        )
        for i in range(2):
            pod = await c.admin.get("pods", f"db-{i}", "default")
            bound = await c.admin.get("persistentvolumeclaims", f"data-db-{i}", "default")
            volume = await c.admin.get("persistentvolumes", bound["spec"]["volumeName"])
            assert f"/nodes/{pod['spec']['nodeName']}/volumes/" in volume["spec"]["local"]["path"]
        await c.admin.patch("statefulsets.apps", "db", "default", {"spec": {"replicas": 0}})
        await c.until("pods", "db-0", gone)
        # The claims outlive the pods; a deleted claim takes its volume along.
        await c.admin.delete("persistentvolumeclaims", "data-db-0", "default")
        await c.until("persistentvolumeclaims", "data-db-0", gone)
        await c.until(
            "persistentvolumes",
            volume["metadata"]["name"],
            lambda v: v and v["status"]["phase"] == "Bound",
            "",
        )


async def test_a_job_counts_its_pods_once_and_lets_them_go() -> None:
    async with cluster("n1") as c:
        meta = {"name": "migrate", "namespace": "default"}
        spec = {"completions": 5, "parallelism": 2, "template": template("migrate", restartPolicy="Never")}
        await c.admin.create(
            "jobs.batch", {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}
        )
        await c.until(
            "jobs.batch",
            "migrate",
            lambda j: j and any(x["type"] == "Complete" for x in j.get("status", {}).get("conditions", ())),
        )
        job = await c.admin.get("jobs.batch", "migrate", "default")
        assert job["status"]["succeeded"] == 5
        assert "failed" not in job["status"]
        pods = (await c.admin.list("pods", "default")).items
        assert len(pods) == 5
        await c.admin.delete("jobs.batch", "migrate", "default", propagation="Background")
        for pod in pods:
            await c.until("pods", pod["metadata"]["name"], gone)


async def test_a_namespace_goes_with_all_that_it_holds() -> None:
    async with cluster("n1") as c:
        await c.admin.create(
            "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        )
        await c.until("serviceaccounts", "default", bool, "shop")
        await c.until(
            "configmaps", "kube-root-ca.crt", lambda m: m and m["data"] == {"ca.crt": "the CA"}, "shop"
        )
        made = workload("Deployment", "web", replicas=2)
        made["metadata"]["namespace"] = "shop"
        await c.admin.create("deployments.apps", made)
        await c.until("deployments.apps", "web", rolled_out, "shop")
        await c.admin.delete("namespaces", "shop")
        await c.until("namespaces", "shop", gone, "")
        assert not (await c.admin.list("pods", "shop")).items
        assert not (await c.admin.list("events", "shop")).items


async def test_every_node_gets_a_range_of_its_own() -> None:
    async with cluster() as c:
        await asyncio.gather(*(c.node(f"n{i}") for i in range(5)))
        for i in range(5):
            await c.until("nodes", f"n{i}", lambda n: n and n["spec"].get("podCIDR"), "")
        ranges = [n["spec"]["podCIDR"] for n in (await c.admin.list("nodes")).items]
        assert sorted(ranges) == [f"10.64.{i}.0/24" for i in range(5)]


async def test_what_belongs_to_an_absent_owner_is_deleted() -> None:
    async with cluster() as c:
        lost = {
            "apiVersion": "v1",
            "kind": "Secret",
            "name": "never",
            "uid": "00000000-0000-0000-0000-000000000000",
        }
        meta = {"name": "orphan", "namespace": "default", "ownerReferences": [lost]}
        await c.admin.create("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
        await c.until("configmaps", "orphan", gone)


def owned(name: str, *owners: Object) -> Object:
    meta: Object = {"name": name, "namespace": "default"}
    meta["ownerReferences"] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        for owner in owners
    ]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


async def test_what_another_owner_holds_outlives_a_foreground_deletion() -> None:
    async with cluster() as c:
        first, second = [await c.admin.create("configmaps", owned(name)) for name in ("first", "second")]
        await c.admin.create("configmaps", owned("both", first, second))
        await c.admin.create("configmaps", owned("one", first))
        await c.until("configmaps", "one", bool)
        await c.admin.delete("configmaps", "first", "default", propagation="Foreground")
        await c.until("configmaps", "first", gone)
        assert gone(c.informers.get("configmaps", Key("default", "one")))
        kept = await c.admin.get("configmaps", "both", "default")
        assert [ref["name"] for ref in kept["metadata"]["ownerReferences"]] == ["second"]


async def test_owners_in_a_circle_go_all_the_same() -> None:
    async with cluster() as c:
        a = await c.admin.create("configmaps", owned("a"))
        b = await c.admin.create("configmaps", owned("b", a))
        last = await c.admin.create("configmaps", owned("c", b))
        circle = owned("a", last)["metadata"]["ownerReferences"]
        await c.admin.patch("configmaps", "a", "default", {"metadata": {"ownerReferences": circle}})
        await c.until("configmaps", "c", bool)
        await c.admin.delete("configmaps", "a", "default", propagation="Foreground")
        for name in "abc":
            await c.until("configmaps", name, gone)


async def test_a_disruption_budget_counts_what_may_be_evicted() -> None:
    async with cluster("n1") as c:
        await c.admin.create("deployments.apps", workload("Deployment", "web", replicas=3))
        budget = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
        }
        await c.admin.create("poddisruptionbudgets.policy", budget)
        await c.until(
            "poddisruptionbudgets.policy",
            "web",
            lambda b: b and b.get("status", {}).get("disruptionsAllowed") == 1,
        )
