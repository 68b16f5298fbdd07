"""Who may do what: roles, escalation, impersonation, nodes, tokens, reviews."""

from __future__ import annotations

import asyncio
import time

import pytest

from sampan.apiserver.tokens import Invalid
from sampan.client.api import ApiError, Client
from sampan.machinery.objects import Object

from .conftest import Cluster

RBAC = "rbac.authorization.k8s.io"


def role(name: str, *rules: Object) -> Object:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": list(rules),
    }


def rule(verbs: str, resources: str, group: str = "") -> Object:
    return {"verbs": verbs.split(), "resources": resources.split(), "apiGroups": [group]}


def binding(name: str, to: str, user: str, namespace: str = "") -> Object:
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": meta,
        "subjects": [{"kind": "User", "name": user, "apiGroup": RBAC}],
        "roleRef": {"kind": "ClusterRole", "name": to, "apiGroup": RBAC},
    }


def pod(name: str, node: str = "", **spec: object) -> Object:
    found: Object = {"containers": [{"name": "c", "image": "x"}], **spec}
    if node:
        found["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": found,
    }


async def refused(work: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await work  # type: ignore[misc]
    return caught.value


async def test_a_binding_in_a_namespace_holds_there_alone(cluster: Cluster) -> None:
    await cluster.admin.create(f"rolebindings.{RBAC}", binding("b", "view", "ann", "default"))
    ann = cluster.api.local("ann")
    await ann.list("pods", "default")
    assert (await refused(ann.list("pods", "kube-system"))).code == 403
    assert (await refused(ann.list("pods"))).code == 403
    assert (await refused(ann.list("secrets", "default"))).code == 403


async def test_roles_aggregate_by_label(cluster: Cluster) -> None:
    await cluster.admin.create(f"rolebindings.{RBAC}", binding("b", "view", "ann", "default"))
    extra = role("more-to-view", rule("list", "secrets"))
    extra["metadata"]["labels"] = {f"{RBAC}/aggregate-to-view": "true"}
    await cluster.admin.create(f"clusterroles.{RBAC}", extra)
    await cluster.api.local("ann").list("secrets", "default")
    changes = cluster.admin.watch(f"clusterroles.{RBAC}", fields="metadata.name=view")
    async with asyncio.timeout(5):
        async for change in changes:
            if rule("list", "secrets") in (change.object.get("rules") or ()):
                break


async def test_nobody_grants_what_he_does_not_hold(cluster: Cluster) -> None:
    grants = role("granter", rule("create update get patch", "clusterroles clusterrolebindings", RBAC))
    await cluster.admin.create(f"clusterroles.{RBAC}", grants)
    await cluster.admin.create(f"clusterrolebindings.{RBAC}", binding("g", "granter", "ann"))
    ann = cluster.api.local("ann")
    no = await refused(ann.create(f"clusterroles.{RBAC}", role("spy", rule("get", "secrets"))))
    assert "is attempting to grant RBAC permissions not currently held" in str(no)
    assert '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}' in str(no)
    no = await refused(ann.create(f"clusterrolebindings.{RBAC}", binding("up", "cluster-admin", "ann")))
    assert no.code == 403
    await ann.create(f"clusterroles.{RBAC}", role("same", rule("get", "clusterroles", RBAC)))


async def test_an_apply_or_update_that_creates_needs_the_right_to_create(cluster: Cluster) -> None:
    changes = role(
        "changer", rule("get patch update", "configmaps"), rule("update", "leases", "coordination.k8s.io")
    )
    await cluster.admin.create(f"clusterroles.{RBAC}", changes)
    await cluster.admin.create(f"clusterrolebindings.{RBAC}", binding("c", "changer", "ann"))
    ann = cluster.api.local("ann")
    map_ = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}}
    no = await refused(ann.patch("configmaps", "m", "default", map_, type="apply", manager="ann"))
    assert (no.code, str(no)) == (
        403,
        'configmaps "m" is forbidden: User "ann" cannot create resource "configmaps" in API group "" '
        'in the namespace "default"',
    )
    lease = {**map_, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    assert (await refused(ann.update("leases.coordination.k8s.io", lease))).code == 403
    await cluster.admin.create("configmaps", map_)
    data = {**map_, "data": {"a": "b"}}
    made = await ann.patch("configmaps", "m", "default", data, type="apply", manager="ann")
    assert made["data"] == {"a": "b"}


async def test_impersonation_needs_a_right_and_gives_only_that_user(cluster: Cluster) -> None:
    status, said = await cluster.ask("GET", "/api/v1/nodes", impersonate_user="ann")
    assert (status, said["message"].split(":")[1]) == (
        403,
        ' User "ann" cannot list resource "nodes" in API group "" at the cluster scope',
    )
    bob = cluster.http("bob", ())
    async with await bob.http.request(
        "GET", "/api/v1/nodes", headers={"impersonate-user": "ann"}
    ) as response:
        assert response.status == 403
        assert b'cannot impersonate resource \\"users\\"' in await response.read()


async def test_a_node_touches_only_what_is_its_own(cluster: Cluster) -> None:
    admin = cluster.admin
    await cluster.account()
    for name in ("a", "b"):
        await admin.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    for name in ("used", "other"):
        await admin.create(
            "secrets",
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"}},
        )
    volume = {"name": "v", "secret": {"secretName": "used"}}
    await admin.create("pods", pod("mine", "a", volumes=[volume]))
    await admin.create("pods", pod("theirs", "b"))
    node = cluster.api.local("system:node:a", ("system:nodes",))
    assert (await node.get("secrets", "used", "default"))["metadata"]["name"] == "used"
    assert (await refused(node.get("secrets", "other", "default"))).code == 403
    assert (await refused(node.list("secrets", "default"))).code == 403
    running = {"status": {"phase": "Running"}}
    await node.patch("pods", "mine", "default", running, subresource="status")
    assert (await refused(node.patch("pods", "theirs", "default", running, subresource="status"))).code == 403
    await node.patch("nodes", "a", "", {"metadata": {"labels": {"x": "y"}}})
    assert (await refused(node.patch("nodes", "b", "", {"metadata": {"labels": {"x": "y"}}}))).code == 403
    taints = {"spec": {"taints": None}}
    assert "is not allowed to modify taints" in str(await refused(node.patch("nodes", "a", "", taints)))
    assert (await refused(node.create("pods", pod("new", "a")))).code == 403
    mirror = pod("static", "a", volumes=[{"name": "v", "secret": {"secretName": "other"}}])
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    no = await refused(node.create("pods", mirror))
    assert 'node "a" can not create pods that reference secrets' in str(no), "else it could read any secret"
    for name in ("claimed", "unclaimed"):
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        claim = {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
        claim |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        await admin.create("persistentvolumeclaims", claim)
    of_pod = {"name": "v", "persistentVolumeClaim": {"claimName": "claimed"}}
    await admin.create("pods", pod("claimer", "a", volumes=[of_pod]))
    bigger = {"status": {"capacity": {"storage": "2Mi"}}}
    await node.patch("persistentvolumeclaims", "claimed", "default", bigger, subresource="status")
    no = await refused(
        node.patch("persistentvolumeclaims", "unclaimed", "default", bigger, subresource="status")
    )
    assert no.code == 403


async def test_roles_that_aggregate_each_other(cluster: Cluster) -> None:
    for own, other in (("yin", "yang"), ("yang", "yin")):
        both = role(own, rule("get", "secrets" if own == "yin" else "configmaps"))
        both["metadata"]["labels"] = {"of": own}
        both["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {"of": other}}]}
        await cluster.admin.create(f"clusterroles.{RBAC}", both)
    await cluster.admin.create(f"clusterrolebindings.{RBAC}", binding("b", "yin", "ann"))
    assert (await refused(cluster.api.local("ann").list("secrets"))).code == 403


async def token_for(client: Client, account: str, **spec: object) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    body["metadata"] = {"namespace": "default"}
    found = await client.create("serviceaccounts", body, name=account, subresource="token")
    return str(found["status"]["token"])


async def test_a_token_dies_with_its_pod(cluster: Cluster) -> None:
    await cluster.account()
    made = await cluster.admin.create("pods", pod("p", "n"))
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}
    token = await token_for(cluster.admin, "default", boundObjectRef=ref)
    user, _ = await cluster.api.tokens.user(token, [cluster.api.tokens.issuer])
    assert user.name == "system:serviceaccount:default:default"
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("p",)
    await cluster.admin.delete("pods", "p", "default", grace=0)
    with pytest.raises(Invalid, match="which is gone"):
        await cluster.api.tokens.user(token, [cluster.api.tokens.issuer])


async def test_a_token_expires_and_is_for_its_audience(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cluster.account()
    token = await token_for(cluster.admin, "default", audiences=["vault"], expirationSeconds=600)
    tokens = cluster.api.tokens
    assert (await tokens.user(token, ["vault", "x"]))[1] == ["vault"]
    with pytest.raises(Invalid, match="audiences"):
        await tokens.user(token, [tokens.issuer])
    later = time.time() + 601
    monkeypatch.setattr("sampan.apiserver.tokens.time.time", lambda: later)
    with pytest.raises(Invalid, match="expired"):
        await tokens.user(token, ["vault"])


async def test_a_forged_token_is_none(cluster: Cluster) -> None:
    await cluster.account()
    head, _, signature = (await token_for(cluster.admin, "default")).split(".")
    other = (await token_for(cluster.admin, "default")).split(".")[1]
    with pytest.raises(Invalid, match="signature"):
        await cluster.api.tokens.user(f"{head}.{other}.{signature}", [cluster.api.tokens.issuer])


async def test_token_review_and_public_keys(cluster: Cluster) -> None:
    await cluster.account()
    token = await token_for(cluster.admin, "default")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    found = await cluster.admin.create("tokenreviews.authentication.k8s.io", review)
    assert found["status"]["authenticated"] is True
    assert found["status"]["user"]["username"] == "system:serviceaccount:default:default"
    _, keys = await cluster.ask("GET", "/openid/v1/jwks")
    assert keys["keys"][0]["kty"] == "EC"
    _, issuer = await cluster.ask("GET", "/.well-known/openid-configuration")
    assert issuer["issuer"] == "https://kubernetes.default.svc.cluster.local"


async def test_pods_run_as_an_account_with_a_token_of_their_own(cluster: Cluster) -> None:
    missing = await refused(cluster.admin.create("pods", pod("p")))
    assert 'serviceaccount "default" not found' in str(missing)
    await cluster.account()
    made = await cluster.admin.create("pods", pod("p"))
    volume = made["spec"]["volumes"][0]
    assert volume["name"].startswith("kube-api-access-")
    assert [next(iter(s)) for s in volume["projected"]["sources"]] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]
    mount = made["spec"]["containers"][0]["volumeMounts"][0]
    assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    keys = [t["key"] for t in made["spec"]["tolerations"]]
    assert keys == ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
    assert made["spec"]["priority"] == 0


async def test_default_roles_come_back_after_a_restart(cluster: Cluster) -> None:
    from sampan.apiserver.server import ApiServer

    admin = cluster.admin
    await admin.patch(f"clusterroles.{RBAC}", "system:basic-user", "", {"rules": None})
    await admin.delete(f"clusterrolebindings.{RBAC}", "system:basic-user")
    again = ApiServer(cluster.store, cluster.api.settings)
    await again.start()
    assert (await admin.get(f"clusterroles.{RBAC}", "system:basic-user"))["rules"]
    await admin.get(f"clusterrolebindings.{RBAC}", "system:basic-user")
    await again.close()
