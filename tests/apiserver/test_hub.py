"""Watches that share a hub: wherever they begin and however slow they are, each sees every event once, in order."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import orjson
import pytest

from sampan.apiserver import watching
from sampan.client.api import Client

from .conftest import Cluster

MAPS = "/api/v1/namespaces/default/configmaps"


async def write(client: Client, first: int, count: int) -> None:
    for n in range(first, first + count):
        meta = {"name": f"m{n:04}", "namespace": "default"}
        await client.create("configmaps", {"metadata": meta, "data": {"n": str(n)}})


async def read(client: Client, since: str, until: str, pause: float = 0.0) -> list[str]:
    """The names of what is added after a revision, until one of them comes."""
    found: list[str] = []
    async with asyncio.timeout(30), aclosing(client.watch("configmaps", "default", since=since)) as changes:  # type: ignore[type-var]
        async for change in changes:
            if change.type == "ADDED":
                found.append(change.object["metadata"]["name"])
                if pause and len(found) % 100 == 1:
                    await asyncio.sleep(pause)
                if found[-1] == until:
                    break
    return found


async def test_watchers_that_begin_anywhere_see_the_same(cluster: Cluster) -> None:
    client = cluster.admin
    begun = cluster.store.revision
    await write(client, 0, 30)
    readers = [asyncio.create_task(read(client, str(begun + n), "m0059")) for n in range(0, 30, 7)]
    await write(client, 30, 15)
    readers += [asyncio.create_task(read(client, str(begun + n), "m0059")) for n in range(0, 45, 11)]
    await asyncio.sleep(0)
    await write(client, 45, 15)
    expected = [f"m{n:04}" for n in range(60)]
    for reader in readers:
        found = await reader
        assert found == expected[-len(found) :]
    assert {len(await r) for r in readers} >= {60, 53, 46, 39, 32}


async def test_a_watcher_that_sleeps_loses_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It falls behind, and reads from the store what it missed."""
    monkeypatch.setattr(watching, "BACKLOG", 300)
    client, since = cluster.admin, str(cluster.store.revision)
    slow = asyncio.create_task(read(client, since, "m1499", pause=0.05))
    quick = asyncio.create_task(read(client, since, "m1499"))
    for n in range(0, 1500, 50):
        await write(client, n, 50)
        await asyncio.sleep(0)
    assert await slow == await quick == [f"m{n:04}" for n in range(1500)]


async def test_a_slow_connection_loses_nothing(cluster: Cluster) -> None:
    """What a client does not take is kept for a while, then read again from the store."""
    since = cluster.store.revision
    count, size = 120, 50_000
    async with await cluster.raw().request("GET", f"{MAPS}?watch=1&resourceVersion={since}") as response:
        for n in range(count):
            meta = {"name": f"m{n:04}", "namespace": "default"}
            await cluster.admin.create("configmaps", {"metadata": meta, "data": {"x": "x" * size}})
        names: list[str] = []
        rest = b""
        async with asyncio.timeout(30):
            async for piece in response.chunks():
                *lines, rest = (rest + piece).split(b"\n")
                names += [orjson.loads(line)["object"]["metadata"]["name"] for line in lines]
                if len(names) == count:
                    break
    assert names == [f"m{n:04}" for n in range(count)]


async def test_a_node_hears_of_its_own_pods_alone(cluster: Cluster) -> None:
    await cluster.account()
    client, since = cluster.admin, str(cluster.store.revision)
    heard: dict[str, list[tuple[str, str]]] = {"one": [], "two": []}

    async def listen(node: str) -> None:
        fields = f"spec.nodeName={node}"
        async for change in client.watch("pods", fields=fields, since=since):
            if change.type != "BOOKMARK":
                heard[node].append((change.type, change.object["metadata"]["name"]))

    tasks = [asyncio.create_task(listen(node)) for node in heard]
    await asyncio.sleep(0)
    for name, node in (("a", "one"), ("b", "two")):
        meta = {"name": name, "namespace": "default"}
        await client.create("pods", {"metadata": meta, "spec": {"containers": [{"name": "c", "image": "i"}]}})
        target = {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
        await client.create("pods", {**target, "metadata": meta}, name=name, subresource="binding")
        await client.delete("pods", name, "default", grace=0)
    async with asyncio.timeout(10):
        while any(len(h) < 2 or h[-1][0] != "DELETED" for h in heard.values()):
            await asyncio.wait(tasks, timeout=0.02)
    for task in tasks:
        task.cancel()
    assert {n: (h[0], h[-1]) for n, h in heard.items()} == {
        "one": (("ADDED", "a"), ("DELETED", "a")),
        "two": (("ADDED", "b"), ("DELETED", "b")),
    }
