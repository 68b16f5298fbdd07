"""What every `Client` does, tested through the local one and the HTTP one, denials included."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable

import pytest
from tests.apiserver.conftest import Cluster

from sampan.client.api import ApiError, Change, Client
from sampan.host import trace
from sampan.machinery.objects import Object

MakeClient = Callable[..., Client]


@pytest.fixture(params=["local", "http"])
def client_for(request: pytest.FixtureRequest, cluster: Cluster) -> MakeClient:
    return cluster.api.local if request.param == "local" else cluster.http


@pytest.fixture
def client(client_for: MakeClient) -> Client:
    return client_for("kubernetes-admin", ("system:masters",))


def config_map(name: str = "one", **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "data": data,
    }


async def taken(changes: AsyncIterator[Change], count: int) -> list[Change]:
    """The next `count` changes."""
    async with asyncio.timeout(5):
        return [await anext(changes) for _ in range(count)]


async def refusal(work: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await work  # type: ignore[misc]
    return caught.value


async def test_create_get_and_delete(client: Client) -> None:
    made = await client.create("configmaps", config_map(a="1"))
    assert made["metadata"]["uid"]
    assert await client.get("configmaps", "one", "default") == made
    await client.delete("configmaps", "one", "default", uid=made["metadata"]["uid"])
    gone = await refusal(client.get("configmaps", "one", "default"))
    assert (gone.code, gone.reason, str(gone)) == (404, "NotFound", 'configmaps "one" not found')


async def test_what_the_caller_gives_is_left_alone(client: Client) -> None:
    given = config_map(a="1")
    before = copy.deepcopy(given)
    await client.create("configmaps", given)
    assert given == before


async def test_generated_names(client: Client) -> None:
    obj = config_map()
    obj["metadata"] = {"generateName": "part-", "namespace": "default"}
    names = {(await client.create("configmaps", obj))["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(n.startswith("part-") and len(n) == 10 for n in names)


async def test_a_second_of_the_same_name_exists(client: Client) -> None:
    await client.create("configmaps", config_map())
    again = await refusal(client.create("configmaps", config_map()))
    assert (again.code, again.reason) == (409, "AlreadyExists")


async def test_update_conflicts_with_a_later_write(client: Client) -> None:
    old = await client.create("configmaps", config_map(a="1"))
    new = await client.update("configmaps", {**old, "data": {"a": "2"}})
    late = await refusal(client.update("configmaps", {**old, "data": {"a": "3"}}))
    assert (late.code, late.reason) == (409, "Conflict")
    assert int(new["metadata"]["resourceVersion"]) > int(old["metadata"]["resourceVersion"])


async def test_update_without_change_writes_nothing(client: Client) -> None:
    old = await client.create("configmaps", config_map(a="1"))
    same = await client.update("configmaps", old)
    assert same["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"]


async def test_patches(client: Client) -> None:
    await client.create("configmaps", config_map(a="1"))
    await client.patch("configmaps", "one", "default", {"data": {"b": "2"}})
    operations = [{"op": "remove", "path": "/data/a"}]
    found = await client.patch("configmaps", "one", "default", operations, type="json")
    assert found["data"] == {"b": "2"}
    label = {"metadata": {"labels": {"x": "y"}}}
    found = await client.patch("configmaps", "one", "default", label, type="strategic")
    assert found["metadata"]["labels"] == {"app": "one", "x": "y"}


async def test_delete_with_preconditions(client: Client) -> None:
    await client.create("configmaps", config_map())
    other = await refusal(client.delete("configmaps", "one", "default", uid="other"))
    assert (other.code, other.reason) == (409, "Conflict")


async def test_lists_by_label_field_and_page(client: Client) -> None:
    for name in ("a", "b", "c"):
        await client.create("configmaps", config_map(name))
    by_label = await client.list("configmaps", "default", labels="app in (a,c)")
    assert [o["metadata"]["name"] for o in by_label.items] == ["a", "c"]
    by_name = await client.list("configmaps", "default", fields="metadata.name=b")
    assert [o["metadata"]["name"] for o in by_name.items] == ["b"]
    first = await client.list("configmaps", "default", limit=2)
    await client.create("configmaps", config_map("d"))
    rest = await client.list("configmaps", "default", limit=2, more=first.more)
    assert [o["metadata"]["name"] for o in first.items + rest.items] == ["a", "b", "c"]
    assert rest.revision == first.revision
    assert not rest.more


async def test_a_right_to_one_name_allows_its_list_and_watch(client: Client, client_for: MakeClient) -> None:
    """A kubelet watches single objects so."""
    group = "rbac.authorization.k8s.io"
    rules = [
        {"verbs": ["list", "watch"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]}
    ]
    meta = {"name": "one-name", "namespace": "default"}
    head = {"apiVersion": f"{group}/v1", "metadata": meta}
    await client.create(f"roles.{group}", {**head, "kind": "Role", "rules": rules})
    ref = {"apiGroup": group, "kind": "Role", "name": "one-name"}
    subjects = [{"apiGroup": group, "kind": "User", "name": "ann"}]
    await client.create(
        f"rolebindings.{group}", {**head, "kind": "RoleBinding", "roleRef": ref, "subjects": subjects}
    )
    await client.create("configmaps", config_map("a"))
    ann = client_for("ann", ())
    listing = await ann.list("configmaps", "default", fields="metadata.name=a")
    assert len(listing.items) == 1
    await taken(ann.watch("configmaps", "default", fields="metadata.name=a"), 2)
    assert (await refusal(ann.list("configmaps", "default"))).code == 403


async def test_lists_of_one_name_in_all_namespaces(client: Client) -> None:
    elsewhere = config_map("a")
    elsewhere["metadata"]["namespace"] = "kube-system"
    await client.create("configmaps", config_map("a"))
    await client.create("configmaps", config_map("b"))
    await client.create("configmaps", elsewhere)
    found = (await client.list("configmaps", fields="metadata.name=a")).items
    assert [o["metadata"]["namespace"] for o in found] == ["default", "kube-system"]


async def test_watch_begins_with_the_state_and_goes_on(client: Client) -> None:
    await client.create("configmaps", config_map("a"))
    changes = client.watch("configmaps", "default")
    first, bookmark = await taken(changes, 2)
    assert (first.type, first.object["metadata"]["name"]) == ("ADDED", "a")
    assert (bookmark.type, bookmark.synced) == ("BOOKMARK", True)
    await client.patch("configmaps", "a", "default", {"data": {"x": "1"}})
    await client.delete("configmaps", "a", "default")
    modified, deleted = await taken(changes, 2)
    assert (modified.type, modified.object["data"]) == ("MODIFIED", {"x": "1"})
    assert deleted.type == "DELETED"
    assert int(deleted.object["metadata"]["resourceVersion"]) > int(
        modified.object["metadata"]["resourceVersion"]
    )


async def test_watch_from_a_revision(client: Client) -> None:
    made = await client.create("configmaps", config_map("a"))
    await client.create("configmaps", config_map("b"))
    changes = client.watch("configmaps", "default", since=made["metadata"]["resourceVersion"])
    (change,) = await taken(changes, 1)
    assert (change.type, change.object["metadata"]["name"]) == ("ADDED", "b")


async def test_selected_watch_shows_coming_and_going(client: Client) -> None:
    changes = client.watch("configmaps", "default", labels="colour=red")
    await taken(changes, 1)
    await client.create("configmaps", config_map("a"))
    await client.patch("configmaps", "a", "default", {"metadata": {"labels": {"colour": "red"}}})
    await client.patch("configmaps", "a", "default", {"metadata": {"labels": {"colour": None}}})
    came, went = await taken(changes, 2)
    assert (came.type, went.type) == ("ADDED", "DELETED")


async def test_watch_of_a_forgotten_revision_expires(client: Client, cluster: Cluster) -> None:
    made = await client.create("configmaps", config_map("a"))
    await client.patch("configmaps", "a", "default", {"data": {"x": "1"}})
    await client.patch("configmaps", "a", "default", {"data": {"x": "2"}})
    await cluster.store.compact(cluster.store.revision)
    changes = client.watch("configmaps", "default", since=made["metadata"]["resourceVersion"])
    expired = await refusal(anext(changes))
    assert (expired.code, expired.reason) == (410, "Expired")


async def test_changes_carry_their_cause(client: Client) -> None:
    changes = client.watch("configmaps", "default")
    await taken(changes, 1)
    await client.create("configmaps", config_map("a"))
    (change,) = await taken(changes, 1)
    assert trace.parse(change.cause)


async def test_a_components_own_span_is_the_parent(client_for: MakeClient, cluster: Cluster) -> None:
    client = client_for("system:kube-scheduler", ("system:masters",))
    changes = cluster.admin.watch("configmaps", "default")
    await taken(changes, 1)
    with trace.span("work", "test") as span:
        await client.create("configmaps", config_map("a"))
    (change,) = await taken(changes, 1)
    cause = trace.parse(change.cause)
    assert cause
    assert cause.trace_id == span.cause.trace_id


async def test_subresources(client: Client) -> None:
    node = await client.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    await client.update("nodes", {**node, "status": status, "spec": {}}, subresource="status")
    found = await client.get("nodes", "n")
    assert found["status"]["conditions"][0]["type"] == "Ready"
    assert found["spec"]["taints"][0]["key"] == "node.kubernetes.io/not-ready"


async def test_denials_are_the_same(client_for: MakeClient) -> None:
    client = client_for("ann", ())
    denied = await refusal(client.list("secrets", "default"))
    assert (denied.code, denied.reason) == (403, "Forbidden")
    assert str(denied) == (
        'secrets is forbidden: User "ann" cannot list resource "secrets" in API group "" in the namespace "default"'
    )
    denied = await refusal(client.create("configmaps", config_map()))
    assert 'User "ann" cannot create resource "configmaps"' in str(denied)
    denied = await refusal(anext(client.watch("nodes")))
    assert str(denied).endswith("at the cluster scope")


async def test_faults_name_every_field(client: Client) -> None:
    wrong = config_map("Not_A_Name")
    wrong["metadata"]["labels"] = {"bad key": "x"}
    faults = await refusal(client.create("configmaps", wrong))
    assert (faults.code, faults.reason) == (422, "Invalid")
    fields = [c["field"] for c in faults.status["details"]["causes"]]
    assert fields == ["metadata.name", "metadata.labels"]


async def test_a_namespace_that_is_not_there(client: Client) -> None:
    wrong = config_map()
    wrong["metadata"]["namespace"] = "nowhere"
    missing = await refusal(client.create("configmaps", wrong))
    assert (missing.code, str(missing)) == (404, 'namespaces "nowhere" not found')


async def test_kinds_that_are_not_served(client: Client) -> None:
    missing = await refusal(client.list("unicorns.example.com"))
    assert missing.code == 404


async def test_an_old_version_of_a_kind_is_a_view(client: Client) -> None:
    """Events are one kind in two groups."""
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/test",
        "reportingInstance": "test-1",
        "action": "Try",
        "reason": "Tested",
        "type": "Normal",
        "regarding": {"kind": "ConfigMap", "name": "one", "namespace": "default"},
        "note": "it works",
    }
    await client.create("events.events.k8s.io", event)
    assert (await client.get("events", "e", "default"))["message"] == "it works"
    assert (await client.get("events.events.k8s.io", "e", "default"))["note"] == "it works"
