"""The store's contract, held by every store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.store import etcd_server

from sampan.store import etcd, sqlite
from sampan.store.api import Compacted, Conflict, Event, Exists, Future, Store, Watch
from sampan.store.memory import Memory


@pytest.fixture(params=["memory", "sqlite", "etcd"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    with ExitStack() as ends:
        made: Store = Memory()
        if request.param == "sqlite":
            made = await sqlite.open(tmp_path / "store.db")
        elif request.param == "etcd":
            server = ends.enter_context(etcd_server.etcd(tmp_path / "etcd"))
            made = await etcd.open(etcd.parse(server.url))
        yield made
        await made.close()


async def take(watch: Watch, count: int) -> list[Event]:
    """The next `count` events, or more where they came in one batch."""
    events: list[Event] = []
    batches = aiter(watch)
    async with asyncio.timeout(10):
        while len(events) < count and (batch := await anext(batches, None)):
            events += batch
    return events


async def test_a_new_store_is_empty(store: Store) -> None:
    assert (store.revision, store.oldest) == (0, 0)
    assert await store.get("/a") is None
    assert (await store.list("/")).records == []


async def test_each_write_gets_the_next_revision(store: Store) -> None:
    assert await store.create("/a", b"1") == 1
    assert await store.update("/a", b"2", 1) == 2
    assert await store.delete("/a", 2) == 3
    assert await store.create("/a", b"3") == 4
    assert store.revision == 4


async def test_create_refuses_a_key_that_exists(store: Store) -> None:
    await store.create("/a", b"1")
    with pytest.raises(Exists):
        await store.create("/a", b"2")


@pytest.mark.parametrize("write", ["update", "delete"])
async def test_a_write_at_the_wrong_revision_tells_what_it_found(store: Store, write: str) -> None:
    async def attempt(key: str, expected: int) -> None:
        await (store.update(key, b"new", expected) if write == "update" else store.delete(key, expected))

    await store.create("/a", b"1")
    with pytest.raises(Conflict) as conflict:
        await attempt("/a", 7)
    assert conflict.value.found
    assert conflict.value.found.value == b"1"
    with pytest.raises(Conflict) as conflict:
        await attempt("/b", 1)
    assert conflict.value.found is None


async def test_of_concurrent_writes_to_one_revision_one_wins(store: Store) -> None:
    await store.create("/a", b"")
    tries = [store.update("/a", b"%d" % n, 1) for n in range(20)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert [o for o in outcomes if isinstance(o, int)] == [2]
    assert sum(isinstance(o, Conflict) for o in outcomes) == 19


async def test_list_pages_in_key_order(store: Store) -> None:
    for name in "dbace":
        await store.create(f"/pods/{name}", name.encode())
    await store.create("/podsx/other", b"")
    first = await store.list("/pods/", limit=2)
    assert [r.key for r in first.records] == ["/pods/a", "/pods/b"]
    assert (first.revision, first.remaining) == (6, 3)
    rest = await store.list("/pods/", after="/pods/b")
    assert [r.key for r in rest.records] == ["/pods/c", "/pods/d", "/pods/e"]
    assert rest.remaining == 0
    assert await store.count("/pods/") == 5
    assert await store.count("") == 6


async def test_reads_as_of_a_revision(store: Store) -> None:
    await store.create("/a", b"1")
    await store.create("/b", b"1")
    await store.update("/a", b"2", 1)
    await store.delete("/b", 2)
    record = await store.get("/a", 2)
    assert record
    assert (record.value, record.revision) == (b"1", 1)
    assert await store.get("/b", 1) is None
    page = await store.list("/", revision=3)
    assert [(r.key, r.value) for r in page.records] == [("/a", b"2"), ("/b", b"1")]
    assert page.revision == 3
    with pytest.raises(Future):
        await store.get("/a", 5)
    with pytest.raises(Future):
        await store.list("/", revision=5)


async def test_a_watch_gives_past_and_coming_events(store: Store) -> None:
    await store.create("/pods/a", b"1", "cause-1")
    await store.create("/nodes/a", b"1")
    watch = store.watch("/pods/", 0)
    assert [e.revision for e in await take(watch, 1)] == [1]
    await store.update("/pods/a", b"2", 1, "cause-3")
    await store.delete("/pods/a", 3)
    updated, deleted = await take(watch, 2)
    assert updated.previous
    assert (updated.value, updated.previous.value, updated.previous.revision) == (b"2", b"1", 1)
    assert (updated.cause, deleted.cause) == ("cause-3", "")
    assert deleted.value is None
    assert deleted.previous
    assert deleted.previous.revision == 3
    watch.close()


async def test_a_watch_of_one_key_gives_each_event_once(store: Store) -> None:
    """Also while others watch prefixes that are longer than the key."""
    watch = store.watch("/pods/a", 0)
    others = [store.watch(f"/pods/a/{'longer' * n}", 0) for n in range(1, 4)]
    await store.create("/pods/a", b"1")
    await store.create("/pods/ab", b"2")
    assert [e.revision for e in await take(watch, 2)] == [1, 2]
    for each in (watch, *others):
        each.close()


async def test_a_closed_watch_ends(store: Store) -> None:
    watch = store.watch("/", 0)
    ended = asyncio.create_task(take(watch, 1))
    await asyncio.sleep(0)
    watch.close()
    assert await ended == []


async def test_a_watch_of_the_future_is_refused(store: Store) -> None:
    with pytest.raises(Future):
        store.watch("/", 1)


async def test_a_slow_watch_misses_nothing(store: Store) -> None:
    watch = store.watch("/a", 0)
    first = asyncio.create_task(take(watch, 1))
    await asyncio.sleep(0)
    revision = await store.create("/a", b"")
    for n in range(6000 if isinstance(store, Memory) else 600):
        revision = await store.update("/a", b"%d" % n, revision)
    seen = await first
    seen += await take(watch, revision - len(seen))
    assert [e.revision for e in seen] == list(range(1, revision + 1))


async def test_causes_and_history(store: Store) -> None:
    await store.create("/a", b"1", "one")
    await store.update("/a", b"2", 1, "two")
    await store.create("/b", b"1")
    await store.delete("/a", 2, "four")
    assert [await store.cause(r) for r in (1, 2, 3, 4, 5)] == ["one", "two", "", "four", ""]
    kept = await store.history("/a")
    assert [(e.revision, e.value, e.cause) for e in kept] == [
        (1, b"1", "one"),
        (2, b"2", "two"),
        (4, None, "four"),
    ]
    assert all(e.time > 1e9 for e in kept)
    assert await store.revision_at(kept[1].time) >= 2
    assert await store.revision_at(kept[0].time - 1) == 0


async def test_compaction_keeps_what_later_revisions_see(store: Store) -> None:
    await store.create("/a", b"1")
    await store.create("/b", b"1")
    await store.update("/a", b"2", 1)
    await store.delete("/b", 2)
    await store.update("/a", b"3", 3)
    await store.compact(4)
    assert store.oldest == 4
    record = await store.get("/a", 4)
    assert record
    assert record.value == b"2"
    assert [e.revision for e in await store.history("/a")] == [3, 5]
    assert await store.history("/b") == []
    for read in (store.get("/a", 3), store.list("/", revision=3)):
        with pytest.raises(Compacted) as compacted:
            await read
        assert compacted.value.oldest == 4
    with pytest.raises(Compacted):
        store.watch("/", 3)
    assert [e.revision for e in await take(store.watch("/", 4), 1)] == [5]


async def test_a_prefix_is_compacted_alone(store: Store) -> None:
    await store.create("/leases/a", b"1")
    await store.create("/pods/a", b"1")
    await store.update("/leases/a", b"2", 1)
    await store.update("/pods/a", b"2", 2)
    await store.compact(3, "/leases/")
    assert store.oldest == 0
    assert [e.revision for e in await store.history("/leases/a")] == [3]
    assert [e.revision for e in await store.history("/pods/a")] == [2, 4]
    with pytest.raises(Compacted):
        await store.get("/leases/a", 2)
    with pytest.raises(Compacted):
        await store.list("/", revision=2)
    assert await store.get("/pods/a", 2)
    with pytest.raises(Compacted):
        store.watch("/leases/", 1)
    store.watch("/pods/", 0).close()


async def test_close_ends_watches(store: Store) -> None:
    watch = store.watch("/", 0)
    ended = asyncio.create_task(take(watch, 1))
    await asyncio.sleep(0)
    await store.close()
    assert await ended == []


async def test_kept_writes_of_all_keys_come_in_order(store: Store) -> None:
    await store.create("/a", b"1", "one")
    await store.create("/b", b"1")
    await store.update("/a", b"2", 1, "three")
    await store.delete("/b", 2)
    found: list[tuple[int, str, bytes | None, str]] = []
    while page := await store.writes(found[-1][0] if found else 0):
        found += [(e.revision, e.key, e.value, e.cause) for e in page]
    assert found == [
        (1, "/a", b"1", "one"),
        (2, "/b", b"1", ""),
        (3, "/a", b"2", "three"),
        (4, "/b", None, ""),
    ]
    await store.compact(3)
    await store.compact(4, "/b")
    assert dict(store.floors) == {"": 3, "/b": 4}
    kept = [e.revision for after in (0, 3) for e in await store.writes(after) if e.revision > after]
    assert set(kept) >= {3}
    assert 1 not in kept
