"""Answers in the form that a client asks for: JSON, YAML, protobuf; whole, tables, metadata; compressed."""

from __future__ import annotations

import zlib
from typing import Any

import orjson
import pytest

from sampan.machinery import protobuf, yaml
from sampan.machinery.objects import Object

from .conftest import Cluster

BASE = "/api/v1/namespaces/default"
PROTOBUF = "application/vnd.kubernetes.protobuf"
PARTIAL = "as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PARTIALS = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


async def maps(cluster: Cluster, *names: str) -> None:
    for name in names:
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": name}}
        obj["metadata"]["namespace"] = "default"  # type: ignore[index]
        await cluster.admin.create("configmaps", obj)


async def got(cluster: Cluster, target: str, accept: str, **headers: str) -> tuple[int, str, bytes]:
    """Status, media type and body."""
    fields = {"accept": accept, **{n.replace("_", "-"): v for n, v in headers.items()}}
    async with await cluster.raw().request("GET", target, headers=fields) as response:
        return response.status, response.headers["content-type"], await response.read()


async def test_protobuf_says_what_json_says(cluster: Cluster) -> None:
    await maps(cluster, "one", "two")
    for path in ("/configmaps/one", "/configmaps", "/configmaps?limit=1", "/configmaps/none"):
        status, media, body = await got(cluster, BASE + path, PROTOBUF)
        same, _, text = await got(cluster, BASE + path, "application/json")
        assert (status, media) == (same, PROTOBUF)
        found, expected = protobuf.decode(body), orjson.loads(text)
        for item in expected.get("items", ()):
            del item["apiVersion"], item["kind"]  # within a list, the list says it
        found["metadata"].pop("continue", None)
        expected["metadata"].pop("continue", None)
        assert plain(found) == plain(expected)


def plain(value: Any) -> Any:
    """Without what is empty, which protobuf may leave out or put in."""
    if isinstance(value, dict):
        found = {k: plain(v) for k, v in value.items()}
        return {k: v for k, v in found.items() if v not in ({}, [], "", 0, None)}
    return [plain(v) for v in value] if isinstance(value, list) else value


async def test_metadata_alone_in_protobuf(cluster: Cluster) -> None:
    await maps(cluster, "one", "two")
    _, media, body = await got(
        cluster, f"{BASE}/configmaps", f"{PROTOBUF};{PARTIALS},application/json;{PARTIALS}"
    )
    found = protobuf.decode(body)
    assert (media, found["kind"]) == (PROTOBUF, "PartialObjectMetadataList")
    assert [i["metadata"]["name"] for i in found["items"]] == ["one", "two"]
    _, _, body = await got(cluster, f"{BASE}/configmaps/one", f"{PROTOBUF};{PARTIAL}")
    found = protobuf.decode(body)
    assert (found["kind"], found["metadata"]["name"]) == ("PartialObjectMetadata", "one")


async def test_a_watch_in_protobuf(cluster: Cluster) -> None:
    await maps(cluster, "one")
    target = f"{BASE}/configmaps?watch=1&timeoutSeconds=1&allowWatchBookmarks=true"
    target += "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    _, media, body = await got(cluster, target, f"{PROTOBUF};stream=watch")
    assert media == f"{PROTOBUF};stream=watch"
    events: list[Object] = []
    while body:
        size = int.from_bytes(body[:4], "big")
        events.append(watched(body[4 : 4 + size]))
        body = body[4 + size :]
    assert [(e["type"], e["object"]["kind"]) for e in events] == [
        ("ADDED", "ConfigMap"),
        ("BOOKMARK", "ConfigMap"),
    ]
    assert events[0]["object"]["data"] == {"a": "one"}
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def watched(data: bytes) -> Object:
    message = protobuf._class("k8s.io.apimachinery.pkg.apis.meta.v1.WatchEvent").FromString(data)
    return {"type": message.type, "object": protobuf.decode(message.object.raw)}


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (f"{PROTOBUF},application/json", PROTOBUF),
        (f"application/json,{PROTOBUF}", "application/json"),
        (f"application/json;q=0.1,{PROTOBUF}", PROTOBUF),
        (f"{PROTOBUF};as=Table;g=meta.k8s.io;v=v1,{TABLE}", "application/json"),
        ("text/html,*/*", "application/json"),
        ("application/yaml", "application/yaml"),
        ("text/html", "406"),
        (f"{TABLE.replace('v1', 'v9')}", "406"),
    ],
)
async def test_the_first_that_can_be_made(cluster: Cluster, accept: str, media: str) -> None:
    await maps(cluster, "one")
    status, found, _ = await got(cluster, f"{BASE}/configmaps/one", accept)
    assert (found if status == 200 else str(status)) == media


async def test_yaml_of_one_and_of_many(cluster: Cluster) -> None:
    await maps(cluster, "one")
    _, _, body = await got(cluster, f"{BASE}/configmaps/one", "application/yaml")
    assert yaml.load(body)["data"] == {"a": "one"}
    _, _, body = await got(cluster, f"{BASE}/configmaps", "application/yaml")
    assert yaml.load(body)["items"][0]["data"] == {"a": "one"}


async def test_a_large_list_comes_in_pieces_and_compressed_where_that_is_asked_for(cluster: Cluster) -> None:
    for n in range(6):
        meta = {"name": f"m{n}", "namespace": "default"}
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "x" * 900_000}}
        await cluster.admin.create("configmaps", obj)
    _, _, whole = await got(cluster, f"{BASE}/configmaps", "")
    assert [i["metadata"]["name"] for i in orjson.loads(whole)["items"]] == [f"m{n}" for n in range(6)]
    _, _, packed = await got(cluster, f"{BASE}/configmaps", "", accept_encoding="gzip")
    assert zlib.decompress(packed, 31) == whole
    assert len(packed) < len(whole) / 10
    _, _, small = await got(
        cluster, f"{BASE}/configmaps?limit=1&fieldSelector=metadata.name=none", "", accept_encoding="gzip"
    )
    assert orjson.loads(small)["items"] == []
