"""The API as HTTP: lists, watches, conflicts, bad input. Whatever comes in, a Status comes out, never a stack trace."""

from __future__ import annotations

import asyncio
import gzip

import orjson
import pytest

from sampan.apiserver.paging import LIFETIME, Position, parse
from sampan.client.api import ApiError
from sampan.machinery import protobuf
from sampan.machinery.objects import Object

from .conftest import Cluster

MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def lines(cluster: Cluster, target: str, count: int, **headers: str) -> list[Object]:
    """The first events of a watch."""
    found: list[bytes] = []
    fields = {n.replace("_", "-"): v for n, v in headers.items()}
    async with asyncio.timeout(5), await cluster.raw().request("GET", target, headers=fields) as response:
        assert response.status == 200
        data = b""
        async for chunk in response.chunks():
            data += chunk
            found = data.split(b"\n")[:-1]
            if len(found) >= count:
                break
    return [orjson.loads(line) for line in found[:count]]


# Reading


async def test_health_needs_no_name(cluster: Cluster) -> None:
    raw = cluster.raw(anonymous=True)
    for path in ("/livez", "/readyz", "/healthz", "/readyz?verbose", "/version"):
        async with await raw.request("GET", path) as response:
            assert response.status == 200, path
    async with await raw.request("GET", "/api/v1/pods") as response:
        assert response.status == 403
        said = orjson.loads(await response.read())
        assert 'User "system:anonymous" cannot list resource "pods"' in said["message"]


async def test_a_bad_token_is_nobody(cluster: Cluster) -> None:
    async with await cluster.raw(token="x.y.z").request("GET", "/livez") as response:
        assert response.status == 401
        assert orjson.loads(await response.read())["reason"] == "Unauthorized"


async def test_pages_show_one_moment(cluster: Cluster) -> None:
    for name in "abcde":
        await cluster.ask("POST", MAPS, config_map(name))
    _, first = await cluster.ask("GET", f"{MAPS}?limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    await cluster.ask("DELETE", f"{MAPS}/e")
    more = first["metadata"]["continue"]
    _, second = await cluster.ask("GET", f"{MAPS}?limit=2&continue={more}")
    _, third = await cluster.ask("GET", f"{MAPS}?limit=2&continue={second['metadata']['continue']}")
    names = [o["metadata"]["name"] for page in (first, second, third) for o in page["items"]]
    assert names == list("abcde")
    assert "continue" not in third["metadata"]


async def test_a_page_of_forgotten_history_expires(cluster: Cluster) -> None:
    for name in "abc":
        await cluster.ask("POST", MAPS, config_map(name))
    _, first = await cluster.ask("GET", f"{MAPS}?limit=1")
    await cluster.ask("POST", MAPS, config_map("d"))
    await cluster.store.compact(cluster.store.revision)
    status, said = await cluster.ask("GET", f"{MAPS}?limit=1&continue={first['metadata']['continue']}")
    assert (status, said["reason"]) == (410, "Expired")
    _, rest = await cluster.ask("GET", f"{MAPS}?limit=5&continue={said['metadata']['continue']}")
    assert [o["metadata"]["name"] for o in rest["items"]] == list("bcd")


def test_a_list_that_stood_still_for_minutes_goes_on_in_the_present() -> None:
    """As of another revision than it began with, which the client has to ask for."""
    first = Position().token("/core/configmaps/default/a", 7, now=1000.0)
    assert parse(first, "/core/configmaps/", 1000.0 + LIFETIME).revision == 7
    second = parse(first, "/core/configmaps/", 1200.0).token("/core/configmaps/default/b", 7, now=1200.0)
    with pytest.raises(ApiError) as e:
        parse(second, "/core/configmaps/", 1001.0 + LIFETIME)
    assert e.value.code == 410
    fresh = parse(e.value.status["metadata"]["continue"], "/core/configmaps/", 9999.0)
    assert (fresh.after, fresh.revision) == ("/core/configmaps/default/b", 0)


async def test_reads_at_a_revision(cluster: Cluster) -> None:
    _, old = await cluster.ask("POST", MAPS, config_map("a", x="1"))
    revision = old["metadata"]["resourceVersion"]
    await cluster.ask("PUT", f"{MAPS}/a", config_map("a", x="2"))
    _, then = await cluster.ask("GET", f"{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")
    assert then["items"][0]["data"] == {"x": "1"}
    _, now = await cluster.ask("GET", f"{MAPS}?resourceVersion={revision}")
    assert now["items"][0]["data"] == {"x": "2"}
    status, said = await cluster.ask("GET", f"{MAPS}?resourceVersion=99999")
    assert (status, said["reason"]) == (504, "Timeout")


async def test_tables_and_metadata_alone(cluster: Cluster) -> None:
    await cluster.ask("POST", MAPS, config_map("a", x="1", y="2"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    _, table = await cluster.ask("GET", MAPS, accept=accept)
    assert table["kind"] == "Table"
    assert table["rows"][0]["cells"][:2] == ["a", 2]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    _, partial = await cluster.ask("GET", MAPS, accept=accept)
    assert partial["kind"] == "PartialObjectMetadataList"
    assert "data" not in partial["items"][0]


async def test_large_answers_are_compressed_when_asked(cluster: Cluster) -> None:
    await cluster.ask("POST", MAPS, config_map("a", x="y" * 200_000))
    async with await cluster.raw().request("GET", MAPS, headers={"accept-encoding": "gzip"}) as response:
        assert response.headers["content-encoding"] == "gzip"
        assert len(orjson.loads(gzip.decompress(await response.read()))["items"]) == 1


# Watching


async def test_watch_list_ends_with_the_annotated_bookmark(cluster: Cluster) -> None:
    await cluster.ask("POST", MAPS, config_map("a"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    added, bookmark = await lines(cluster, f"{MAPS}?{query}", 2)
    assert added["type"] == "ADDED"
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_watch_as_tables_defines_columns_once(cluster: Cluster) -> None:
    await cluster.ask("POST", MAPS, config_map("a"))
    await cluster.ask("POST", MAPS, config_map("b"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    first, second = await lines(cluster, f"{MAPS}?watch=1", 2, accept=accept)
    assert first["object"]["columnDefinitions"]
    assert not second["object"]["columnDefinitions"]


async def test_causes_only_when_asked(cluster: Cluster) -> None:
    _, made = await cluster.ask("POST", MAPS, config_map("a"))
    await cluster.ask("POST", MAPS, config_map("b"))
    target = f"{MAPS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}"
    (plain,) = await lines(cluster, target, 1)
    (told,) = await lines(cluster, target, 1, sampan_causes="1")
    assert "cause" not in plain
    assert told["cause"].startswith("00-")


async def test_a_watch_too_old_is_told_so_in_the_stream(cluster: Cluster) -> None:
    _, made = await cluster.ask("POST", MAPS, config_map("a"))
    await cluster.ask("POST", MAPS, config_map("b"))
    await cluster.ask("POST", MAPS, config_map("c"))
    await cluster.store.compact(cluster.store.revision)
    target = f"{MAPS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}"
    (event,) = await lines(cluster, target, 1)
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith("too old resource version")


async def test_a_watch_ends_in_time(cluster: Cluster) -> None:
    async with await cluster.raw().request("GET", f"{MAPS}?watch=1&timeoutSeconds=1") as response:
        assert await response.read(5) == b""


async def test_a_watch_of_one_name_sees_no_other(cluster: Cluster) -> None:
    await cluster.ask("POST", MAPS, config_map("a"))
    await cluster.ask("POST", MAPS, config_map("ab"))
    target = f"{MAPS}?watch=1&fieldSelector=metadata.name%3Dab"
    (event,) = await lines(cluster, target, 1)
    assert event["object"]["metadata"]["name"] == "ab"


# Writing


async def test_protobuf_bodies(cluster: Cluster) -> None:
    body = protobuf.encode(config_map("a", x="1"))
    status, made = await cluster.ask(
        "POST", MAPS, body, content_type="application/vnd.kubernetes.protobuf", accept="application/json"
    )
    assert (status, made["data"]) == (201, {"x": "1"})


async def test_yaml_bodies(cluster: Cluster) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: '1'\n"
    status, made = await cluster.ask("POST", MAPS, text, content_type="application/yaml")
    assert (status, made["data"]) == (201, {"x": "1"})


async def test_field_validation(cluster: Cluster) -> None:
    odd = {**config_map("a"), "colour": "blue"}
    status, said = await cluster.ask("POST", f"{MAPS}?fieldValidation=Strict", odd)
    assert (status, said["reason"]) == (400, "BadRequest")
    assert 'strict decoding error: unknown field "colour"' in said["message"]
    raw = cluster.raw()
    headers = {"content-type": "application/json"}
    async with await raw.request("POST", MAPS, headers=headers, body=orjson.dumps(odd)) as response:
        assert response.headers["warning"] == '299 - "unknown field \\"colour\\""'
        assert "colour" not in orjson.loads(await response.read())


async def test_fields_that_a_body_says_twice(cluster: Cluster) -> None:
    text = orjson.dumps(config_map("a", x="1")).replace(b'"x":"1"', b'"x":"1","x":"2"')
    status, said = await cluster.ask("POST", f"{MAPS}?fieldValidation=Strict", text)
    assert status == 400
    assert 'strict decoding error: duplicate field "data.x"' in said["message"]
    status, made = await cluster.ask("POST", f"{MAPS}?fieldValidation=Ignore", text)
    assert (status, made["data"]) == (201, {"x": "2"})
    patch, media = b'{"data":{"y":"1","y":"2"}}', "application/merge-patch+json"
    status, said = await cluster.ask("PATCH", f"{MAPS}/a?fieldValidation=Strict", patch, content_type=media)
    assert (status, "duplicate field" in said["message"]) == (400, True)


async def test_openapi_that_did_not_change_is_not_sent_again(cluster: Cluster) -> None:
    _, roots = await cluster.ask("GET", "/openapi/v3")
    raw = cluster.raw()
    for target in (roots["paths"]["apis/batch/v1"]["serverRelativeURL"], "/openapi/v2"):
        async with await raw.request("GET", target) as response:
            tag = response.headers["etag"]
            assert orjson.loads(await response.read())["info"]["title"] == "Kubernetes"
        async with await raw.request("GET", target, headers={"if-none-match": tag}) as response:
            assert (response.status, await response.read()) == (304, b"")
    async with await raw.request("GET", "/openapi/v3/apis/batch/v1?hash=OLD") as response:
        where = response.headers["location"]
        assert (response.status, where) == (301, roots["paths"]["apis/batch/v1"]["serverRelativeURL"])


async def test_dry_runs_write_nothing(cluster: Cluster) -> None:
    before = cluster.store.revision
    status, made = await cluster.ask("POST", f"{MAPS}?dryRun=All", config_map("a"))
    assert (status, made["metadata"]["name"]) == (201, "a")
    assert cluster.store.revision == before


async def test_concurrent_patches_all_count(cluster: Cluster) -> None:
    await cluster.ask("POST", MAPS, config_map("a"))
    merge = "application/merge-patch+json"
    work = [
        cluster.ask("PATCH", f"{MAPS}/a", {"data": {f"k{n}": "v"}}, content_type=merge) for n in range(20)
    ]
    assert {status for status, _ in await asyncio.gather(*work)} == {200}
    _, found = await cluster.ask("GET", f"{MAPS}/a")
    assert len(found["data"]) == 20


async def test_deletecollection_by_label(cluster: Cluster) -> None:
    for name, colour in (("a", "red"), ("b", "blue")):
        obj = config_map(name)
        obj["metadata"]["labels"] = {"colour": colour}
        await cluster.ask("POST", MAPS, obj)
    await cluster.ask("DELETE", f"{MAPS}?labelSelector=colour%3Dred")
    _, left = await cluster.ask("GET", MAPS)
    assert [o["metadata"]["name"] for o in left["items"]] == ["b"]


async def test_finalizers_hold_a_deleted_object(cluster: Cluster) -> None:
    obj = config_map("a")
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    await cluster.ask("POST", MAPS, obj)
    _, going = await cluster.ask("DELETE", f"{MAPS}/a")
    assert going["metadata"]["deletionTimestamp"]
    merge = "application/merge-patch+json"
    await cluster.ask("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}}, content_type=merge)
    assert (await cluster.ask("GET", f"{MAPS}/a"))[0] == 404


@pytest.mark.parametrize(
    ("method", "target", "body", "code"),
    [
        ("GET", "/api/v1/unicorns", None, 404),
        ("GET", "/apis/none/v1/unicorns", None, 404),
        ("GET", f"{MAPS}/a/status", None, 404),
        ("GET", "/nowhere", None, 404),
        ("POST", f"{MAPS}/a", {}, 405),
        ("OPTIONS", MAPS, None, 405),
        ("POST", MAPS, b"{", 400),
        ("POST", MAPS, b"[]", 400),
        ("POST", MAPS, b"", 400),
        ("POST", MAPS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}, 400),
        ("POST", MAPS, {"metadata": "x"}, 400),
        ("POST", MAPS, {"metadata": {"name": 5}}, 400),
        ("POST", MAPS, {"metadata": {"name": "a", "labels": {"x": 1}}}, 400),
        ("POST", MAPS, {"metadata": {"name": "a", "namespace": "other"}}, 400),
        ("POST", MAPS, {"metadata": {"name": "a", "resourceVersion": "7"}}, 400),
        ("POST", MAPS, {"metadata": {}}, 422),
        ("POST", MAPS, {"metadata": {"name": "A"}}, 422),
        ("PUT", f"{MAPS}/a", {"metadata": {"name": "b"}}, 400),
        ("PUT", f"{MAPS}/missing", {"metadata": {"name": "missing"}}, 404),
        ("PATCH", f"{MAPS}/missing", {}, 415),
        ("DELETE", f"{MAPS}/missing", None, 404),
        ("DELETE", f"{MAPS}/missing", {"propagationPolicy": "Sideways"}, 400),
        ("GET", f"{MAPS}?labelSelector=a+in+(", None, 400),
        ("GET", f"{MAPS}?fieldSelector=spec.colour%3Dred", None, 400),
        ("GET", f"{MAPS}?limit=many", None, 400),
        ("GET", f"{MAPS}?continue=garbage", None, 400),
        ("GET", f"{MAPS}?resourceVersion=x", None, 400),
        ("GET", f"{MAPS}?watch=1&sendInitialEvents=true", None, 422),
        ("GET", f"{MAPS}?watch=1&timeoutSeconds=soon", None, 400),
        ("DELETE", "/api/v1/namespaces/default", None, 403),
        ("POST", "/api/v1/namespaces/default/pods/none/exec?command=ls&stdout=1", b"", 404),
        ("POST", "/api/v1/namespaces/default/pods/none/binding", {}, 400),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/none/token", {}, 404),
        ("GET", "/api/v1/nodes/none/proxy/metrics", None, 500),
        ("PUT", "/api/v1/namespaces/default/configmaps", {}, 405),
    ],
)
async def test_bad_requests_get_a_status(
    cluster: Cluster, method: str, target: str, body: object, code: int
) -> None:
    status, said = await cluster.ask(method, target, body)
    assert (said["kind"], said["status"]) == ("Status", "Failure")
    assert (status, said["code"]) == (code, code), said
    assert "Traceback" not in said["message"]


async def test_patches_that_do_not_apply(cluster: Cluster) -> None:
    await cluster.ask("POST", MAPS, config_map("a"))
    for media, patch, code in (
        ("application/json-patch+json", [{"op": "remove", "path": "/data/none"}], 422),
        ("application/json-patch+json", {"op": "x"}, 422),
        ("application/merge-patch+json", [], 400),
        ("application/merge-patch+json", {"metadata": {"name": "b"}}, 400),
        ("application/merge-patch+json", {"kind": "Secret"}, 400),
        ("application/strategic-merge-patch+json", {"data": 5}, 400),
        ("application/apply-patch+yaml", {"metadata": {"name": "a"}}, 400),
    ):
        status, said = await cluster.ask("PATCH", f"{MAPS}/a", patch, content_type=media)
        assert status == code, said


async def test_metrics_count_requests(cluster: Cluster) -> None:
    await cluster.ask("POST", MAPS, config_map("a"))
    async with await cluster.raw().request("GET", "/metrics") as response:
        text = (await response.read()).decode()
    assert (
        'apiserver_request_total{verb="POST",group="",resource="configmaps",subresource="",code="201"} 1'
        in text
    )
    assert "apiserver_request_duration_seconds_bucket" in text


async def test_discovery_documents(cluster: Cluster) -> None:
    _, groups = await cluster.ask("GET", "/apis")
    assert "apps" in [g["name"] for g in groups["groups"]]
    _, resources = await cluster.ask("GET", "/api/v1")
    assert {"pods", "pods/log", "pods/eviction"} <= {r["name"] for r in resources["resources"]}
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    _, aggregated = await cluster.ask("GET", "/apis", accept=accept)
    assert aggregated["kind"] == "APIGroupDiscoveryList"
    _, roots = await cluster.ask("GET", "/openapi/v3")
    status, document = await cluster.ask("GET", roots["paths"]["apis/apps/v1"]["serverRelativeURL"])
    assert status == 200
    assert "io.k8s.api.apps.v1.Deployment" in document["components"]["schemas"]
