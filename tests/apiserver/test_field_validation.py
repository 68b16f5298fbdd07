"""Fields that nobody knows, and fields that come twice: what is said of them, by the ways of writing."""

from __future__ import annotations

import orjson

from .conftest import Cluster

MAPS = "/api/v1/namespaces/default/configmaps"
APPLY = "application/apply-patch+yaml"


async def send(cluster: Cluster, method: str, target: str, body: bytes, media: str) -> tuple[int, str]:
    headers = {"content-type": media}
    async with await cluster.raw().request(method, target, headers=headers, body=body) as response:
        return response.status, str(orjson.loads(await response.read()).get("message"))


async def test_unknown_fields_are_told_before_those_that_come_twice(cluster: Cluster) -> None:
    body = b'{"metadata": {"name": "a"}, "other": 1, "data": {}, "data": {}}'
    status, said = await send(cluster, "POST", f"{MAPS}?fieldValidation=Strict", body, "application/json")
    assert (status, said) == (
        400,
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
        'unknown field "other", duplicate field "data"',
    )


async def test_what_is_applied_is_declared_in_the_schema(cluster: Cluster) -> None:
    """Whatever the validation asked for: nobody could own a field that the schema does not have."""
    body = b"metadata: {name: a, extra: 1}\nother: 1\n"
    status, said = await send(
        cluster, "PATCH", f"{MAPS}/a?fieldManager=m&fieldValidation=Ignore", body, APPLY
    )
    assert status == 500
    assert said.startswith("failed to create typed patch object (default/a; v1, Kind=ConfigMap): errors:")
    assert ".metadata.extra: field not declared in schema" in said
    assert ".other: field not declared in schema" in said


async def test_keys_that_come_twice_in_what_is_applied(cluster: Cluster) -> None:
    body = b"metadata: {name: a}\ndata:\n  x: a\n  x: b\n"
    target = f"{MAPS}/a?fieldManager=m"
    status, said = await send(cluster, "PATCH", f"{target}&fieldValidation=Strict", body, APPLY)
    assert status == 400
    assert (
        'error strict decoding patch: yaml: unmarshal errors:\n  line 4: key "x" already set in map' in said
    )
    status, _ = await send(cluster, "PATCH", target, body, APPLY)
    assert status == 201
    assert (await cluster.admin.get("configmaps", "a", "default"))["data"] == {"x": "b"}
