"""The past: reads as of then with an unmodified kubectl, history as differences, undo, recordings."""

from __future__ import annotations

import base64
import json

import pytest

from sampan.client.api import ApiError

from .conftest import Cluster

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: blue, old: x}\n"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\nstringData: {password: %s}\n"


async def revision(cluster: Cluster) -> int:
    return cluster.store.revision


async def history(cluster: Cluster, path: str) -> list[dict[str, object]]:
    status, found = await cluster.ask("GET", f"/sampan/v1/history{path}")
    assert status == 200, found
    entries: list[dict[str, object]] = found["entries"]
    return entries


def as_of(cluster: Cluster, moment: object) -> str:
    return f"--server={cluster.url}/sampan/v1/at/{moment}"


async def test_kubectl_reads_as_of_a_revision(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=MAP)
    then = await revision(cluster)
    await cluster.kubectl("apply", "-f", "-", stdin=MAP.replace("blue", "red"))
    await cluster.kubectl("create", "configmap", "later", "--from-literal=a=b")
    await cluster.kubectl("label", "configmap", "settings", "new=yes")
    past = as_of(cluster, then)
    found = await cluster.kubectl(past, "get", "configmap", "settings", "-o", "jsonpath={.data.colour}")
    assert found.out == "blue"
    table = await cluster.kubectl(past, "get", "configmaps")
    assert "settings" in table.out
    assert "later" not in table.out
    # Selectors choose by what was there then.
    assert "No resources" in (await cluster.kubectl(past, "get", "configmaps", "-l", "new=yes")).err
    await cluster.kubectl("delete", "configmap", "settings")
    assert (
        "settings"
        in (await cluster.kubectl(past, "get", "cm", "--field-selector=metadata.name=settings")).out
    )
    assert "blue" in (await cluster.kubectl(past, "describe", "configmap", "settings")).out


async def test_the_past_cannot_be_changed_or_watched(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=MAP)
    past = as_of(cluster, await revision(cluster))
    for words in (("delete", "configmap", "settings"), ("annotate", "configmap", "settings", "a=b")):
        refused = await cluster.kubectl(past, *words, check=False)
        assert refused.status == 1
        assert "it can be read by get and list, and no more" in refused.err


async def test_a_moment_is_a_revision_or_a_time(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=MAP)
    entries = await history(cluster, "/api/v1/namespaces/default/configmaps/settings")
    when = entries[0]["time"]
    path = "/api/v1/namespaces/default/configmaps/settings"
    status, found = await cluster.ask("GET", f"/sampan/v1/at/{when}{path}")
    assert (status, found["data"]["colour"]) == (200, "blue")
    for moment, code in (("2020-01-01T00:00:00Z", 410), ("999999999", 504), ("yesterday", 400), ("0", 410)):
        status, refused = await cluster.ask("GET", f"/sampan/v1/at/{moment}{path}")
        assert (status, refused["kind"]) == (code, "Status")
    await cluster.store.compact(cluster.store.revision)
    status, refused = await cluster.ask("GET", f"/sampan/v1/at/1{path}")
    assert status == 410
    assert "what is kept begins at revision" in refused["message"]


async def test_history_tells_who_changed_what(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=MAP)
    await cluster.kubectl(
        "patch", "configmap", "settings", "--patch", '{"data":{"colour":"red","old":null,"new":"y"}}'
    )
    await cluster.kubectl("delete", "configmap", "settings")
    made, changed, deleted = await history(cluster, "/api/v1/namespaces/default/configmaps/settings")
    assert (made["change"], changed["change"], deleted["change"]) == ("created", "changed", "deleted")
    assert changed["by"] == "kubectl-patch"
    assert changed["differences"] == [
        {"path": "data.colour", "before": "blue", "after": "red"},
        {"path": "data.old", "before": "x"},
        {"path": "data.new", "after": "y"},
    ]


async def test_secret_values_appear_only_as_hashes(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=SECRET % "tiger")
    then = await revision(cluster)
    await cluster.kubectl("apply", "-f", "-", stdin=SECRET % "lion")
    entries = await history(cluster, "/api/v1/namespaces/default/secrets/key")
    differences = entries[1]["differences"]
    assert isinstance(differences, list)
    assert "data.password" in [d["path"] for d in differences]
    record = await cluster.raw().request("GET", "/sampan/v1/record")
    recorded = (await record.read()).decode()
    shown = await cluster.kubectl(as_of(cluster, then), "get", "secret", "key", "-o", "json")
    listed = await cluster.kubectl(as_of(cluster, then), "get", "secrets", "-o", "yaml")
    for text in (json.dumps(entries), recorded, shown.out, listed.out):
        for secret in ("tiger", "lion"):
            assert secret not in text
            assert base64.b64encode(secret.encode()).decode() not in text
    hashed = base64.b64decode(json.loads(shown.out)["data"]["password"])
    assert hashed.startswith(b"hmac-sha256:")


async def test_the_past_needs_the_verb_on_the_object(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=MAP)
    await cluster.kubectl("create", "role", "reader", "--verb=get", "--resource=configmaps")
    await cluster.kubectl("create", "rolebinding", "reader", "--role=reader", "--user=ann")
    ann = cluster.http("ann", ())
    path = "/api/v1/namespaces/default/configmaps/settings"
    then = await revision(cluster)
    for target in (f"/sampan/v1/history{path}", f"/sampan/v1/at/{then}{path}"):
        assert json.loads(await ann.raw("GET", target))
    forbidden = [
        ("POST", f"/sampan/v1/undo{path}", 'cannot update resource "configmaps"'),
        (
            "GET",
            f"/sampan/v1/at/{then}/api/v1/namespaces/default/configmaps",
            'cannot list resource "configmaps"',
        ),
        ("GET", f"/sampan/v1/at/{then}/api/v1/namespaces/default/secrets/x", 'cannot get resource "secrets"'),
        ("GET", "/sampan/v1/history/api/v1/namespaces/default/secrets/x", 'cannot get resource "secrets"'),
        ("GET", "/sampan/v1/record", 'cannot get path "/sampan/v1/record"'),
    ]
    for method, target, why in forbidden:
        with pytest.raises(ApiError, match=why):
            await ann.raw(method, target)


async def test_undo_is_an_update_that_goes_back(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=MAP)
    await cluster.kubectl("apply", "-f", "-", stdin=MAP.replace("blue", "red"))
    target = "/sampan/v1/undo/api/v1/namespaces/default/configmaps/settings"
    status, shown = await cluster.ask("POST", f"{target}?dryRun=All")
    assert status == 200
    data = [d for d in shown["differences"] if d["path"].startswith("data")]
    assert data == [{"path": "data.colour", "before": "red", "after": "blue"}]
    now = await cluster.admin.get("configmaps", "settings", "default")
    assert now["data"]["colour"] == "red"
    # What was shown is what is written, or nothing is.
    await cluster.kubectl("label", "configmap", "settings", "a=b")
    status, refused = await cluster.ask("POST", f"{target}?resourceVersion={shown['resourceVersion']}")
    assert (status, refused["reason"]) == (409, "Conflict")
    status, _ = await cluster.ask("POST", f"{target}?toRevision={shown['toRevision']}")
    assert status == 200
    now = await cluster.admin.get("configmaps", "settings", "default")
    assert now["data"] == {"colour": "blue", "old": "x"}
    assert now["metadata"]["resourceVersion"] == str(await revision(cluster))


async def test_undo_of_a_delete_creates_it_again(cluster: Cluster) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=SECRET % "tiger")
    before = await cluster.admin.get("secrets", "key", "default")
    await cluster.kubectl("delete", "secret", "key")
    status, told = await cluster.ask("POST", "/sampan/v1/undo/api/v1/namespaces/default/secrets/key")
    assert status == 200
    assert "tiger" not in json.dumps(told)
    after = await cluster.admin.get("secrets", "key", "default")
    assert after["data"] == before["data"]
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


async def test_undo_passes_admission_and_validation(cluster: Cluster) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"}}
    made = await cluster.admin.create("services", service | {"spec": {"ports": [{"port": 80}]}})
    await cluster.admin.delete("services", "s", "default")
    other = service | {"metadata": {"name": "t", "namespace": "default"}}
    address = made["spec"]["clusterIP"]
    await cluster.admin.create("services", other | {"spec": {"ports": [{"port": 80}], "clusterIP": address}})
    status, refused = await cluster.ask("POST", "/sampan/v1/undo/api/v1/namespaces/default/services/s")
    assert status == 422
    assert "already allocated" in refused["message"]
