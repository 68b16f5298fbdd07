"""The unmodified kubectl against the server alone: no controllers, no nodes."""

from __future__ import annotations

import asyncio
import json

from .conftest import Cluster

MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {colour: blue}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: nginx, ports: [{containerPort: 80}]}
"""


async def test_apply_creates_changes_and_leaves_alone(cluster: Cluster) -> None:
    first = await cluster.kubectl("apply", "-f", "-", stdin=MAP)
    assert first.out == "configmap/settings created\n"
    again = await cluster.kubectl("apply", "-f", "-", stdin=MAP)
    assert again.out == "configmap/settings unchanged\n"
    changed = await cluster.kubectl("apply", "-f", "-", stdin=MAP.replace("blue", "red"))
    assert changed.out == "configmap/settings configured\n"
    found = await cluster.kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.colour}")
    assert found.out == "red"


async def test_apply_merges_lists_strategically(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    await cluster.kubectl("set", "env", "deployment/web", "MODE=fast")
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT.replace("replicas: 2", "replicas: 3"))
    found = json.loads((await cluster.kubectl("get", "deployment", "web", "-o", "json")).out)
    assert found["spec"]["replicas"] == 3
    assert found["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "MODE", "value": "fast"}]
    assert found["metadata"]["generation"] == 3


async def test_unknown_fields_are_refused_by_default(cluster: Cluster) -> None:
    wrong = await cluster.kubectl("apply", "-f", "-", stdin=MAP.replace("\ndata:", "\ndate:"), check=False)
    assert wrong.status == 1
    assert 'strict decoding error: unknown field "date"' in wrong.err


async def test_server_side_apply_owns_fields(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "--server-side", "-f", "-", stdin=MAP)
    await cluster.kubectl("apply", "--server-side", "-f", "-", stdin=MAP.replace("blue", "red"))
    other = await cluster.kubectl(
        "apply", "--server-side", "--field-manager", "other", "-f", "-", stdin=MAP, check=False
    )
    assert 'conflict with "kubectl": .data.colour' in other.err
    forced = ("apply", "--server-side", "--field-manager", "other", "--force-conflicts", "-f", "-")
    await cluster.kubectl(*forced, stdin=MAP)
    found = await cluster.kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.colour}")
    assert found.out == "blue"


async def test_create_get_label_annotate_patch_delete(cluster: Cluster) -> None:
    await cluster.kubectl("create", "configmap", "one", "--from-literal=a=1")
    await cluster.kubectl("label", "configmap", "one", "tier=low")
    await cluster.kubectl("annotate", "configmap", "one", "note=yes")
    await cluster.kubectl(
        "patch", "configmap", "one", "--type=json", "-p", '[{"op":"add","path":"/data/b","value":"2"}]'
    )
    await cluster.kubectl("patch", "configmap", "one", "--type=merge", "-p", '{"data":{"a":null}}')
    listed = await cluster.kubectl("get", "configmaps", "-l", "tier=low", "-o", "json")
    (item,) = json.loads(listed.out)["items"]
    assert item["data"] == {"b": "2"}
    assert item["metadata"]["annotations"] == {"note": "yes"}
    gone = await cluster.kubectl("delete", "configmap", "one")
    assert gone.out == 'configmap "one" deleted from default namespace\n'
    missing = await cluster.kubectl("get", "configmap", "one", check=False)
    assert 'Error from server (NotFound): configmaps "one" not found' in missing.err


async def test_tables_wide_and_all_namespaces(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    shown = (await cluster.kubectl("get", "deployments", "-o", "wide")).out.splitlines()
    assert shown[0].split() == [
        "NAME",
        "READY",
        "UP-TO-DATE",
        "AVAILABLE",
        "AGE",
        "CONTAINERS",
        "IMAGES",
        "SELECTOR",
    ]
    assert shown[1].split()[0] == "web"
    namespaces = (await cluster.kubectl("get", "namespaces")).out
    assert "kube-node-lease" in namespaces
    everywhere = (await cluster.kubectl("get", "services", "-A")).out
    assert "kubernetes" in everywhere


async def test_scale_and_rollout_commands_reach_the_object(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    await cluster.kubectl("scale", "deployment/web", "--replicas=5")
    await cluster.kubectl("set", "image", "deployment/web", "web=nginx:2")
    await cluster.kubectl("rollout", "restart", "deployment/web")
    await cluster.kubectl("rollout", "pause", "deployment/web")
    found = await cluster.admin.get("deployments.apps", "web", "default")
    assert found["spec"]["replicas"] == 5
    assert found["spec"]["paused"] is True
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"


async def test_wait_returns_when_the_condition_comes(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    waiting = asyncio.create_task(
        cluster.kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=20s")
    )
    await asyncio.sleep(0.5)
    found = await cluster.admin.get("deployments.apps", "web", "default")
    status = {"conditions": [{"type": "Available", "status": "True"}], "observedGeneration": 1}
    await cluster.admin.update("deployments.apps", {**found, "status": status}, subresource="status")
    assert (await waiting).out == "deployment.apps/web condition met\n"


async def test_wait_for_delete(cluster: Cluster) -> None:
    await cluster.kubectl("create", "configmap", "one")
    waiting = asyncio.create_task(cluster.kubectl("wait", "configmap/one", "--for=delete", "--timeout=20s"))
    await asyncio.sleep(0.5)
    await cluster.admin.delete("configmaps", "one", "default")
    assert (await waiting).out == "configmap/one condition met\n"


async def test_discovery_and_explain(cluster: Cluster) -> None:
    resources = (await cluster.kubectl("api-resources", "--no-headers", "-o", "name")).out.split()
    assert {"pods", "deployments.apps", "roles.rbac.authorization.k8s.io"} <= set(resources)
    assert "apps/v1" in (await cluster.kubectl("api-versions")).out.split()
    explained = (await cluster.kubectl("explain", "deployment.spec.strategy")).out
    assert "rollingUpdate" in explained
    assert "Server Version: v1.37" in (await cluster.kubectl("version")).out


async def test_auth_commands(cluster: Cluster) -> None:
    assert (await cluster.kubectl("auth", "can-i", "delete", "nodes")).out == "yes\n"
    asked = ("auth", "can-i", "delete", "nodes", "--as", "system:serviceaccount:default:x")
    assert (await cluster.kubectl(*asked, check=False)).out == "no\n"
    assert "kubernetes-admin" in (await cluster.kubectl("auth", "whoami")).out
    await cluster.kubectl("create", "rolebinding", "viewers", "--clusterrole=view", "--user=ann")
    assert (await cluster.kubectl("auth", "can-i", "list", "pods", "--as", "ann")).out == "yes\n"
    assert (
        await cluster.kubectl("auth", "can-i", "create", "pods", "--as", "ann", check=False)
    ).out == "no\n"
    assert "pods" in (await cluster.kubectl("auth", "can-i", "--list", "--as", "ann")).out


async def test_create_token_and_use_it(cluster: Cluster) -> None:
    await cluster.kubectl("create", "serviceaccount", "robot")
    token = (await cluster.kubectl("create", "token", "robot")).out.strip()
    review = cluster.http(token=token)
    found = await review.create(
        "selfsubjectreviews.authentication.k8s.io",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}},
    )
    assert found["status"]["userInfo"]["username"] == "system:serviceaccount:default:robot"


async def test_dry_run_and_diff_write_nothing(cluster: Cluster) -> None:
    before = cluster.store.revision
    ran = await cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=DEPLOYMENT)
    assert ran.out == "deployment.apps/web created (server dry run)\n"
    assert cluster.store.revision == before
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    before = cluster.store.revision
    changed = DEPLOYMENT.replace("replicas: 2", "replicas: 3")
    differences = (await cluster.kubectl("diff", "-f", "-", stdin=changed, check=False)).out.splitlines()
    assert [line for line in differences if line[:2] in ("- ", "+ ")] == [
        "-  generation: 1",
        "+  generation: 2",
        "-  replicas: 2",
        "+  replicas: 3",
    ]
    assert cluster.store.revision == before


async def test_services_expose_and_describe(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    await cluster.kubectl("expose", "deployment", "web", "--type=NodePort", "--port=80")
    service = json.loads((await cluster.kubectl("get", "service", "web", "-o", "json")).out)
    assert service["spec"]["clusterIP"].startswith("10.65.")
    assert 30000 <= service["spec"]["ports"][0]["nodePort"] <= 32767
    assert "NodePort" in (await cluster.kubectl("describe", "service", "web")).out
    assert "StrategyType" in (await cluster.kubectl("describe", "deployment", "web")).out


async def test_get_watch_shows_changes_as_they_come(cluster: Cluster) -> None:
    await cluster.kubectl("create", "configmap", "one")
    process = asyncio.create_task(
        cluster.kubectl("get", "configmaps", "--watch", "--request-timeout=3s", check=False)
    )
    await asyncio.sleep(1)
    await cluster.admin.patch("configmaps", "one", "default", {"data": {"a": "1", "b": "2"}})
    lines = [line.split()[:2] for line in (await process).out.splitlines()]
    assert ["one", "0"] in lines
    assert ["one", "2"] in lines
