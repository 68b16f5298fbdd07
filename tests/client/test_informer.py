"""Informers: a copy that follows, with indexes, through interruptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apiserver.conftest import Cluster

from sampan.client.api import ApiError, Change, Unavailable
from sampan.client.informer import Copies, Informer, Informers
from sampan.host import trace
from sampan.machinery.objects import Key, Object


def obj(name: str, revision: int = 1, namespace: str = "default", owner: str = "") -> Object:
    meta: Object = {"name": name, "namespace": namespace, "resourceVersion": str(revision)}
    if owner:
        meta["ownerReferences"] = [{"controller": True, "uid": owner, "kind": "X", "name": "x"}]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


class Script:
    """A client whose watches are written down: each is a list of changes, ended by an error or simply ending."""

    def __init__(self, *watches: list[Change | Exception]):
        self.watches = list(watches)
        self.since: list[str] = []
        self.ended = asyncio.Event()

    async def watch(self, kind: str, namespace: str = "", **options: str) -> AsyncIterator[Change]:
        self.since.append(options["since"])
        if not self.watches:
            self.ended.set()
            await asyncio.Event().wait()
        for step in self.watches.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step


SYNCED = Change("BOOKMARK", {"metadata": {"resourceVersion": "5"}}, synced=True)
EXPIRED = ApiError({"code": 410, "reason": "Expired", "message": "too old"})


async def follow(script: Script) -> tuple[Informer, list[tuple[str, str]]]:
    """Run an informer to the end of its script; what its handler was told."""
    informer = Informer(script, "configmaps")  # type: ignore[arg-type]
    told: list[tuple[str, str]] = []
    informer.subscribe(lambda change, old: told.append((change.type, change.object["metadata"]["name"])))
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(5):
        await script.ended.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return informer, told


async def test_goes_on_from_the_last_revision_seen() -> None:
    more = Change("ADDED", obj("b", 7))
    script = Script([Change("ADDED", obj("a")), SYNCED, more])
    informer, told = await follow(script)
    assert script.since == ["", "7"]
    assert told == [("ADDED", "a"), ("ADDED", "b")]
    assert informer.synced.is_set()


async def test_a_bookmark_moves_the_revision() -> None:
    later = Change("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    script = Script([SYNCED, later])
    await follow(script)
    assert script.since == ["", "9"]


async def test_after_expiry_the_difference_is_told() -> None:
    first: list[Change | Exception] = [
        Change("ADDED", obj("kept")),
        Change("ADDED", obj("changed")),
        Change("ADDED", obj("gone")),
        SYNCED,
        EXPIRED,
    ]
    again: list[Change | Exception] = [
        Change("ADDED", obj("kept")),
        Change("ADDED", obj("changed", 8)),
        Change("ADDED", obj("new", 9)),
        SYNCED,
    ]
    script = Script(first, again)
    informer, told = await follow(script)
    assert script.since[:2] == ["", ""]
    assert told[3:] == [("MODIFIED", "changed"), ("ADDED", "new"), ("DELETED", "gone")]
    assert {k.name for k in informer.copies.objects} == {"kept", "changed", "new"}


async def test_a_server_that_is_away_is_tried_again() -> None:
    script = Script([Unavailable("away")], [Change("ADDED", obj("a")), SYNCED])
    informer, told = await follow(script)
    assert told == [("ADDED", "a")]
    assert informer.synced.is_set()


async def test_late_subscribers_hear_of_what_is_there() -> None:
    informer, _ = await follow(Script([Change("ADDED", obj("a")), SYNCED]))
    told: list[str] = []
    informer.subscribe(lambda change, old: told.append(change.object["metadata"]["name"]))
    assert told == ["a"]


names = st.sampled_from("abc")
owners = st.sampled_from(["", "u1", "u2"])


@given(st.lists(st.tuples(names, st.sampled_from(["x", "y"]), owners, st.booleans())))
def test_indexes_agree_with_the_objects(steps: list[tuple[str, str, str, bool]]) -> None:
    copies = Copies()
    copies.add_index("name", lambda o: (o["metadata"]["name"],))
    for name, namespace, owner, keep in steps:
        copies.put(Key(namespace, name), obj(name, 1, namespace, owner) if keep else None)
        everything = copies.list()
        for uid in ("u1", "u2"):
            owned = [o for o in everything if o["metadata"].get("ownerReferences", [{}])[0].get("uid") == uid]
            assert sorted(copies.index("owner", uid), key=str) == sorted(owned, key=str)
        assert len(copies.list("x")) + len(copies.list("y")) == len(everything)
        assert len(copies.index("name", "a")) == sum(o["metadata"]["name"] == "a" for o in everything)


@pytest.mark.parametrize("over", ["local", "http"])
async def test_informers_over_a_real_server(cluster: Cluster, over: str) -> None:
    client = cluster.admin if over == "local" else cluster.http()
    informers = Informers(client)
    changes: asyncio.Queue[Change] = asyncio.Queue()
    informers.subscribe("configmaps", lambda change, old: changes.put_nowait(change))
    running = asyncio.create_task(informers.run())
    async with asyncio.timeout(10):
        await informers.synced(["configmaps"])
        with trace.span("work", "test"):
            made = await cluster.admin.create(
                "configmaps", {**obj("a"), "metadata": {"name": "a", "namespace": "default"}}
            )
        change = await changes.get()
    assert trace.parse(change.cause)
    assert informers.get("configmaps", Key("default", "a")) == made
    assert list(informers.list("configmaps", "default")) == [made]
    with pytest.raises(LookupError, match="nobody watches secrets"):
        informers.get("secrets", Key("default", "a"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_nobody_mutates_what_is_shared(cluster: Cluster) -> None:
    """Two local watchers and a reader get one object; it stays as it was through every later write."""
    first, second = (cluster.admin.watch("configmaps", "default") for _ in range(2))
    await anext(first)
    await anext(second)
    await cluster.admin.create("configmaps", {**obj("a"), "metadata": {"name": "a", "namespace": "default"}})
    seen, also = (await anext(first)).object, (await anext(second)).object
    assert seen is also
    before = str(seen)
    read = await cluster.admin.get("configmaps", "a", "default")
    read_before = str(read)
    await cluster.admin.patch("configmaps", "a", "default", {"data": {"x": "1"}})
    await cluster.admin.patch(
        "configmaps", "a", "default", {"metadata": {"labels": {"l": "1"}}}, type="strategic"
    )
    await cluster.admin.update(
        "configmaps", {**read, "metadata": {"name": "a", "namespace": "default"}, "data": {"y": "2"}}
    )
    await cluster.admin.delete("configmaps", "a", "default")
    assert str(seen) == before
    assert str(read) == read_before
