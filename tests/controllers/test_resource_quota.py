"""ResourceQuotas: what is counted, and what wakes the count."""

from __future__ import annotations

from typing import Any

from tests.controllers.running import cluster
from tests.controllers.simulation import workload

from sampan.controllers import resource_quota
from sampan.controllers.resource_quota import Observed
from sampan.machinery import quota
from sampan.machinery.objects import Object


def of(hard: Object, **spec: Any) -> Object:
    meta = {"name": "q", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": hard, **spec}}


def pod(phase: str = "Running", requests: Object | None = None, **spec: Any) -> Object:
    containers = [{"name": "c", "resources": {"requests": requests or {}}}]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}, "status": {"phase": phase}}


def counted(found: Object, **objects: list[Object]) -> Object:
    plan = resource_quota.decide(Observed(found, {k: tuple(v) for k, v in objects.items()}), 0.0)
    patched: Object = plan.actions[0].patch["status"]  # type: ignore[union-attr]
    return patched


def test_pods_that_have_ended_use_nothing_but_their_place_in_the_store() -> None:
    pods = [pod(requests={"cpu": "500m"}), pod(requests={"cpu": "1"}), pod("Failed", {"cpu": "9"})]
    hard = {"pods": "5", "requests.cpu": "4", "count/pods": "9"}
    assert counted(of(hard), pods=pods) == {
        "hard": hard,
        "used": {"pods": "2", "requests.cpu": "1500m", "count/pods": "3"},
    }


def test_scopes_choose_among_pods() -> None:
    pods = [pod(), pod(requests={"cpu": "1"}), pod(priorityClassName="high", activeDeadlineSeconds=5)]
    assert counted(of({"pods": "9"}, scopes=["NotTerminating"]), pods=pods)["used"] == {"pods": "2"}
    assert counted(of({"pods": "9"}, scopes=["BestEffort"]), pods=pods)["used"] == {"pods": "2"}
    chosen = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    selector = {"matchExpressions": [chosen]}
    assert counted(of({"pods": "9"}, scopeSelector=selector), pods=pods)["used"] == {"pods": "1"}


def test_extended_resources_and_storage_classes() -> None:
    gpu = pod(requests={"example.com/gpu": "2"})
    size = {"requests": {"storage": "1.5Gi"}}
    claim = {"metadata": {"name": "c"}, "spec": {"storageClassName": "fast", "resources": size}}
    fast = "fast.storageclass.storage.k8s.io/requests.storage"
    hard = {"requests.example.com/gpu": "4", fast: "10Gi", "persistentvolumeclaims": "3"}
    assert counted(of(hard), pods=[gpu], persistentvolumeclaims=[claim])["used"] == {
        "requests.example.com/gpu": "2",
        fast: "1536Mi",
        "persistentvolumeclaims": "1",
    }


def test_a_count_that_stands_is_not_written_again() -> None:
    found = {**of({"pods": "1"}), "status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}}
    plan = resource_quota.decide(Observed(found, {"pods": ()}), 0.0)
    assert plan.actions == ()
    assert plan.again == resource_quota.RESYNC


def test_names_say_their_resource() -> None:
    names = (
        "count/deployments.apps",
        "services.nodeports",
        "gold.storageclass.storage.k8s.io/requests.storage",
    )
    found = [quota.resource_of(n) for n in (*names, "secrets", "limits.cpu")]
    assert found == ["deployments.apps", "services", "persistentvolumeclaims", "secrets", "pods"]


async def test_a_replicaset_fills_a_quota_and_what_goes_makes_room() -> None:
    async with cluster("n1") as c:
        await c.admin.create("resourcequotas", of({"pods": "2", "count/replicasets.apps": "1"}))

        def uses(pods: str, sets: str) -> Any:
            wanted = {"pods": pods, "count/replicasets.apps": sets}
            return lambda q: q and q.get("status", {}).get("used") == wanted

        await c.until("resourcequotas", "q", uses("0", "0"))
        await c.admin.create("replicasets.apps", workload("ReplicaSet", "web", replicas=3))
        await c.until("resourcequotas", "q", uses("2", "1"))

        def failing(found: Object | None) -> list[str]:
            return [c["reason"] for c in (found or {}).get("status", {}).get("conditions", ())]

        await c.until("replicasets.apps", "web", lambda rs: failing(rs) == ["FailedCreate"])
        await c.admin.patch("replicasets.apps", "web", "default", {"spec": {"replicas": 1}})
        await c.until("resourcequotas", "q", uses("1", "1"))
        await c.until("replicasets.apps", "web", lambda rs: failing(rs) == [])
        told = [m for r, m, _ in await c.events("web") if r == "FailedCreate"]
        assert any("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2" in m for m in told)
