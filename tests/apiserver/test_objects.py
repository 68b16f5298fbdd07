"""What is special about some kinds: namespaces, pods' grace, services' addresses, bindings, budgets, jobs."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.apiserver.addresses import Services, Taken
from sampan.apiserver.deletion import Wish, decide
from sampan.apiserver.housekeeping import tidy
from sampan.apiserver.server import ApiServer
from sampan.client.api import ApiError
from sampan.kinds import registry
from sampan.machinery.objects import Object
from sampan.store.memory import Memory

from .conftest import Cluster
from .test_access import pod, refused


def service(name: str, **spec: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"port": 80}], **spec},
    }


# Deletion, as a decision

POD = registry.find("pods")


def running(**meta: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "uid": "u", **meta},
        "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30},
        "status": {"phase": "Running"},
    }


def test_a_running_pod_gets_its_grace() -> None:
    kept = decide(POD, running(), Wish(), 1000.0)
    assert kept
    assert kept["metadata"]["deletionGracePeriodSeconds"] == 30
    assert kept["metadata"]["deletionTimestamp"] == "1970-01-01T00:17:10Z"


def test_grace_can_be_shortened_but_not_lengthened() -> None:
    ending = decide(POD, running(), Wish(), 1000.0)
    assert ending
    shorter = decide(POD, ending, Wish(grace=5), 1010.0)
    assert shorter
    assert shorter["metadata"]["deletionTimestamp"] == "1970-01-01T00:16:45Z"
    assert decide(POD, ending, Wish(grace=60), 1010.0) == ending


@pytest.mark.parametrize("change", [{"spec": {}}, {"status": {"phase": "Failed"}}])
def test_a_pod_that_runs_nowhere_goes_at_once(change: Object) -> None:
    assert decide(POD, {**running(), **change}, Wish(), 0.0) is None


def test_grace_zero_ends_a_pod() -> None:
    assert decide(POD, running(), Wish(grace=0), 0.0) is None


def test_propagation_is_a_finalizer() -> None:
    kind = registry.find("replicasets.apps")
    obj: Object = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r", "uid": "u"}}
    orphan = decide(kind, obj, Wish(propagation="Orphan"), 0.0)
    foreground = decide(kind, obj, Wish(propagation="Foreground"), 0.0)
    assert orphan
    assert orphan["metadata"]["finalizers"] == ["orphan"]
    assert foreground
    assert foreground["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert decide(kind, foreground, Wish(propagation="Background"), 0.0) is None


@given(
    st.lists(st.sampled_from(["example.com/a", "example.com/b"]), unique=True),
    st.sampled_from(["", "Background", "Foreground", "Orphan"]),
)
def test_no_delete_drops_what_others_hold(finalizers: list[str], propagation: str) -> None:
    kept = decide(POD, running(finalizers=finalizers), Wish(0, propagation), 0.0)
    assert set(finalizers) <= set(kept["metadata"].get("finalizers", []) if kept else [])


# Namespaces


async def test_a_namespace_goes_when_its_finalizer_is_done(cluster: Cluster) -> None:
    admin = cluster.admin
    await admin.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}})
    going = await admin.delete("namespaces", "x")
    assert going["status"]["phase"] == "Terminating"
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "x"}}
    late = await refused(admin.create("configmaps", obj))
    assert (late.code, late.status["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    assert (await refused(admin.delete("namespaces", "x"))).code == 409
    await admin.update("namespaces", {**going, "spec": {"finalizers": []}}, subresource="finalize")
    assert (await refused(admin.get("namespaces", "x"))).code == 404


# Services


async def test_services_get_addresses_and_ports_that_nobody_else_has(cluster: Cluster) -> None:
    made = await asyncio.gather(
        *(cluster.admin.create("services", service(f"s{n}", type="NodePort")) for n in range(50))
    )
    assert len({s["spec"]["clusterIP"] for s in made}) == 50
    assert len({s["spec"]["ports"][0]["nodePort"] for s in made}) == 50


async def test_addresses_survive_a_restart_and_come_free_with_the_service(cluster: Cluster) -> None:
    admin = cluster.admin
    await admin.create("services", service("a", clusterIP="10.65.0.77"))
    again = ApiServer(cluster.store, cluster.api.settings)
    await again.start()
    other = again.local("kubernetes-admin", ("system:masters",))
    taken = await refused(other.create("services", service("b", clusterIP="10.65.0.77")))
    assert "provided IP is already allocated" in str(taken)
    await admin.delete("services", "a", "default")
    await asyncio.sleep(0)
    await other.create("services", service("b", clusterIP="10.65.0.77"))
    await again.close()


@pytest.mark.parametrize("kind", ["services", "endpointslices.discovery.k8s.io"])
async def test_the_service_kubernetes_comes_back(cluster: Cluster, kind: str) -> None:
    first = await cluster.admin.get(kind, "kubernetes", "default")
    await cluster.admin.delete(kind, "kubernetes", "default")
    async with asyncio.timeout(10):
        async for change in cluster.admin.watch(kind, "default", fields="metadata.name=kubernetes"):
            if change.type == "ADDED" and change.object["metadata"]["uid"] != first["metadata"]["uid"]:
                break
    again = change.object
    assert again.get("spec") == first.get("spec")
    assert again.get("endpoints") == first.get("endpoints")


async def test_a_write_that_fails_gives_its_address_back(cluster: Cluster) -> None:
    wrong = service("a", clusterIP="10.65.0.77")
    wrong["spec"]["ports"] = [{"port": 99999}]
    assert (await refused(cluster.admin.create("services", wrong))).code == 422
    await cluster.admin.create("services", service("a", clusterIP="10.65.0.77"))


async def test_headless_and_external_services_have_no_address(cluster: Cluster) -> None:
    headless = await cluster.admin.create("services", service("h", clusterIP="None"))
    assert headless["spec"]["clusterIPs"] == ["None"]
    external = service("e", type="ExternalName", externalName="example.com")
    assert "clusterIP" not in (await cluster.admin.create("services", external))["spec"]


async def test_a_full_range_says_so() -> None:
    services = Services(Memory(), "10.0.0.0/30", (30000, 30001))
    await services.port("u", "TCP")
    await services.port("v", "TCP")
    with pytest.raises(Taken, match="full"):
        await services.port("w", "TCP")


# Pods


async def test_a_pod_is_bound_once(cluster: Cluster) -> None:
    await cluster.account()
    await cluster.admin.create("pods", pod("p"))
    scheduler = cluster.api.local("system:kube-scheduler")
    bind = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "p", "namespace": "default"},
        "target": {"kind": "Node", "name": "n"},
    }
    await scheduler.create("pods", bind, name="p", subresource="binding")
    found = await cluster.admin.get("pods", "p", "default")
    assert found["spec"]["nodeName"] == "n"
    assert found["status"]["conditions"][-1]["type"] == "PodScheduled"
    assert (await refused(scheduler.create("pods", bind, name="p", subresource="binding"))).code == 409


async def test_priority_comes_from_the_class(cluster: Cluster) -> None:
    await cluster.account()
    made = await cluster.admin.create("pods", pod("p", priorityClassName="system-node-critical"))
    assert made["spec"]["priority"] == 2_000_001_000
    missing = await refused(cluster.admin.create("pods", pod("q", priorityClassName="none")))
    assert "no PriorityClass with name none was found" in str(missing)


async def test_a_pod_group_has_the_priority_of_its_class(cluster: Cluster) -> None:
    rank = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "high"},
        "value": 9,
    }
    await cluster.admin.create("priorityclasses.scheduling.k8s.io", rank)
    group: Object = {
        "apiVersion": "scheduling.k8s.io/v1beta1",
        "kind": "PodGroup",
        "metadata": {"name": "gang", "namespace": "default"},
        "spec": {"schedulingPolicy": {"gang": {"minCount": 2}}, "priorityClassName": "high"},
    }
    made = await cluster.admin.create("podgroups.scheduling.k8s.io", group)
    assert made["spec"]["priority"] == 9
    other = {
        **group,
        "metadata": {"name": "other", "namespace": "default"},
        "spec": {**made["spec"], "priority": 7},
    }
    answer = await refused(cluster.admin.create("podgroups.scheduling.k8s.io", other))
    assert "must match the priority computed (9)" in str(answer)


async def test_a_json_patch_leads_into_a_status_that_is_empty_yet(cluster: Cluster) -> None:
    await cluster.admin.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    add = [{"op": "add", "path": "/status/phase", "value": "Running"}]
    patched = await cluster.admin.patch("nodes", "n", "", add, type="json", subresource="status")
    assert patched["status"]["phase"] == "Running"
    test = [{"op": "test", "path": "/metadata/name", "value": "n"}]
    await cluster.admin.patch("nodes", "n", "", test, type="json")


async def test_tolerations_that_an_update_leaves_out_are_added_again(cluster: Cluster) -> None:
    """Those that every pod gets: nobody has to know of them to replace the others."""
    admin = cluster.admin
    await cluster.account()
    made = await admin.create("pods", pod("p", "n"))
    own = {"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"}
    changed = {**made, "spec": {**made["spec"], "tolerations": [own]}}
    updated = await admin.update("pods", changed)
    assert updated["spec"]["tolerations"] == [own, *made["spec"]["tolerations"]]


async def test_a_budget_puts_an_eviction_off(cluster: Cluster) -> None:
    admin = cluster.admin
    await cluster.account()
    one = pod("p", "n")
    one["metadata"]["labels"] = {"app": "web"}
    await admin.create("pods", one)
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await admin.patch("pods", "p", "default", {"status": ready}, subresource="status")
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }
    await admin.create("poddisruptionbudgets.policy", budget)
    status = {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1}
    full = {"status": {**status, "expectedPods": 1}}
    await admin.patch("poddisruptionbudgets.policy", "b", "default", full, subresource="status")
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "p", "namespace": "default"},
    }
    no = await refused(admin.create("pods", eviction, name="p", subresource="eviction"))
    assert (no.code, no.status["details"]["causes"][0]["reason"]) == (429, "DisruptionBudget")
    allowed = {"status": {"disruptionsAllowed": 1}}
    await admin.patch("poddisruptionbudgets.policy", "b", "default", allowed, subresource="status")
    await admin.create("pods", eviction, name="p", subresource="eviction")
    evicted = await admin.get("pods", "p", "default")
    assert evicted["metadata"]["deletionTimestamp"]
    reasons = {c["type"]: c.get("reason") for c in evicted["status"]["conditions"]}
    assert reasons == {"Ready": None, "DisruptionTarget": "EvictionByEvictionAPI"}
    left = await admin.get("poddisruptionbudgets.policy", "b", "default")
    assert left["status"]["disruptionsAllowed"] == 0
    assert "p" in left["status"]["disruptedPods"]


# Housekeeping


async def test_history_is_kept_for_its_time_and_events_for_an_hour(cluster: Cluster) -> None:
    admin, store, settings = cluster.admin, cluster.store, cluster.api.settings
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Tested",
        "type": "Normal",
    }
    made = await admin.create("events", event)
    written = next(e.time for e in store._log if e.revision == int(made["metadata"]["resourceVersion"]))
    await tidy(store, settings, written + 1000)
    assert await admin.get("events", "e", "default")
    await tidy(store, settings, written + 3700)
    with pytest.raises(ApiError, match="not found"):
        await admin.get("events", "e", "default")
    await tidy(store, settings, written + settings.keep_seconds + 4000)
    assert store.oldest > 0
