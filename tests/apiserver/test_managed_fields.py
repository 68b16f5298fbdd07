"""managedFields over HTTP: every write is noted under its writer's name, as upstream notes it."""

from __future__ import annotations

from typing import Any

from sampan.machinery import fieldsets
from sampan.machinery.objects import Object

from .conftest import Cluster

BASE = "/api/v1/namespaces/default"
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "busybox:1"}]},
}
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


def owners(obj: Object) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in obj["metadata"].get("managedFields", ()):
        name = "/".join(filter(None, (entry["manager"], entry["operation"], entry.get("subresource"))))
        found[name] = sorted(map(fieldsets.worded, fieldsets.paths(entry["fieldsV1"])))
    return found


async def done(cluster: Cluster, method: str, path: str, body: Any, **headers: str) -> Object:
    status, obj = await cluster.ask(method, BASE + path, body, **headers)
    assert status < 300, obj
    return obj


async def test_the_user_agent_or_the_named_manager_owns_a_write(cluster: Cluster) -> None:
    made = await done(cluster, "POST", "/configmaps", MAP, user_agent="curl/8.1 (x)")
    assert owners(made) == {"curl/Update": [".data", ".data.a"]}
    changed = {**MAP, "data": {"a": "1", "b": "2"}}
    made = await done(cluster, "PUT", "/configmaps/m?fieldManager=tool", changed, user_agent="curl/8.1")
    assert owners(made) == {"curl/Update": [".data", ".data.a"], "tool/Update": [".data.b"]}
    patch = {"data": {"a": None}, "metadata": {"labels": {"x": "y"}}}
    made = await done(cluster, "PATCH", "/configmaps/m", patch, content_type=MERGE, user_agent="third/1")
    assert owners(made) == {
        "curl/Update": [".data"],
        "third/Update": [".metadata.labels", ".metadata.labels.x"],
        "tool/Update": [".data.b"],
    }


async def test_a_status_write_is_noted_with_its_subresource(cluster: Cluster) -> None:
    await cluster.account()
    await done(cluster, "POST", "/pods", POD, user_agent="kubectl/1")
    patch = {"status": {"phase": "Running"}}
    made = await done(cluster, "PATCH", "/pods/p/status", patch, content_type=MERGE, user_agent="kubelet/1")
    found = owners(made)
    assert found["kubelet/Update/status"] == [".status.phase"]
    assert '.spec.containers[name="c"].image' in found["kubectl/Update"]
    assert not any(path.startswith(".spec.volumes") for path in found["kubectl/Update"])


async def test_managers_are_there_for_readers_but_not_in_the_server_s_own_copies(cluster: Cluster) -> None:
    await done(cluster, "POST", "/configmaps", MAP, user_agent="curl/8.1")
    _, one = await cluster.ask("GET", BASE + "/configmaps/m")
    _, many = await cluster.ask("GET", BASE + "/configmaps")
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    _, rows = await cluster.ask("GET", BASE + "/configmaps", accept=table)
    assert owners(one) == owners(many["items"][0]) == owners(rows["rows"][0]["object"]) != {}
    ours = await cluster.admin.get("configmaps", "m", "default")
    assert "managedFields" not in ours["metadata"]
    await cluster.admin.update("configmaps", {**ours, "data": {"a": "2"}})
    _, one = await cluster.ask("GET", BASE + "/configmaps/m")
    assert owners(one) == {"curl/Update": [".data"], "kubernetes-admin/Update": [".data.a"]}


async def test_a_json_patch_may_rewrite_the_managers(cluster: Cluster) -> None:
    """kubectl moves what it applied client-side to a manager of server-side apply so."""
    await done(cluster, "POST", "/configmaps", MAP, user_agent="old/1")
    _, one = await cluster.ask("GET", BASE + "/configmaps/m")
    entry = {**one["metadata"]["managedFields"][0], "manager": "new", "operation": "Apply"}
    patch = [{"op": "replace", "path": "/metadata/managedFields", "value": [entry]}]
    made = await done(cluster, "PATCH", "/configmaps/m", patch, content_type=JSON_PATCH)
    assert owners(made) == {"new/Apply": [".data", ".data.a"]}


async def test_an_applied_null_is_owned_and_takes_the_default(cluster: Cluster) -> None:
    wanted = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}], "sessionAffinity": None},
    }
    made = await done(cluster, "PATCH", "/services/s?fieldManager=me", wanted, content_type=APPLY)
    assert made["spec"]["sessionAffinity"] == "None"
    assert ".spec.sessionAffinity" in owners(made)["me/Apply"]


async def test_kubectl_goes_from_client_side_to_server_side_apply(cluster: Cluster) -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m, namespace: default}\ndata: {a: '1', b: '1'}\n"
    )
    await cluster.kubectl("apply", "-f", "-", stdin=text)
    await cluster.kubectl("apply", "--server-side", "-f", "-", stdin=text.replace("a: '1', ", ""))
    _, one = await cluster.ask("GET", BASE + "/configmaps/m")
    assert one["data"] == {"b": "1"}
    # The second is how kubectl keeps its annotation, should somebody go back.
    assert set(owners(one)) == {"kubectl/Apply", "kubectl-last-applied/Apply"}
